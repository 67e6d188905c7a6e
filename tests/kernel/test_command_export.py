"""`pfkeyx export`: what a document leaves out, and whether the programs themselves decrypt by the tables."""

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from socket import AF_INET, AF_PACKET, PACKET_OUTGOING, SOCK_DGRAM, htons, socket

import pytest

from pfkeyx import AES_CBC, AES_GCM, HMAC_SHA256, Authentication, Encryption, Tunnel, UdpEncap
from pfkeyx.algorithms import HMAC_SHA1
from pfkeyx.testing.wire import ETH_P_ALL
from tests.kernel.command import pfkeyx_does, works
from tests.kernel.topology import DEVICE, Road
from tests.kernel.values import ADDRESSES, key

_SECRET = b"what was said inside the tunnel"
_PORT = 40009
_LINKTYPE_RAW = 101
ETH_P_IP = 0x0800
_GCM, _CBC = Encryption(AES_GCM, key(36)), Encryption(AES_CBC, key(32))
#: By SPI.
_SUITES = {
    0x1001: (_GCM, None, None),
    0x1002: (_CBC, Authentication(HMAC_SHA256, key(32)), None),
    0x1003: (_CBC, Authentication(HMAC_SHA1, key(20)), None),
    0x1004: (_GCM, None, UdpEncap(4500, 4501)),
}


@contextmanager
def captured(file: Path, count: int) -> Iterator[None]:
    """Write the next packets that leave, which are all IPv4, to a file of pcap's."""
    with socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL)) as wire:
        wire.bind((DEVICE, ETH_P_ALL))
        wire.settimeout(60)
        yield
        with file.open("wb") as pcap:
            pcap.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, _LINKTYPE_RAW))
            while count:
                packet, (_, protocol, packet_type, *_) = wire.recvfrom(2048)
                if protocol == ETH_P_IP and packet_type == PACKET_OUTGOING:
                    pcap.write(struct.pack("=IIII", 0, 0, len(packet), len(packet)) + packet)
                    count -= 1


@pytest.fixture
def capture(road: Road, tmp_path: Path) -> Path:
    """Send a datagram through a tunnel of each suite, and return the file that the ESP was captured to."""
    at, file = ADDRESSES[4], tmp_path / "esp.pcap"
    with captured(file, len(_SUITES)), socket(AF_INET, SOCK_DGRAM) as sock:
        for number, (spi, (encryption, authentication, encap)) in enumerate(_SUITES.items()):
            inner = ip_network(f"10.2.0.{number + 10}")
            road.roaming.namespace.ip(f"route add {inner} via {at.gateway}")
            tunnel = Tunnel(at.roaming, at.gateway, ip_network("0.0.0.0/0"), inner, 7 + number, encap)
            road.roaming.engine.add_sa(tunnel.outbound(spi, encryption, authentication))
            road.roaming.engine.add_policy(tunnel.policies()[0])
            sock.sendto(_SECRET, (str(inner.network_address), _PORT))
    return file


@pytest.mark.parametrize("family", [4], indirect=True)
def test_tshark_decrypts_a_capture_by_the_table(capture: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("esp_sa").write_text(works("export", "wireshark", "--show-keys").out)
    command = ["tshark", "-n", "-r", str(capture), "-o", "esp.enable_encryption_decode:TRUE"]
    fields = ["-d", f"udp.port=={_PORT},data", "-T", "fields", "-e", "esp.spi", "-e", "data.data"]
    environment = {**os.environ, "WIRESHARK_CONFIG_DIR": str(tmp_path), "HOME": str(tmp_path)}
    shown = subprocess.run([*command, *fields], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == [f"{spi:#010x}\t{_SECRET.hex()}" for spi in _SUITES], shown.stderr


@pytest.mark.parametrize("family", [4], indirect=True)
def test_tcpdump_decrypts_what_it_can_by_the_table(capture: Path, tmp_path: Path) -> None:
    done = pfkeyx_does("export", "tcpdump", "--show-keys")
    assert (done.status, done.err) == (
        0,
        "pfkeyx: export: 3 SAs left out, which tcpdump cannot decrypt: see the comments in the table\n",
    )
    table = tmp_path / "esp.keys"
    table.write_text(done.out)
    command = ["tcpdump", "-n", "-Z", "root", "-r", str(capture), "-E", f"file {table}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    (decrypted,) = [line for line in shown.stdout.splitlines() if "10.2.0.12" in line]
    assert "spi=0x00001003" in decrypted
    assert f".{_PORT}: UDP, length {len(_SECRET)}" in decrypted
