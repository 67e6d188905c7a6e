"""What `pfkeyx.testing` gives to others: namespaces that end, and wires on which nothing is overlooked."""

from contextlib import suppress
from pathlib import Path

from pfkeyx import AES_CBC, HMAC_SHA1, Authentication, Encryption
from pfkeyx.testing import Namespace, Network, fresh_namespace
from tests.kernel.values import key

HERE = Path("/proc/thread-self/ns/net")


def held() -> set[str]:
    """Return the namespaces that this process holds by a descriptor."""
    links = {str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    return {link for link in links if link.startswith("net:")}


def test_a_fresh_namespace_is_left_and_ends_when_its_block_fails() -> None:
    before, held_before = HERE.readlink(), held()
    with suppress(ZeroDivisionError), fresh_namespace() as namespace:
        assert HERE.readlink() != before
        process = namespace.start("sleep", "600")
        raise ZeroDivisionError
    assert HERE.readlink() == before
    assert process.returncode is not None
    assert held() == held_before


def test_a_namespace_runs_programs_and_its_caller_stays_where_it_is() -> None:
    before = HERE.readlink()
    with Namespace.new({"ipv4/ip_forward": "1"}) as namespace:
        shown = namespace.run("cat", "/proc/self/net/dev", "/proc/sys/net/ipv4/ip_forward", capture_output=True).stdout
        assert HERE.readlink() == before
    assert "lo:" in shown
    assert shown.splitlines()[-1] == "1"


def test_what_goes_in_clear_is_seen_until_a_tunnel_is_laid(pfkeyx_network: Network) -> None:
    here, there = pfkeyx_network.local, pfkeyx_network.remote
    pfkeyx_network.traffic.send(1)
    clear = pfkeyx_network.in_clear()
    assert [(frame.source, frame.destination) for frame in clear] == [
        (here.host_address, there.host_address),
        (there.host_address, here.host_address),
    ]
    pfkeyx_network.lay_tunnel(Encryption(AES_CBC, key(16)), Authentication(HMAC_SHA1, key(20)))
    pfkeyx_network.traffic.send(1)
    assert pfkeyx_network.in_clear() == clear
    assert [frame.sequence for frame in (*here.esp(), *there.esp())] == [1, 1]
