"""What PF_KEY, and the kernel behind it, can do: known from the protocol, or probed for without changing anything."""

import errno
from typing import NoReturn

from pfkeyx.errors import KernelError, UnsupportedError
from pfkeyx.features import Feature, Support
from pfkeyx.operation import Operation, ask
from pfkeyx.pfkey.answers import NOT_TAKEN_IN, Answer, make_request, nothing
from pfkeyx.pfkey.message import Message, MessageType

_SPOKEN = {Feature.PFKEY, Feature.REGISTER, Feature.ACQUIRE_ANSWER}
#: What PF_KEY has no words for.
_ONLY_XFRM = {
    Feature.XFRM: "this engine speaks PF_KEY",
    Feature.AEAD: "PF_KEY on Linux has no combined-mode algorithms",
    Feature.ESN: "PF_KEY has no 64-bit sequence numbers",
    Feature.MARK: "PF_KEY shows no marks, and finds only what has none",
    Feature.IF_ID: "PF_KEY has no interface ids",
    Feature.MIGRATE_STATE: "PF_KEY moves the templates of a policy, and no single SA",
    Feature.SUB_POLICY: "PF_KEY has main policies only",
    Feature.DEFAULT_POLICY: "PF_KEY neither shows nor sets the default policy",
    Feature.OUTPUT_MARK: "PF_KEY marks no packets",
    Feature.OFFLOAD: "PF_KEY gives no work to interfaces",
    Feature.MAPPING_THRESHOLD: "PF_KEY tells of every new mapping",
    Feature.SA_DIRECTION: "PF_KEY's SAs have no direction",
    Feature.NAT_KEEPALIVE: "PF_KEY keeps no NAT's mapping alive",
    Feature.SA_CPU: "PF_KEY has no SAs of single CPUs",
    Feature.IPTFS: "PF_KEY has no IPTFS",
    Feature.PROGRESS: "PF_KEY neither shows nor sets sequence numbers",
    Feature.RESTORE: "PF_KEY sets neither sequence numbers nor counters",
    Feature.EXPIRE_REQUEST: "Linux sends SADB_EXPIRE, and takes it from nobody",
    Feature.TABLE_INFO: "PF_KEY does not tell how full the tables are",
}

_NOT_TAKEN = "Linux sends it, and takes it from nobody"
_NOT_USED = "Linux neither takes nor sends it"
#: What is asked to find out, the refusal that means no, and what it says of the kernel.
_PROBED = {
    Feature.ADDRUPDATE: (MessageType.X_ADDRUPDATE, errno.EOPNOTSUPP, _NOT_USED),
    Feature.MIGRATE: (
        MessageType.X_MIGRATE,
        errno.ENOPROTOOPT,
        "the kernel was built without CONFIG_NET_KEY_MIGRATE",
    ),
    Feature.SADB_EXPIRE: (MessageType.EXPIRE, errno.EOPNOTSUPP, _NOT_TAKEN),
    Feature.SADB_X_PCHANGE: (MessageType.X_PCHANGE, errno.EOPNOTSUPP, _NOT_USED),
    Feature.SADB_X_SPDACQUIRE: (
        MessageType.X_SPDACQUIRE,
        errno.EOPNOTSUPP,
        f"{_NOT_USED}: a policy without an SA is told by SADB_ACQUIRE",
    ),
    Feature.SADB_X_SPDEXPIRE: (
        MessageType.X_SPDEXPIRE,
        errno.EOPNOTSUPP,
        f"{_NOT_USED}: a policy that expires is gone without a word",
    ),
    Feature.SADB_X_NAT_T_NEW_MAPPING: (MessageType.X_NAT_T_NEW_MAPPING, errno.EOPNOTSUPP, _NOT_TAKEN),
}


def supports(feature: Feature) -> Operation[Support]:
    """Return whether PF_KEY can say it, and where it can, what the kernel answers to a probe."""
    if feature in _SPOKEN:
        return Support(True, "this engine speaks it")
    if feature in _ONLY_XFRM:
        return Support(False, _hint(feature))
    return (yield from _probe(feature))


def refuse(feature: Feature) -> NoReturn:
    """Raise the `UnsupportedError` of a feature that only XFRM has."""
    raise UnsupportedError(feature.value, _hint(feature))


def _hint(feature: Feature) -> str:
    return f"{_ONLY_XFRM[feature]}: open the xfrm engine"


def _probe(feature: Feature) -> Operation[Support]:
    # Without extensions there is nothing to do, and a kernel that could do it answers EINVAL.
    message_type, refusal, reason = _PROBED[feature]
    name = feature.name if feature.name.startswith("SADB_") else f"SADB_X_{feature.name}"
    try:
        yield from ask(make_request("probe", name, Message(message_type), Answer.ACK, nothing))
    except KernelError as error:
        if error.errno == refusal:
            return Support(False, f"{name}: {reason}")
        if error.errno == errno.EINVAL and error.detail == NOT_TAKEN_IN:
            return Support(False, f"{name}: the kernel has no such message")
        if error.errno == errno.EINVAL:
            return Support(True, f"the kernel understands {name}")
        return Support(None, f"{name}: {error.strerror}", error)
    return Support(None, f"{name}: the probe was accepted, which it should not be")
