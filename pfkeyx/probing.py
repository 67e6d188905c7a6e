"""What a kernel can do beyond its features: which algorithms, and by which methods it moves SAs. Nothing is changed."""

import errno
from ipaddress import IPv4Address

from pfkeyx.algorithms import ALGORITHMS, NULL, Algorithm, Kind
from pfkeyx.engine import Engine
from pfkeyx.errors import InvalidRequestError, KernelError, NotFoundError, UnsupportedError
from pfkeyx.features import Support
from pfkeyx.migration import Method
from pfkeyx.migration.move import METHOD_ENGINES, METHOD_FEATURES
from pfkeyx.model import SA, Authentication, Encryption, Key, Mode, Protocol, SAId

#: No SA is for the broadcast address, with an SPI that is reserved (RFC 4303 §2.1).
_NOBODY = IPv4Address("255.255.255.255")
_RESERVED = 1


def probe_methods(engine: Engine) -> dict[Method, Support]:
    """Return which methods of moving an SA an engine has, in the order in which they are tried."""
    supports = {}
    for method, feature in METHOD_FEATURES.items():
        needed = METHOD_ENGINES.get(method, engine.name)
        if needed == engine.name:
            supports[method] = engine.supports(feature)
        else:
            supports[method] = Support(False, f"the {needed} engine has it, which sees the same SAs")
    return supports


def probe_algorithms(engine: Engine) -> dict[Algorithm, Support]:
    """Return which algorithms the kernel can use now, over an engine's interface.

    PF_KEY lists them. XFRM is asked to update an SA that cannot exist: the kernel looks for the algorithms first. To
    answer, it loads the modules that it has for them.
    """
    if engine.name == "pfkey":
        return _registered(engine)
    return {algorithm: probe_algorithm(engine, algorithm) for algorithm in ALGORITHMS}


def probe_algorithm(engine: Engine, algorithm: Algorithm) -> Support:
    """Return whether the kernel can use one algorithm now, asked over XFRM; see `probe_algorithms`."""
    if not algorithm.on_xfrm:
        return Support(False, "XFRM has no name for it: open the pfkey engine")
    try:
        engine.update_sa(_nobodys_sa(algorithm))
    except NotFoundError as error:
        # ENOENT is the crypto layer's, ESRCH that of the SAD.
        if error.errno == errno.ESRCH:
            return Support(True, "the kernel takes an SA with it")
        return Support(False, "the kernel has no implementation of it")
    except (KernelError, InvalidRequestError, UnsupportedError) as error:
        code = error.errno if isinstance(error, KernelError) else None
        if code in (errno.ENOSYS, errno.EPROTONOSUPPORT):
            return Support(False, "the kernel was built without it, or without its protocol")
        return Support(None, f"the probe ended in: {error}", error if isinstance(error, KernelError) else None)
    return Support(None, "the probe was accepted, which it should not be")


def _registered(engine: Engine) -> dict[Algorithm, Support]:
    listed = engine.register()
    there = {entry.algorithm for entry in (*listed.authentication, *listed.encryption)}
    answers = {}
    for algorithm in ALGORITHMS:
        if not algorithm.on_pfkey:
            answers[algorithm] = Support(False, "PF_KEY has no number for it: open the xfrm engine")
        elif algorithm.kind is Kind.COMPRESSION:
            answers[algorithm] = Support(None, "PF_KEY lists no compression")
        elif algorithm in there:
            answers[algorithm] = Support(True, "the kernel lists it")
        else:
            answers[algorithm] = Support(False, "the kernel does not list it")
    return answers


def _nobodys_sa(algorithm: Algorithm) -> SA:
    if algorithm.kind is Kind.COMPRESSION:
        sa_id = SAId(_NOBODY, _RESERVED, Protocol.IPCOMP)
        return SA(sa_id, IPv4Address("127.0.0.1"), compression=algorithm, replay_window=0)
    key = Key(bytes(range((max(algorithm.key_bits) + algorithm.salt_bits) // 8)))
    is_authentication = algorithm.kind is Kind.AUTHENTICATION
    return SA(
        SAId(_NOBODY, _RESERVED),
        IPv4Address("127.0.0.1"),
        mode=Mode.TRANSPORT,
        encryption=Encryption(NULL, Key(b"")) if is_authentication else Encryption(algorithm, key),
        authentication=Authentication(algorithm, key) if is_authentication else None,
    )
