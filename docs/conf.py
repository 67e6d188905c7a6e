"""How Sphinx makes the documentation of the tree's own Markdown, so that links are right here and on a code host."""

import inspect
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

import pfkeyx

# The source is the root of the tree: pages keep the paths, and the links, that they have in it.
project = "pfkeyx"
author = "the pfkeyx authors"
version = release = pfkeyx.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
include_patterns = ["*.md", "docs/**.md", "docs/**/*.md", "docker/README.md", "kernel/README.md", "lab/README.md"]
exclude_patterns = [".*", "build", "dist", "*.egg-info", "pfkeyx", "tests", "bench", "examples", "_native"]
root_doc = "docs/index"

html_theme = "furo"
html_title = f"pfkeyx {version}"
html_copy_source = False
# The root document is not at the top of the tree; whoever opens the top is sent there.
html_additional_pages = {"index": "to_root.html"}
templates_path = ["templates"]

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
_TYPE_VARIABLES = r"pfkeyx\.(aio|engine|testing\.namespace)\.(AnyMessage|T)"
# What operations are made of is internal, and so is what a transport takes from its socket.
_OPERATIONS = r"pfkeyx\.(dialect|entries|operation)\..*|pfkeyx\.pfkey\.message\.Header"
# What is Python's own is not looked up, which would take the network.
_PYTHON = rf"({'|'.join(sys.stdlib_module_names)})(\..*)?"
nitpick_ignore_regex = [("py:.*", rf"{_PYTHON}|{_OPERATIONS}|{_TYPE_VARIABLES}")]


def _targets() -> dict[str, str]:
    """Return what docstrings call by name, and where it is described: a field with its class."""
    targets = {name: f"pfkeyx.{name}" for name in pfkeyx.__all__}
    for owner in filter(lambda name: inspect.isclass(getattr(pfkeyx, name)), pfkeyx.__all__):
        for member, value in vars(getattr(pfkeyx, owner)).items():
            is_field = inspect.ismemberdescriptor(value)
            targets[f"{owner}.{member}"] = f"pfkeyx.{owner}" if is_field else f"pfkeyx.{owner}.{member}"
    return targets


_TARGETS = _targets()


def _link_names(_app: object, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Make of `Engine.open`, as docstrings have it, a reference where it is public, and a literal where it is not."""

    def link(match: re.Match[str]) -> str:
        target = _TARGETS.get(match[1])
        return f":py:obj:`{match[1]} <{target}>`" if target else f"``{match[1]}``"

    lines[:] = [re.sub(r"`([^`]+)`", link, line) for line in lines]


def _mend_defaults(
    _app: object, _what: str, _name: str, _object: object, _options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Write a default that is flags, `<SAFlag: 0>`, as Python: a signature that is none has no links."""
    return re.sub(r"<(\w+): (\d+)>", r"\1(\2)", signature or "") or None, returned


def _is_skipped(_app: object, _what: str, _name: str, value: object, _skip: bool, _options: object) -> bool | None:
    """Leave out the fields of named tuples, which their class describes."""
    return type(value).__name__ == "_tuplegetter" or None


def setup(app: Sphinx) -> None:
    """Have the docstrings' names linked."""
    app.connect("autodoc-process-docstring", _link_names)
    app.connect("autodoc-process-signature", _mend_defaults)
    app.connect("autodoc-skip-member", _is_skipped)


assert Path(pfkeyx.__file__).parent.parent == Path(__file__).parents[1], "the documentation is of another pfkeyx"
