"""Run in a fresh network namespace, never outside one: exits 0 when this kernel has AF_KEY, XFRM and ESP."""

import socket
import subprocess
import sys

AF_KEY = 15
PF_KEY_V2 = 2
# Adding an SA loads the module of its protocol, so this fails on a kernel without ESP.
ESP_SA = "src 127.0.0.1 dst 127.0.0.2 proto esp spi 0x100 mode tunnel aead rfc4106(gcm(aes))"
ESP_KEY = f"0x{bytes(20).hex()}"


def main() -> int:
    """Return 0 when all three are there, 1 when one is not."""
    try:
        socket.socket(AF_KEY, socket.SOCK_RAW, PF_KEY_V2).close()
        done = subprocess.run(
            ["ip", "xfrm", "state", "add", *ESP_SA.split(), ESP_KEY, "128"], capture_output=True, check=False
        )
    except OSError:
        return 1
    return 0 if done.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
