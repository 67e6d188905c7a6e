"""Builds `pfkeyx._pfkey` from `_native/`: paths, flags and the version; declarations belong in `_native/`."""

import os
import runpy
from pathlib import Path

from cffi import FFI

NATIVE = Path("_native")
SOURCES = ["socket.c", "builder.c", "reader.c", "dump.c", "pfkey.c", "xfrm.c", "compare.c", "identity.c", "lane.c"]
HEADERS = ["pfkeyx.h", "cdef.h", "compat.h", "dump.h", "memory.h", "xfrm.h"]

VERSION = runpy.run_path("pfkeyx/_version.py")["__version__"]

# What cffi generates follows these pragmas; the strict warnings are for our own code, above and in SOURCES.
PREAMBLE = f"""
#include "compat.h"
#include "pfkeyx.h"
const char *pfkeyx_version(void) {{ return "{VERSION}"; }}
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wunused-parameter"
"""

warnings = ["-Wall", "-Wextra", "-Wconversion"]
if os.environ.get("PFKEYX_WERROR") == "1":
    warnings.append("-Werror")

ffibuilder = FFI()
ffibuilder.cdef((NATIVE / "cdef.h").read_text())
ffibuilder.cdef((NATIVE / "pfkeyx.h").read_text().split("/* cffi reads ")[1].partition("*/")[2])
ffibuilder.set_source(
    "pfkeyx._pfkey",
    PREAMBLE,
    sources=[str(NATIVE / name) for name in SOURCES],
    depends=[str(NATIVE / name) for name in HEADERS],
    include_dirs=[str(NATIVE)],
    extra_compile_args=[*warnings, "-pthread"],
    extra_link_args=["-pthread"],
    py_limited_api=True,
)
