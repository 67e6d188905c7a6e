"""`pfkeyx probe`: what this kernel can do, and from what it is known."""

import argparse
from typing import get_args

from pfkeyx.cli.command import Commands, add_command
from pfkeyx.cli.status import DONE, UNSUPPORTED
from pfkeyx.errors import UnsupportedError
from pfkeyx.opening import EngineName


def add_parser(commands: Commands) -> None:
    """Declare the command."""
    add_command(
        commands, "probe", run, "say what this kernel can do, and from what it is known", "sudo pfkeyx probe --json"
    )


def run(options: argparse.Namespace) -> int:
    """Probe."""
    from pfkeyx.engine import Engine
    from pfkeyx.features import Feature

    usable = 0
    width = max(len(feature.value) for feature in Feature)
    for name in (options.engine,) if options.engine else get_args(EngineName):
        try:
            with Engine.open(name, netns=options.netns) as engine:
                answers = {feature: engine.supports(feature) for feature in Feature}
        except UnsupportedError as error:
            print(f"{name}: no: {error}")
            continue
        usable += 1
        print(f"{name}: yes")
        for feature, support in answers.items():
            print(f"  {feature.value:{width}} {support}")
    return DONE if usable else UNSUPPORTED
