"""The house is built in layers: an import may only go down."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "pfkeyx"

#: From the ground up; modules of one floor may import each other.
FLOORS = (
    ("_version", "_pfkey"),
    ("native",),
    ("errors",),
    ("algorithms", "features"),
    ("model",),
    ("checks", "columns", "entries", "events", "molds"),
    ("operation",),
    ("alike", "dialect"),
    ("pfkey", "xfrm"),
    ("migration",),
    ("many", "opening", "streams", "tunnels"),
    ("engine",),
    ("aio", "probing", "testing"),
    ("",),
    ("demo", "document"),
    ("cli",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
#: The two dialects say the same in two languages and do not know each other.
STRANGERS = ({"pfkey", "xfrm"},)
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """Return the part of the package that a dotted name below it belongs to."""
    return module.partition(".")[0]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name == "pfkeyx" or name.startswith("pfkeyx."):
                room = room_of(name.removeprefix("pfkeyx").removeprefix("."))
                rooms.add(room if room in FLOOR else "")
    return rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_is_below_it(path: Path) -> None:
    module = path.relative_to(PACKAGE).with_suffix("")
    room = room_of(".".join(module.parts)).replace("__init__", "").replace("__main__", "cli")
    for imported in imported_rooms(path) - {room}:
        assert FLOOR[imported] <= FLOOR[room], f"{module} imports {imported or 'pfkeyx'}, which is above it"
        assert {imported, room} not in STRANGERS, f"{module} imports {imported}, the other dialect"


def test_only_transports_the_demo_and_testing_touch_sockets() -> None:
    """I/O happens in the transports and the C core; what opens or waits says so here."""
    users = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and any(alias.name == "socket" for alias in node.names)
    }
    assert {user for user in users if not user.startswith(("demo/", "testing/"))} == {
        "pfkey/sockets.py",
        "pfkey/transport.py",
        "xfrm/transport.py",
    }
