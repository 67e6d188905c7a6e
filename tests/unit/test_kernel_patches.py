"""The patches for the kernel are the module's code, in the kernel's own files."""

from pathlib import Path

KERNEL = Path(__file__).resolve().parents[2] / "kernel"
#: What the module needs in order to be one.
OF_THE_MODULE = {
    '#include "compat.c"',
    "#ifdef XFRM_MSG_MIGRATE_STATE",
    "\treturn xc ? pfkey_restore_geniv(xc, x) : ERR_PTR(-EINVAL);",
}


def test_the_patch_for_the_kernel_adds_the_code_of_the_module() -> None:
    code = (KERNEL / "addrupdate.c").read_text()
    handler = code[code.index("#ifdef CONFIG_NET_KEY_MIGRATE") :].splitlines()
    (patch,) = (KERNEL / "patches").glob("0002-*.patch")
    added = {line[1:] for line in patch.read_text().splitlines() if line.startswith("+")}
    assert [line for line in handler if line not in added | OF_THE_MODULE] == []
