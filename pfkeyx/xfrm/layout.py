"""The C structs of NETLINK_XFRM (`<linux/xfrm.h>`), declared once, under the kernel's names.

Only layouts live here: the messages that are made of them are declared in `messages.py`. Byte order is native but for
addresses, SPIs and ports, which are in network order.
"""

import struct
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, ClassVar


class cstruct:
    """A C struct: `fields` are names and either `struct` formats or other structs."""

    fields: ClassVar[tuple[tuple[str, Any], ...]] = ()

    _form: ClassVar["Form"]

    def __init_subclass__(cls) -> None:
        cls._form = Form(cls.fields)

    @classmethod
    def size(cls) -> int:
        return cls._form.size

    @classmethod
    def offset(cls, name: str) -> int:
        """Return where a field begins."""
        return sum(size_of(fmt) for _, fmt in takewhile(lambda field: field[0] != name, cls.fields))

    @classmethod
    def decode_from(cls, data: Any, offset: int) -> tuple[dict[str, Any], int]:
        return cls._form.unpack_from(data, offset), offset + cls._form.size

    @classmethod
    def pack(cls, value: dict[str, Any]) -> bytes:
        return cls._form.pack(value)

    @classmethod
    def decode_all(cls, data: bytes) -> list[dict[str, Any]]:
        return [cls.decode_from(data, at)[0] for at in range(0, len(data), cls.size())]

    @classmethod
    def encode_into(cls, data: bytearray, offset: int, value: Any) -> int:
        packed = cls.pack(value or {})
        data.extend(packed)
        return offset + len(packed)


class Form:
    """What takes all of a struct apart, and puts it together, at once."""

    def __init__(self, fields: tuple[tuple[str, Any], ...]) -> None:
        self._whole = struct.Struct("=" + "".join(map(_plain, fields)))
        self.size = self._whole.size
        # What stands for nothing, for each value of the whole.
        self._zeros: list[Any] = []
        # Each field's place among them: its form, if it is a struct, where it begins and where it ends.
        self._places: dict[str, tuple[Form | None, int, int]] = {}
        # The sizes of numbers in network order, which the whole has as bytes.
        self._swapped: dict[str, int] = {}
        for name, fmt in fields:
            if not is_value(fmt):
                continue
            form, start = None if isinstance(fmt, str) else fmt._form, len(self._zeros)
            if form is not None:
                self._zeros += form._zeros
            elif fmt.startswith(">"):
                self._swapped[name] = struct.calcsize(fmt)
                self._zeros.append(bytes(struct.calcsize(fmt)))
            else:
                self._zeros.append(b"" if fmt.endswith("s") else 0)
            self._places[name] = form, start, len(self._zeros)

    def unpack_from(self, data: Any, offset: int) -> dict[str, Any]:
        """Return the values of the fields."""
        return self._build(self._whole.unpack_from(data, offset))

    def pack(self, value: dict[str, Any]) -> bytes:
        """Return the bytes of fields, zeros for what `value` lacks; what is no field is passed over."""
        values = self._zeros.copy()
        self._gather(value, values, 0)
        return self._whole.pack(*values)

    def _build(self, values: Sequence[Any]) -> dict[str, Any]:
        value: dict[str, Any] = {
            name: values[start] if form is None else form._build(values[start:end])
            for name, (form, start, end) in self._places.items()
        }
        for name in self._swapped:
            value[name] = int.from_bytes(value[name], "big")
        return value

    def _gather(self, value: dict[str, Any], values: list[Any], base: int) -> None:
        for name, given in value.items():
            if name not in self._places:
                continue  # the tail of a flexible struct
            form, start, _ = self._places[name]
            if form is None:
                size = self._swapped.get(name)
                values[base + start] = given if size is None else given.to_bytes(size, "big")
            elif given:
                form._gather(given, values, base + start)


def _plain(field: tuple[str, Any]) -> str:
    """Return the format of a field, in which numbers in network order are their bytes."""
    _, fmt = field
    if not isinstance(fmt, str):
        return "".join(map(_plain, fmt.fields))
    return f"{struct.calcsize(fmt)}s" if fmt.startswith(">") else fmt


def is_value(fmt: Any) -> bool:
    """Return whether a field of this format is more than padding."""
    return not (isinstance(fmt, str) and fmt.endswith("x"))


def size_of(fmt: Any) -> int:
    """Return the bytes that a field of this format takes."""
    return struct.calcsize(fmt) if isinstance(fmt, str) else int(fmt.size())


class xfrm_id(cstruct):
    fields = (("daddr", "16s"), ("spi", ">I"), ("proto", "B"), ("_pad", "3x"))


class xfrm_selector(cstruct):
    fields = (
        ("daddr", "16s"),
        ("saddr", "16s"),
        ("dport", ">H"),
        ("dport_mask", ">H"),
        ("sport", ">H"),
        ("sport_mask", ">H"),
        ("family", "H"),
        ("prefixlen_d", "B"),
        ("prefixlen_s", "B"),
        ("proto", "B"),
        ("_pad", "3x"),
        ("ifindex", "i"),
        ("user", "I"),
    )


class xfrm_lifetime_cfg(cstruct):
    fields = (
        ("soft_byte_limit", "Q"),
        ("hard_byte_limit", "Q"),
        ("soft_packet_limit", "Q"),
        ("hard_packet_limit", "Q"),
        ("soft_add_expires_seconds", "Q"),
        ("hard_add_expires_seconds", "Q"),
        ("soft_use_expires_seconds", "Q"),
        ("hard_use_expires_seconds", "Q"),
    )


class xfrm_lifetime_cur(cstruct):
    fields = (("bytes", "Q"), ("packets", "Q"), ("add_time", "Q"), ("use_time", "Q"))


class xfrm_stats(cstruct):
    fields = (("replay_window", "I"), ("replay", "I"), ("integrity_failed", "I"))


class xfrm_usersa_info(cstruct):
    fields = (
        ("sel", xfrm_selector),
        ("id", xfrm_id),
        ("saddr", "16s"),
        ("lft", xfrm_lifetime_cfg),
        ("curlft", xfrm_lifetime_cur),
        ("stats", xfrm_stats),
        ("seq", "I"),
        ("reqid", "I"),
        ("family", "H"),
        ("mode", "B"),
        ("replay_window", "B"),
        ("flags", "B"),
        ("_pad", "7x"),
    )


class xfrm_usersa_id(cstruct):
    fields = (("daddr", "16s"), ("spi", ">I"), ("family", "H"), ("proto", "B"), ("_pad", "x"))


class xfrm_aevent_id(cstruct):
    fields = (("sa_id", xfrm_usersa_id), ("saddr", "16s"), ("flags", "I"), ("reqid", "I"))


class xfrm_userspi_info(cstruct):
    fields = (("info", xfrm_usersa_info), ("min", "I"), ("max", "I"))


class xfrm_userpolicy_info(cstruct):
    fields = (
        ("sel", xfrm_selector),
        ("lft", xfrm_lifetime_cfg),
        ("curlft", xfrm_lifetime_cur),
        ("priority", "I"),
        ("index", "I"),
        ("dir", "B"),
        ("action", "B"),
        ("flags", "B"),
        ("share", "B"),
        ("_pad", "4x"),
    )


class xfrm_userpolicy_id(cstruct):
    fields = (("sel", xfrm_selector), ("index", "I"), ("dir", "B"), ("_pad", "3x"))


class xfrm_user_acquire(cstruct):
    fields = (
        ("id", xfrm_id),
        ("saddr", "16s"),
        ("sel", xfrm_selector),
        ("policy", xfrm_userpolicy_info),
        ("aalgos", "I"),
        ("ealgos", "I"),
        ("calgos", "I"),
        ("seq", "I"),
    )


class xfrm_user_expire(cstruct):
    fields = (("state", xfrm_usersa_info), ("hard", "B"), ("_pad", "7x"))


class xfrm_usersa_flush(cstruct):
    fields = (("proto", "B"),)


class xfrm_userpolicy_type(cstruct):
    fields = (("type", "B"), ("_pad1", "x"), ("reserved1", "H"), ("reserved2", "B"), ("_pad2", "x"))


class xfrm_user_tmpl(cstruct):
    fields = (
        ("id", xfrm_id),
        ("family", "H"),
        ("_pad1", "2x"),
        ("saddr", "16s"),
        ("reqid", "I"),
        ("mode", "B"),
        ("share", "B"),
        ("optional", "B"),
        ("_pad2", "x"),
        ("aalgos", "I"),
        ("ealgos", "I"),
        ("calgos", "I"),
    )


class xfrm_encap_tmpl(cstruct):
    fields = (("encap_type", "H"), ("encap_sport", ">H"), ("encap_dport", ">H"), ("_pad", "2x"), ("encap_oa", "16s"))


class xfrm_mark(cstruct):
    fields = (("v", "I"), ("m", "I"))


class xfrm_replay_state(cstruct):
    fields = (("oseq", "I"), ("seq", "I"), ("bitmap", "I"))


class xfrm_user_migrate(cstruct):
    fields = (
        ("old_daddr", "16s"),
        ("old_saddr", "16s"),
        ("new_daddr", "16s"),
        ("new_saddr", "16s"),
        ("proto", "B"),
        ("mode", "B"),
        ("reserved", "H"),
        ("reqid", "I"),
        ("old_family", "H"),
        ("new_family", "H"),
    )


class xfrm_user_migrate_state(cstruct):
    fields = (
        ("id", xfrm_usersa_id),
        ("new_daddr", "16s"),
        ("new_saddr", "16s"),
        ("old_mark", xfrm_mark),
        ("new_sel", xfrm_selector),
        ("new_reqid", "I"),
        ("flags", "I"),
        ("new_family", "H"),
        ("reserved", "H"),
    )


class xfrm_user_kmaddress(cstruct):
    fields = (("local", "16s"), ("remote", "16s"), ("reserved", "I"), ("family", "H"), ("_pad", "2x"))


class xfrm_user_mapping(cstruct):
    fields = (
        ("id", xfrm_usersa_id),
        ("reqid", "I"),
        ("old_saddr", "16s"),
        ("new_saddr", "16s"),
        ("old_sport", ">H"),
        ("new_sport", ">H"),
    )


class xfrm_address_filter(cstruct):
    fields = (("saddr", "16s"), ("daddr", "16s"), ("family", "H"), ("splen", "B"), ("dplen", "B"))


class xfrm_user_polexpire(cstruct):
    fields = (("pol", xfrm_userpolicy_info), ("hard", "B"), ("_pad", "7x"))


class xfrm_user_report(cstruct):
    fields = (("proto", "B"), ("_pad", "3x"), ("sel", xfrm_selector))


class xfrm_user_offload(cstruct):
    fields = (("ifindex", "i"), ("flags", "B"), ("_pad", "3x"))


class xfrm_userpolicy_default(cstruct):
    fields = (("in", "B"), ("fwd", "B"), ("out", "B"))


class xfrmu_sadhinfo(cstruct):
    fields = (("sadhcnt", "I"), ("sadhmcnt", "I"))


class xfrmu_spdinfo(cstruct):
    fields = (("incnt", "I"), ("outcnt", "I"), ("fwdcnt", "I"), ("inscnt", "I"), ("outscnt", "I"), ("fwdscnt", "I"))


class xfrmu_spdhinfo(cstruct):
    fields = (("spdhcnt", "I"), ("spdhmcnt", "I"))


class xfrmu_spdhthresh(cstruct):
    fields = (("lbits", "B"), ("rbits", "B"))


class flexible(cstruct):
    """A struct that ends in an array named `tail`, whose length the field `count` tells."""

    count: ClassVar[str]
    tail: ClassVar[str]

    @classmethod
    def tail_size(cls, count: int) -> int:
        """Return how many bytes the array has."""
        raise NotImplementedError

    @classmethod
    def decode_from(cls, data: Any, offset: int) -> tuple[dict[str, Any], int]:
        value, offset = super().decode_from(data, offset)
        end = offset + cls.tail_size(value[cls.count])
        if end > len(data):
            raise ValueError(f"{cls.__name__}: {cls.tail} runs past its attribute")
        value[cls.tail] = bytes(data[offset:end])
        return value, end

    @classmethod
    def pack(cls, value: dict[str, Any]) -> bytes:
        return super().pack(value) + bytes(value[cls.tail])


class _hidden(bytes):
    """Key bytes, which a message that is printed does not show."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


class _algorithm(flexible):
    count = "alg_key_len"
    tail = "alg_key"

    @classmethod
    def tail_size(cls, count: int) -> int:
        return (count + 7) // 8

    @classmethod
    def decode_from(cls, data: Any, offset: int) -> tuple[dict[str, Any], int]:
        value, offset = super().decode_from(data, offset)
        value[cls.tail] = _hidden(value[cls.tail])
        return value, offset


class xfrm_algo(_algorithm):
    fields = (("alg_name", "64s"), ("alg_key_len", "I"))


class xfrm_algo_auth(_algorithm):
    fields = (("alg_name", "64s"), ("alg_key_len", "I"), ("alg_trunc_len", "I"))


class xfrm_algo_aead(_algorithm):
    fields = (("alg_name", "64s"), ("alg_key_len", "I"), ("alg_icv_len", "I"))


class algorithm_name(cstruct):
    """A `struct xfrm_algo` of which only the name is read: the kernel does not always set the key length of IPComp."""

    fields = (("alg_name", "64s"), ("alg_key_len", "I"))


class xfrm_replay_state_esn(flexible):
    count = "bmp_len"
    tail = "bmp"
    fields = (
        ("bmp_len", "I"),
        ("oseq", "I"),
        ("seq", "I"),
        ("oseq_hi", "I"),
        ("seq_hi", "I"),
        ("replay_window", "I"),
    )

    @classmethod
    def tail_size(cls, count: int) -> int:
        return 4 * count


class xfrm_user_sec_ctx(flexible):
    count = "ctx_len"
    tail = "ctx"
    fields = (("len", "H"), ("exttype", "H"), ("ctx_alg", "B"), ("ctx_doi", "B"), ("ctx_len", "H"))

    @classmethod
    def tail_size(cls, count: int) -> int:
        return count
