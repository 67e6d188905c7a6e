"""What others call what is here, for `docs/reference/names.md`: as far as no code says it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from pfkeyx import SA, Policy, SAId, Template
from pfkeyx.pfkey.message import ExtensionType
from pfkeyx.xfrm import messages as wire
from tests.xfrm_page import ATTRIBUTES, MESSAGES

#: By field: the struct's field where it is no attribute, PF_KEY's extension, and the word of `ip xfrm`.
FIELDS: Mapping[type[Any], Mapping[str, tuple[str, str, str]]] = {
    SA: {
        "destination": ("id.daddr", "ADDRESS_DST", "dst"),
        "spi": ("id.spi", "SA", "spi"),
        "protocol": ("id.proto", "`sadb_msg_satype`", "proto"),
        "mark": ("", "", "mark ... mask"),
        "source": ("saddr", "ADDRESS_SRC", "src"),
        "mode": ("mode", "X_SA2", "mode"),
        "reqid": ("reqid", "X_SA2", "reqid"),
        "encryption": ("", "SA, KEY_ENCRYPT", "enc, aead"),
        "authentication": ("", "SA, KEY_AUTH", "auth, auth-trunc"),
        "compression": ("", "SA", "comp"),
        "encap": ("", "X_NAT_T_TYPE, X_NAT_T_SPORT, X_NAT_T_DPORT", "encap"),
        "selector": ("sel", "ADDRESS_PROXY: a source prefix", "sel"),
        "lifetime": ("lft", "LIFETIME_SOFT, LIFETIME_HARD", "limit"),
        "replay_window": ("replay_window", "SA: up to 32", "replay-window"),
        "flags": ("flags", "SA: three of them", "flag"),
        "extra_flags": ("", "", "extra-flag"),
        "if_id": ("", "", "if_id"),
        "output_mark": ("", "", "output-mark ... mask"),
        "offload": ("", "", "offload"),
        "tfc_padding": ("", "", "tfcpad"),
        "direction": ("", "", ""),
        "nat_keepalive_s": ("", "", ""),
        "mapping_threshold_s": ("", "", ""),
        "cpu": ("", "", ""),
        "iptfs": ("XFRMA_IPTFS_*", "", ""),
        "care_of": ("", "", "coa"),
        "security_context": ("", "X_SEC_CTX", "ctx"),
        "other": ("", "", ""),
        "state": ("", "SA", ""),
        "usage": ("curlft", "LIFETIME_CURRENT", "lifetime current"),
        "replay": ("", "", "replay-seq, replay-oseq"),
        "failures": ("stats", "", "stats"),
    },
    Policy: {
        "selector": ("sel", "ADDRESS_SRC, ADDRESS_DST", "src, dst, proto, sport, dport, dev"),
        "direction": ("dir", "X_POLICY", "dir"),
        "templates": ("", "X_POLICY", "tmpl"),
        "action": ("action", "X_POLICY: none, ipsec, discard", "action"),
        "priority": ("priority", "X_POLICY", "priority"),
        "lifetime": ("lft", "LIFETIME_HARD", "limit"),
        "mark": ("", "", "mark ... mask"),
        "if_id": ("", "", "if_id"),
        "type": ("", "", "ptype"),
        "flags": ("flags", "", "flag"),
        "share": ("share", "", ""),
        "offload": ("", "", ""),
        "security_context": ("", "X_SEC_CTX", "ctx"),
        "other": ("", "", ""),
        "index": ("index", "X_POLICY", "index"),
        "usage": ("curlft", "LIFETIME_CURRENT", "lifetime current"),
    },
    Template: {
        "protocol": ("id.proto", "protocol", "proto"),
        "mode": ("mode", "mode", "mode"),
        "source": ("saddr", "addresses behind the request", "src"),
        "destination": ("id.daddr", "addresses behind the request", "dst"),
        "reqid": ("reqid", "reqid, at level unique", "reqid"),
        "spi": ("id.spi", "", "spi"),
        "optional": ("optional", "level use", "level use"),
        "share": ("share", "", ""),
        "algorithm_masks": ("aalgos, ealgos, calgos", "", ""),
    },
}

#: By method: PF_KEY's message, the command of `ip xfrm`, and ours.
METHODS: Mapping[str, tuple[str, str, str]] = {
    "get_spi": ("GETSPI", "state allocspi", "sa get-spi"),
    "add_sa": ("ADD", "state add", "sa add"),
    "update_sa": ("UPDATE", "state update", "sa update"),
    "restore_sa": ("", "state add ... replay-seq", "apply"),
    "get_sa": ("GET", "state get", "sa get"),
    "delete_sa": ("DELETE", "state delete", "sa delete"),
    "dump_sas": ("DUMP", "state list", "sa list"),
    "flush_sas": ("FLUSH", "state flush", "sa flush"),
    "expire_sa": ("", "", ""),
    "get_progress": ("", "", ""),
    "set_progress": ("", "", ""),
    "get_sad_info": ("", "state count", "sa count"),
    "add_policy": ("X_SPDADD", "policy add", "policy add"),
    "update_policy": ("X_SPDUPDATE", "policy update", "policy update"),
    "get_policy": ("X_SPDGET", "policy get", "policy get"),
    "delete_policy": ("X_SPDDELETE, X_SPDDELETE2", "policy delete", "policy delete"),
    "dump_policies": ("X_SPDDUMP", "policy list", "policy list"),
    "flush_policies": ("X_SPDFLUSH", "policy flush", "policy flush"),
    "expire_policy": ("", "", ""),
    "get_spd_info": ("", "policy count", "policy count"),
    "set_spd_thresholds": ("", "policy set hthresh4 ... hthresh6 ...", ""),
    "get_default_policy": ("", "policy getdefault", "policy default"),
    "set_default_policy": ("", "policy setdefault", "policy default"),
    "register": ("REGISTER", "", ""),
    "answer_acquire": ("ACQUIRE", "", ""),
    "migrate_policy": ("X_MIGRATE", "", ""),
    "migrate_sa": ("", "", ""),
    "migrate": ("X_MIGRATE", "", "tunnel move"),
    "update_address": ("X_ADDRUPDATE", "", "address-update"),
    "watch": ("REGISTER", "monitor", "monitor"),
    "exchange": ("", "", ""),
}
#: What of the engine is no request of its own.
NO_REQUESTS = {"open", "close", "name", "supports", "plan_migration", "run"}
#: What sends or receives several of one kind.
SEVERAL = {
    *("add_sas", "add_policies", "update_sas", "update_policies", "delete_sas", "delete_policies"),
    *("iter_sas", "iter_policies"),
}


def field_rows(kind: type[Any]) -> Iterator[tuple[str, ...]]:
    """Yield what each field of an SA, a policy or a template is to XFRM, to PF_KEY, and to `ip xfrm`."""
    struct = {SA: "xfrm_usersa_info", Policy: "xfrm_userpolicy_info", Template: "xfrm_user_tmpl"}[kind]
    yield f"`{kind.__name__}`", f"XFRM: attribute, or field of `struct {struct}`", "PF_KEY", "`ip xfrm`"
    for name in field_names(kind):
        field, extension, word = FIELDS[kind][name]
        attributes = [key for key, row in ATTRIBUTES.items() if f"`{_owner(kind, name)}.{name}`" in row.becomes]
        yield f"`{name}`", _code(", ".join([*attributes, *filter(None, [field])])), _extensions(extension), _code(word)


def field_names(kind: type[Any]) -> list[str]:
    """Return a class's fields, those of an SA's id among its own."""
    names = [field.name for field in fields(kind) if (kind, field.name) != (SA, "id")]
    return [field.name for field in fields(SAId)] + names if kind is SA else names


def method_rows() -> Iterator[tuple[str, ...]]:
    """Yield each method that is a request, its messages, and the commands for it."""
    yield "`Engine`", "XFRM", "PF_KEY", "`ip xfrm`", "`pfkeyx`"
    numbers = {number: name for name, number in vars(wire).items() if name.startswith("XFRM_MSG_")}
    for name, (message, command, ours) in METHODS.items():
        sent = [numbers[key] for key, row in MESSAGES.items() if f"`Engine.{name}`" in row.becomes]
        told = ", ".join(f"SADB_{word}" for word in message.split(", ") if word)
        yield f"`{name}`", _code(", ".join(sent)), _code(told), _code(command), _code(ours)


def _owner(kind: type[Any], name: str) -> str:
    return "SAId" if kind is SA and name in {field.name for field in fields(SAId)} else kind.__name__


def _extensions(text: str) -> str:
    """Return the extensions that are named with Linux's names, and what else is said of them as it is."""
    names = {extension.name: f"`{extension}`" for extension in ExtensionType}
    return re.sub(r"\b[A-Z][A-Z_0-9]+\b", lambda match: names.get(match[0], match[0]), text)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
