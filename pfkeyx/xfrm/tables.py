"""What can be asked over XFRM of the SAD and the SPD as a whole: how full they are, and how they behave."""

from functools import partial
from typing import Any

from pfkeyx.checks import check_default_policy, check_thresholds
from pfkeyx.features import Feature
from pfkeyx.model import DefaultPolicy, HashThreshold, SADInfo, SPDInfo
from pfkeyx.operation import Request
from pfkeyx.xfrm import codec
from pfkeyx.xfrm import declarations as wire
from pfkeyx.xfrm.answers import Answer, Wire, nothing, only
from pfkeyx.xfrm.encoding import encode
from pfkeyx.xfrm.numbers import NLM_F_ACK, NLM_F_REQUEST


class TableRequests:
    """The part of the dialect that asks of whole tables."""

    def get_sad_info(self) -> Request[SADInfo]:
        """Return the request that reads how full the SAD is (XFRM_MSG_GETSADINFO)."""
        message = encode(wire.sadinfo_msg, wire.XFRM_MSG_GETSADINFO, NLM_F_REQUEST, {})
        return Request("get SAD info", "", Wire(message, Answer.ONE), partial(only, decode=_decode_sad_info))

    def get_spd_info(self) -> Request[SPDInfo]:
        """Return the request that reads how full the SPD is (XFRM_MSG_GETSPDINFO)."""
        message = encode(wire.spdinfo_msg, wire.XFRM_MSG_GETSPDINFO, NLM_F_REQUEST, {})
        return Request("get SPD info", "", Wire(message, Answer.ONE), partial(only, decode=_decode_spd_info))

    def set_spd_thresholds(self, ipv4: HashThreshold | None, ipv6: HashThreshold | None) -> Request[None]:
        """Return the request that sets which policies are found by hash (XFRM_MSG_NEWSPDINFO); None leaves them.

        The kernel sorts the policies anew a moment later.
        """
        check_thresholds("set SPD thresholds", ipv4, ipv6)
        attributes = [
            *_threshold_attribute("XFRMA_SPD_IPV4_HTHRESH", ipv4),
            *_threshold_attribute("XFRMA_SPD_IPV6_HTHRESH", ipv6),
        ]
        message = encode(wire.spdinfo_msg, wire.XFRM_MSG_NEWSPDINFO, NLM_F_REQUEST | NLM_F_ACK, {}, attributes)
        return Request("set SPD thresholds", "", Wire(message, Answer.ACK), nothing)

    def get_default_policy(self) -> Request[DefaultPolicy]:
        """Return the request that reads what happens to packets that no policy is for (XFRM_MSG_GETDEFAULT)."""
        message = encode(wire.userpolicy_default_msg, wire.XFRM_MSG_GETDEFAULT, NLM_F_REQUEST, {})
        decode = partial(only, decode=codec.decode_default_policy)
        return Request("get default policy", "", Wire(message, Answer.ONE), decode, needs=(Feature.DEFAULT_POLICY,))

    def set_default_policy(self, policy: DefaultPolicy) -> Request[None]:
        """Return the request that sets what happens to packets that no policy is for (XFRM_MSG_SETDEFAULT)."""
        check_default_policy("set default policy", policy)
        fields = codec.default_policy_fields(policy)
        message = encode(wire.userpolicy_default_msg, wire.XFRM_MSG_SETDEFAULT, NLM_F_REQUEST | NLM_F_ACK, fields)
        needs = (Feature.DEFAULT_POLICY,)
        return Request("set default policy", policy, Wire(message, Answer.ACK), nothing, needs=needs)


def _threshold_attribute(name: str, threshold: HashThreshold | None) -> list[tuple[str, Any]]:
    return [(name, {"lbits": threshold.local, "rbits": threshold.remote})] if threshold is not None else []


def _decode_sad_info(message: Any) -> SADInfo:
    buckets = message.get_attr("XFRMA_SAD_HINFO")
    return SADInfo(message.get_attr("XFRMA_SAD_CNT"), buckets["sadhcnt"], buckets["sadhmcnt"])


def _decode_spd_info(message: Any) -> SPDInfo:
    counts, buckets = message.get_attr("XFRMA_SPD_INFO"), message.get_attr("XFRMA_SPD_HINFO")
    return SPDInfo(
        inbound=counts["incnt"],
        outbound=counts["outcnt"],
        forward=counts["fwdcnt"],
        socket_inbound=counts["inscnt"],
        socket_outbound=counts["outscnt"],
        socket_forward=counts["fwdscnt"],
        buckets=buckets["spdhcnt"],
        buckets_maximum=buckets["spdhmcnt"],
        ipv4=_decode_threshold(message.get_attr("XFRMA_SPD_IPV4_HTHRESH")),
        ipv6=_decode_threshold(message.get_attr("XFRMA_SPD_IPV6_HTHRESH")),
    )


def _decode_threshold(fields: dict[str, Any]) -> HashThreshold:
    return HashThreshold(fields["lbits"], fields["rbits"])
