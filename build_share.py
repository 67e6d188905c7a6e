"""Makes what is installed beside the package: manual pages, of the reference's Markdown, and shells' completions.

`python build_share.py LIB` writes them below build/share, of the package in the folder LIB.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

TARGET = Path("build/share")
REFERENCE = Path("docs/reference")

#: The manual pages below TARGET: the page that each is made of, and what it is, in a line.
MANUALS = {
    "man/man8/pfkeyx.8": ("command.md", "manage IPsec's security associations and policies, and move live tunnels"),
    "man/man5/pfkeyx-file.5": ("file.md", "security associations and policies in a file"),
}
#: The completions below TARGET, each of the shell that reads it there.
COMPLETIONS = {
    "bash-completion/completions/pfkeyx": "bash",
    "zsh/site-functions/_pfkeyx": "zsh",
    "fish/vendor_completions.d/pfkeyx.fish": "fish",
}


def manual(path: str, version: str) -> str:
    """Return a manual page: the Markdown without its title, under a head of its own."""
    from markdown_it import MarkdownIt

    page, text = MANUALS[path]
    name, _, section = Path(path).name.rpartition(".")
    tokens = MarkdownIt("commonmark").parse((REFERENCE / page).read_text())
    after_title = next(index for index, token in enumerate(tokens) if token.type == "heading_close") + 1
    head = f'.TH {name.upper()} {section} "" "pfkeyx {version}"\n.SH NAME\n{name} \\- {_text(text)}\n.SH DESCRIPTION\n'
    return head + "".join(_blocks(tokens[after_title:]))


def _blocks(tokens: Sequence[Any]) -> Iterator[str]:
    """Yield Markdown as man(7): headings, paragraphs, lists of terms, and code."""
    in_list = False
    before = "heading_close"
    for token in tokens:
        match token.type:
            case "heading_open":
                yield ".SH " if token.tag == "h2" else ".SS "
            case "paragraph_open" if not in_list and before != "heading_close":
                yield ".PP\n"
            case "bullet_list_open":
                in_list = True
            case "bullet_list_close":
                in_list = False
            case "inline":
                yield _item(token.children) if in_list else _inline(token.children)
            case "fence":
                yield f".PP\n.nf\n{_text(token.content)}.fi\n"
        if token.type != "html_block":
            before = token.type


def _item(children: Sequence[Any]) -> str:
    """Return an item of a list; one that begins with code and a colon explains that code."""
    for index, child in enumerate(children):
        if index and child.content.startswith(":"):
            child.content = child.content.removeprefix(":").lstrip()
            return f".TP\n{_inline(children[:index])}{_inline(children[index:])}"
        if child.type != "code_inline" and child.content != ", ":
            break
    return f".IP \\(bu 2\n{_inline(children)}"


def _inline(children: Sequence[Any]) -> str:
    return "".join(map(_phrase, children)) + "\n"


def _phrase(token: Any) -> str:
    match token.type:
        case "code_inline" | "strong_open":
            return f"\\fB{_text(token.content)}" + ("\\fR" if token.content else "")
        case "em_open":
            return "\\fI"
        case "strong_close" | "em_close":
            return "\\fR"
        case "softbreak":
            return "\n"
    return _text(token.content)


def _text(text: str) -> str:
    """Return text whose backslashes and minuses stay what they are, and none of whose lines is a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "".join(f"\\&{line}" if line[0] in ".'" else line for line in text.splitlines(keepends=True))


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return a shell's completion script: a line a command, and files for what wants one."""
    import shtab

    for action in _actions(parser):
        if action.metavar is not None and "FILE" in action.metavar:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                action.choices[choice.dest].description = choice.help
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def main(lib: str) -> None:
    """Write everything; the package is that of `lib`."""
    sys.path.insert(0, lib)
    from pfkeyx import __version__
    from pfkeyx.cli.parser import make_parser

    texts = {path: manual(path, __version__) for path in MANUALS}
    texts |= {path: completion(make_parser(), shell) for path, shell in COMPLETIONS.items()}
    for path, text in texts.items():
        (TARGET / path).parent.mkdir(parents=True, exist_ok=True)
        (TARGET / path).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1])
