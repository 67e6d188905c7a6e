"""The compiled core, `ffi` and `lib`, known to be this package's own, and the opening of both kernel interfaces."""

import os
from pathlib import Path

from pfkeyx._pfkey import ffi, lib
from pfkeyx._version import __version__

__all__ = ["RECEIVE_BUFFER", "check_version", "ffi", "lib", "open_raw"]

#: Bytes; the kernel drops what does not fit.
RECEIVE_BUFFER = 4 << 20


def check_version(compiled: str, package: str) -> None:
    """Refuse a compiled core that was built for another version of the package.

    Args:
        compiled: the version that the extension module carries.
        package: the version of the Python files beside it.

    Raises:
        ImportError: the two differ.
    """
    if compiled != package:
        raise ImportError(
            f"pfkeyx {package} found its compiled core pfkeyx._pfkey built for version {compiled}: "
            "install pfkeyx again (in a source tree: pip install -e .), so that both are of one version"
        )


def open_raw(family: int, protocol: int, netns: str | None, receive_buffer: int = RECEIVE_BUFFER) -> int:
    """Return the descriptor of a raw, non-blocking socket in `netns`.

    Args:
        family: AF_KEY or AF_NETLINK.
        protocol: PF_KEY_V2 or NETLINK_XFRM.
        netns: a name under /run/netns or a path to a namespace; None is the caller's own.
        receive_buffer: in bytes; less without CAP_NET_ADMIN outside a user namespace (net.core.rmem_max).

    Raises:
        OSError: as the kernel refuses; nothing is left open.
    """
    if netns is None:
        return _opened(lib.pfkeyx_open(family, protocol, -1, receive_buffer))
    namespace = os.open(netns if "/" in netns else Path("/run/netns", netns), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _opened(lib.pfkeyx_open(family, protocol, namespace, receive_buffer))
    finally:
        os.close(namespace)


def _opened(descriptor: int) -> int:
    if descriptor < 0:
        raise OSError(-descriptor, os.strerror(-descriptor))
    return descriptor


check_version(ffi.string(lib.pfkeyx_version()).decode(), __version__)
