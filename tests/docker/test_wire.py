"""Reading the router's log, of lines as tcpdump writes them; no container is needed."""

from tests.docker import wire
from tests.docker.wire import Packet

PLAIN = "03:39:29.143278 eth1  In  IP 198.51.100.2 > 203.0.113.10: ESP(spi=0xc0ffee02,seq=0x2034), length 132"
IN_UDP = (
    "03:39:29.453083 eth3  In  IP 192.168.7.2.4500 > 203.0.113.10.4500: "
    "UDP-encap: ESP(spi=0xc0ffee02,seq=0x2035), length 132"
)
OF_IPV6 = "03:39:29.763191 eth1  In  IP6 2001:db8:2::2 > 2001:db8:1::10: ESP(spi=0xc0ffee02,seq=0x2036), length 132"
IN_CLEAR = "03:39:55.496152 eth2  In  IP6 fd00:1::10 > fd00:2::10: ICMP6, echo request, id 7, seq 1, length 64"


def test_esp_is_seen_in_ipv4_in_udp_and_in_ipv6() -> None:
    assert wire.esp([PLAIN, IN_UDP, OF_IPV6, IN_CLEAR]) == [
        Packet("198.51.100.2", "203.0.113.10", 0xC0FFEE02, 0x2034),
        Packet("192.168.7.2.4500", "203.0.113.10.4500", 0xC0FFEE02, 0x2035),
        Packet("2001:db8:2::2", "2001:db8:1::10", 0xC0FFEE02, 0x2036),
    ]


def test_what_belongs_into_a_tunnel_is_seen_in_clear() -> None:
    assert wire.in_clear([PLAIN, IN_UDP, OF_IPV6, IN_CLEAR]) == [IN_CLEAR]


def test_a_sequence_number_that_comes_again_is_seen_whatever_the_packet_is_in() -> None:
    first, second, third = wire.esp([PLAIN, IN_UDP, OF_IPV6])
    assert wire.repeated([first, second, third]) == []
    assert wire.repeated([first, third, second]) == [(third, second)]
    assert wire.repeated([first, first]) == [(first, first)]
