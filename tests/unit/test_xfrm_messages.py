"""The declared messages against the kernel's own header, by asking the compiler."""

import re
import subprocess
from pathlib import Path

import pytest

from pfkeyx.xfrm import layout
from pfkeyx.xfrm import messages as wire

HEADER = Path("/usr/include/linux/xfrm.h")
STRUCTS = sorted(name for name, kind in vars(layout).items() if isinstance(kind, type) and name.startswith("xfrm_"))
#: Structs that this build host's header has; older ones lack the newest messages.
KNOWN = [name for name in STRUCTS if re.search(rf"struct {name} {{", HEADER.read_text())]
NUMBERS = sorted(
    name
    for name in [*vars(wire), *wire.ATTRIBUTE_NAMES.values()]
    if name.startswith(("XFRM_MSG_", "XFRMA_", "XFRMNLGRP_")) and re.search(rf"\b{name}\b", HEADER.read_text())
)


def offsets_of(struct: type[layout.cstruct]) -> dict[str, int]:
    offsets, offset = {}, 0
    for name, fmt in struct.fields:
        if not name.startswith("_"):
            offsets[name] = offset
        offset += layout.size_of(fmt)
    return offsets | {"": offset}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Ask the compiler for each struct's size ("name"), each field's offset ("name.field"), and each number."""
    lines = [f'P("{name}", sizeof(struct {name}));' for name in KNOWN]
    for name in KNOWN:
        fields = [field for field in offsets_of(getattr(layout, name)) if field]
        lines += [f'P("{name}.{field}", offsetof(struct {name}, {field}));' for field in fields]
    lines += [f'P("{name}", {name});' for name in NUMBERS]
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.c").write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/xfrm.h>\n"
        '#define P(name, value) printf("%s %ld\\n", name, (long)(value))\n'
        "int main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}\n"
    )
    subprocess.run(["cc", "-o", folder / "probe", folder / "probe.c"], check=True)
    output = subprocess.run([folder / "probe"], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in (line.split() for line in output.splitlines())}


@pytest.mark.parametrize("name", KNOWN)
def test_a_struct_is_laid_out_as_the_compiler_does_it(name: str, compiled: dict[str, int]) -> None:
    declared = offsets_of(getattr(layout, name))
    assert declared.pop("") == compiled[name]
    assert declared == {field: compiled[f"{name}.{field}"] for field in declared}


def test_every_number_is_the_headers(compiled: dict[str, int]) -> None:
    numbers = {name: number for number, name in wire.ATTRIBUTE_NAMES.items()} | vars(wire)
    assert {name: numbers[name] for name in NUMBERS} == {name: compiled[name] for name in NUMBERS}
    assert len(NUMBERS) > 40


def test_migrate_state_is_laid_out_as_in_linux_7_3() -> None:
    # Compiled from the 7.3 header: older build hosts do not have this struct.
    assert offsets_of(layout.xfrm_user_migrate_state) == {
        "id": 0,
        "new_daddr": 24,
        "new_saddr": 40,
        "old_mark": 56,
        "new_sel": 64,
        "new_reqid": 120,
        "flags": 124,
        "new_family": 128,
        "reserved": 130,
        "": 132,
    }
