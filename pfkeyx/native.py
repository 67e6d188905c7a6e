"""The compiled core, `ffi` and `lib`, known to be this package's own; what calls it belongs in `pfkey/`."""

from pfkeyx._pfkey import ffi, lib
from pfkeyx._version import __version__

__all__ = ["check_version", "ffi", "lib"]


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


check_version(ffi.string(lib.pfkeyx_version()).decode(), __version__)
