"""The page of the command, written from its parser: each command's usage, options and examples."""

import argparse
import re
from collections.abc import Iterator

#: A manual page indents by the rest of 80.
_WIDTH = 72
_HEAD = """\
# The command

<!-- This page is written from the parser by `python -m tests.pages`; the manual page pfkeyx(8) is made of it. -->
"""
_SEE_ALSO = """
## JSON

What `--json` prints is one object, or with `monitor` and a live `top` one a line. Its `version` is 1 until what is
printed now would mean something else. The [schema](output.schema.json) has each command's. SAs and policies are written
as in [files](file.md).

## See also

[pfkeyx-file(5)](file.md), which `apply` reads and `export` writes; ip-xfrm(8).
"""


def command_page(parser: argparse.ArgumentParser) -> str:
    """Return the page of a parser and of all that it dispatches to."""
    page = _HEAD + f"\n{_escaped(parser.description or '')}\n" + _body(parser)
    for command in commands(parser):
        page += f"\n## {command.prog}\n\n{_escaped(command.description or '')}\n{_body(command)}"
    return page + _SEE_ALSO


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield what does something, depth first; a noun alone does not."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                if "run" in command._defaults:
                    yield command
                yield from commands(command)


def _body(parser: argparse.ArgumentParser) -> str:
    is_outermost = " " not in parser.prog
    body = f"\n```text\n{_usage(parser)}\n```\n"
    for group in parser._action_groups:
        rows = [_row(parser, action) for action in group._group_actions if _is_shown(action)]
        if rows and (is_outermost or group.title != "global options"):
            body += f"\n{_titled(group.title or '')}:\n\n" + "".join(rows)
    return body + "".join(_blocks(parser.epilog or ""))


def _blocks(epilog: str) -> Iterator[str]:
    """Yield what stands at the end of a help text: examples, and what each exit status means."""
    for block in filter(None, epilog.split("\n\n")):
        title, _, lines = block.partition("\n")
        text = re.sub(r"^  ", "", lines, flags=re.MULTILINE)
        yield f"\n{_titled(title)}\n\n"
        yield f"```sh\n{text}\n```\n" if title.startswith("example") else f"{_escaped(text)}\n"


def _usage(parser: argparse.ArgumentParser) -> str:
    """Return the usage, wrapped between options; argparse's own is another with each version of Python."""
    exclusive = {id(action): group for group in parser._mutually_exclusive_groups for action in group._group_actions}
    parts: dict[str, None] = {}
    for action in sorted(parser._actions, key=lambda action: not action.option_strings):
        if not _is_shown(action) or action.default == argparse.SUPPRESS:
            continue
        group = exclusive.get(id(action))
        actions = group._group_actions if group else [action]
        choice = " | ".join(map(_invocation, filter(_is_shown, actions)))
        is_required = group.required if group else action.required
        if is_required:
            parts[f"({choice})" if len(actions) > 1 else choice] = None
        else:
            parts[f"[{choice}]"] = None
    if any(isinstance(action, argparse._SubParsersAction) for action in parser._actions):
        parts["COMMAND ..."] = None
    return _wrapped(parser.prog, parts)


def _wrapped(start: str, parts: dict[str, None]) -> str:
    lines = [start]
    for part in parts:
        if len(lines[-1]) + 1 + len(part) > _WIDTH:
            lines.append(" " * len(start))
        lines[-1] += f" {part}"
    return "\n".join(lines)


def _is_shown(action: argparse.Action) -> bool:
    hidden = isinstance(action, (argparse._HelpAction, argparse._SubParsersAction))
    return not hidden and action.help != argparse.SUPPRESS


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = _escaped(parser._get_formatter()._expand_help(action)) if action.help else ""
    names = action.option_strings or [""]
    return f"- `{', '.join([*names[:-1], _invocation(action)])}`: {text}\n"


def _invocation(action: argparse.Action) -> str:
    """Return an option or an argument with its values: `--reqid N`."""
    metavar = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper())
    names = [metavar] if isinstance(metavar, str) else list(metavar)
    if action.nargs == 0:
        values = ""
    elif action.nargs in ("*", "?"):
        values = f"[{names[0]}{' ...' if action.nargs == '*' else ''}]"
    elif action.nargs == "+":
        values = f"{names[0]} ..."
    else:
        values = " ".join(names if len(names) > 1 else names * int(action.nargs or 1))
    if not action.option_strings:
        return values.strip("[]") if action.nargs == "?" else values
    return f"{action.option_strings[-1]} {values}".rstrip()


def _titled(text: str) -> str:
    return "Arguments" if text == "positional arguments" else text[:1].upper() + text[1:]


def _escaped(text: str) -> str:
    return re.sub(r"([*_<>`\[\]\\])", r"\\\1", text)
