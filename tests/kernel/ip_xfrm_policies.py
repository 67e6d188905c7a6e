"""Policies of every kind that `ip xfrm policy` can name, and its words for them."""

from dataclasses import replace
from ipaddress import ip_interface, ip_network
from itertools import count
from typing import Any

from pfkeyx import Action, Direction, Lifetime, Limit, Mark, Mode, Policy, Port, Protocol, Selector, Template
from pfkeyx.model import PolicyFlag, PolicyType, any_selector
from tests.kernel.ip_xfrm import Case
from tests.kernel.values import ADDRESSES

_numbers = count(1)
_SOURCES = {4: ip_network("10.0.0.0/8"), 6: ip_network("fd00::/8")}
_DESTINATIONS = {4: "10.1.{}.0/24", 6: "fd00:1:{}::/64"}


def _policy(words: str, *, about: str = "", selector: Selector | None = None, **fields: Any) -> Case[Policy]:
    """Return a case of a policy that is what `ip` makes by itself, but for what `words` and `fields` say alike.

    Its selector is one of its own, for which `about` has `ip`'s further words.
    """
    number = next(_numbers)
    policy = Policy(selector or _selector(number), **{"direction": Direction.OUT, **fields})
    # The index is asked for, so that it is the same each time.
    policy = replace(policy, index=number << 3 | policy.direction)
    nets = f"src {policy.selector.source} dst {policy.selector.destination}"
    about = f"{nets} {about} dir {policy.direction} index {policy.index}"
    return Case(f"xfrm policy add {about} {words}", policy)


def _selector(number: int, version: int = 4) -> Selector:
    return Selector(_SOURCES[version], ip_network(_DESTINATIONS[version].format(number)))


def _about(about: str, version: int = 4, **fields: Any) -> Case[Policy]:
    """Return a case of a policy for some packets between two networks."""
    return _policy("", about=about, selector=replace(_selector(next(_numbers), version), **fields))


def _through(words: str, *templates: Template, version: int = 4, **fields: Any) -> Case[Policy]:
    """Return a case of a policy for packets that go through these templates."""
    return _policy(words, selector=_selector(next(_numbers), version), templates=templates, **fields)


_ROAD = {version: f"src {ends.roaming} dst {ends.gateway}" for version, ends in ADDRESSES.items()}
_TUNNELS = {version: Template(source=ends.roaming, destination=ends.gateway) for version, ends in ADDRESSES.items()}
_TRANSPORT = Template(mode=Mode.TRANSPORT)
_ESP4, _ESP6 = (f"tmpl {road} proto esp mode tunnel" for road in _ROAD.values())

DIRECTIONS = [
    _policy(""),
    _policy("", direction=Direction.IN),
    _policy("", direction=Direction.FORWARD),
    _policy("", selector=_selector(1, 6)),
    _policy("action block", action=Action.BLOCK),
    _policy("action block", action=Action.BLOCK, selector=_selector(2, 6), direction=Direction.IN),
    _policy("priority 1", priority=1),
    _policy("priority 4294967295", priority=0xFFFFFFFF),
    _policy("ptype sub", type=PolicyType.SUB),
    _policy(f"ptype sub {_ESP4}", type=PolicyType.SUB, direction=Direction.IN, templates=(_TUNNELS[4],)),
]

IDENTITIES = [
    _policy("mark 5", mark=Mark(5)),
    _policy("mark 0x50 mask 0xf0", mark=Mark(0x50, 0xF0)),
    _policy("if_id 9", if_id=9),
    _policy(f"mark 1 if_id 0xffffffff {_ESP4}", mark=Mark(1), if_id=0xFFFFFFFF, templates=(_TUNNELS[4],)),
    _policy("ptype sub mark 7 if_id 8", type=PolicyType.SUB, mark=Mark(7), if_id=8),
    _policy("flag localok", flags=PolicyFlag.LOCAL_OVERRIDE),
    _policy("flag icmp", flags=PolicyFlag.ICMP),
    _policy("flag localok icmp", flags=PolicyFlag.LOCAL_OVERRIDE | PolicyFlag.ICMP),
]

SELECTORS = [
    _policy("", selector=any_selector(4)),
    _policy("", selector=any_selector(6)),
    _policy("", selector=Selector(ip_interface("10.0.0.1/8"), ip_interface("10.1.0.1/16"))),
    _about("proto tcp sport 7 dport 9", protocol=6, source_port=Port(7), destination_port=Port(9)),
    _about("proto udp dport 53", version=6, protocol=17, destination_port=Port(53)),
    _about("proto sctp sport 65535", protocol=132, source_port=Port(65535)),
    _about("proto icmp type 8 code 0", protocol=1, source_port=Port(8), destination_port=Port(0)),
    _about("proto ipv6-icmp type 128", version=6, protocol=58, source_port=Port(128)),
    _about("proto mobility-header type 5", version=6, protocol=135, source_port=Port(5)),
    _about("proto gre key 1.2.3.4", protocol=47, source_port=Port(0x0102), destination_port=Port(0x0304)),
    _about("proto 99", protocol=99),
    _about("dev lo", interface_index=1),
    _about("proto udp dport 500 dev lo", protocol=17, destination_port=Port(500), interface_index=1),
]

LIMITS = [
    _policy("limit byte-soft 1000 limit byte-hard 2000", lifetime=Lifetime(Limit(octets=1000), Limit(octets=2000))),
    _policy("limit packet-hard 1000", lifetime=Lifetime(hard=Limit(packets=1000))),
    _policy("limit time-soft 3000 limit time-hard 3600", lifetime=Lifetime(Limit(seconds=3000), Limit(seconds=3600))),
    _policy("limit time-use-hard 600", lifetime=Lifetime(hard=Limit(idle_seconds=600))),
    _policy(
        "limit byte-soft 1001 limit byte-hard 1002 limit packet-soft 103 limit packet-hard 104 "
        "limit time-soft 3005 limit time-hard 3006 limit time-use-soft 3007 limit time-use-hard 3008",
        lifetime=Lifetime(Limit(1001, 103, 3005, 3007), Limit(1002, 104, 3006, 3008)),
    ),
]

TEMPLATES = [
    _through(_ESP4, _TUNNELS[4]),
    _through(_ESP6, _TUNNELS[6], version=6),
    _through(_ESP6, _TUNNELS[6]),
    _through(_ESP4, _TUNNELS[4], version=6),
    _through(f"{_ESP4} reqid 7", replace(_TUNNELS[4], reqid=7)),
    _through(f"tmpl {_ROAD[4]} proto esp spi 0x1234 mode tunnel", replace(_TUNNELS[4], spi=0x1234)),
    _through(f"tmpl {_ROAD[4]} proto esp mode beet", replace(_TUNNELS[4], mode=Mode.BEET)),
    _through(f"tmpl {_ROAD[6]} proto esp mode beet", replace(_TUNNELS[6], mode=Mode.BEET)),
    _through("tmpl proto esp mode transport", _TRANSPORT),
    _through("tmpl proto esp mode transport", _TRANSPORT, version=6),
    _through("tmpl proto esp mode transport level use", replace(_TRANSPORT, optional=True)),
    _through(
        f"tmpl {_ROAD[4]} proto ah mode transport", replace(_TUNNELS[4], protocol=Protocol.AH, mode=Mode.TRANSPORT)
    ),
    _through(f"{_ESP4} level use", replace(_TUNNELS[4], optional=True), direction=Direction.IN),
    _through(
        f"tmpl {_ROAD[4]} proto comp mode tunnel level use tmpl proto esp mode transport reqid 7",
        replace(_TUNNELS[4], protocol=Protocol.IPCOMP, optional=True),
        replace(_TRANSPORT, reqid=7),
        direction=Direction.FORWARD,
    ),
    _through(
        f"tmpl proto comp mode transport level use {_ESP6} reqid 7 tmpl proto ah mode transport reqid 8 {_ESP4}",
        replace(_TRANSPORT, protocol=Protocol.IPCOMP, optional=True),
        replace(_TUNNELS[6], reqid=7),
        replace(_TRANSPORT, protocol=Protocol.AH, reqid=8),
        _TUNNELS[4],
    ),
    _through(
        " ".join(f"tmpl proto esp mode transport reqid {reqid}" for reqid in range(1, 7)),
        *(replace(_TRANSPORT, reqid=reqid) for reqid in range(1, 7)),
    ),
]

KINDS = {
    "directions": DIRECTIONS,
    "identities": IDENTITIES,
    "selectors": SELECTORS,
    "limits": LIMITS,
    "templates": TEMPLATES,
}
