"""The package's version, written here alone; the build hands it to the compiled core."""

__version__ = "0.1.0"
