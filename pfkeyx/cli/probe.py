"""`pfkeyx probe`: what this kernel can do, and from what it is known."""

import argparse
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from pfkeyx.cli.command import WIDTH, Commands, add_command, print_json
from pfkeyx.cli.status import DONE, REFUSED, UNSUPPORTED
from pfkeyx.cli.text import show
from pfkeyx.errors import KernelError, UnsupportedError
from pfkeyx.features import Feature, Support
from pfkeyx.opening import EngineName

if TYPE_CHECKING:
    from pfkeyx.engine import Engine

_TITLES = {"feature": "features", "method": "methods of moving SAs", "algorithm": "algorithms"}
#: By the kind of what is asked for, the answers by name.
Answers = dict[str, dict[str, Support]]


def add_parser(commands: Commands) -> None:
    """Declare the command."""
    add_command(
        commands,
        "probe",
        run,
        "say what this kernel can do, and from what it is known",
        "sudo pfkeyx probe --json",
        "Nothing is changed to find out, but that the kernel loads its modules. Exit status 3 when it can do nothing.",
    )


def run(options: argparse.Namespace) -> int:
    """Probe each engine, and show what was found."""
    from pfkeyx.engine import Engine

    found: dict[str, tuple[Support, Answers]] = {}
    for name in (options.engine,) if options.engine else get_args(EngineName):
        try:
            with Engine.open(name, netns=options.netns) as engine:
                found[name] = Support(True, "it can be opened"), _ask(engine)
        except UnsupportedError as error:
            found[name] = Support(False, str(error)), {}
        except KernelError as error:
            found[name] = Support(None, str(error), error), {}
    if options.json:
        print_json(
            engine={name: {**_plain(support), **_all_plain(answers)} for name, (support, answers) in found.items()}
        )
    else:
        show(line for name, (support, answers) in found.items() for line in _lines(name, support, answers))
    opened = {support.available for support, _ in found.values()}
    return DONE if True in opened else REFUSED if None in opened else UNSUPPORTED


def _ask(engine: "Engine") -> Answers:
    from pfkeyx.probing import probe_algorithms, probe_methods

    return {
        "feature": {feature.value: engine.supports(feature) for feature in Feature},
        "method": {method.value: support for method, support in probe_methods(engine).items()},
        "algorithm": {algorithm.name: support for algorithm, support in probe_algorithms(engine).items()},
    }


def _plain(support: Support) -> dict[str, Any]:
    return {"available": support.available, "reason": support.reason}


def _all_plain(answers: Answers) -> dict[str, Any]:
    return {kind: {name: _plain(support) for name, support in named.items()} for kind, named in answers.items()}


def _lines(name: str, support: Support, answers: Mapping[str, Mapping[str, Support]]) -> Iterator[str]:
    yield from _wrapped(name, support)
    for kind, named in answers.items():
        yield f"  {_TITLES[kind]}"
        if kind == "algorithm":
            yield from _grouped(named)
            continue
        width = max(map(len, named))
        for each, answer in named.items():
            yield from _wrapped(f"    {each:{width}}", answer)


def _grouped(named: Mapping[str, Support]) -> Iterator[str]:
    """Yield each answer once, with all that it is for."""
    groups: dict[str, list[str]] = {}
    for name, support in named.items():
        groups.setdefault(str(support), []).append(name)
    for answer, names in groups.items():
        yield from textwrap.wrap(answer, WIDTH, initial_indent="    ", subsequent_indent="    ")
        yield from textwrap.wrap(
            ", ".join(names), WIDTH, initial_indent="      ", subsequent_indent="      ", break_on_hyphens=False
        )


def _wrapped(start: str, support: Support) -> list[str]:
    line = f"{start}  {support}"
    return textwrap.wrap(line, WIDTH, subsequent_indent=" " * (len(start) + 2), drop_whitespace=True)
