"""`docs/reference/commands.md` from the commands themselves: `python -m trieflow.reference` writes it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from trieflow.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "commands.md"

_HEAD = """# Commands

Made from the command line itself by `make docs`. `trieflow COMMAND --help` shows the same.

Exit codes: 0 done, 1 failed (one message, no traceback), 2 wrong usage or settings; `replay answers` has more of
them. Results go to standard output, all else to standard error. In a terminal results are tables; elsewhere lines
with tabs between columns.

## Global options

They may stand before or after the command. Each is a [setting](settings.md) too.
"""


def page() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    return "\n".join([_HEAD, *_options(root), "", *_commands(root, "trieflow")])


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        whole = f"{path} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, whole)
        else:
            yield from _command(command, whole)


def _command(command: Any, path: str) -> Iterator[str]:
    arguments = [each for each in command.params if _is_argument(each)]
    yield f"## {path}\n"
    yield f"`{' '.join([path, '[OPTIONS]', *map(_usage, arguments)])}`\n"
    for paragraph in _paragraphs(command.help):
        yield f"{paragraph}\n"
    if arguments:
        rows = (f"| `{_usage(each)}` | {_cell(each.help)} |" for each in arguments)
        yield from ("| argument | meaning |", "|---|---|", *rows, "")
    options = list(_options(command))
    if options:
        yield from (*options, "")
    if command.epilog:
        yield f"Example: `{command.epilog.removeprefix('Example: ')}`\n"


def _options(command: Any) -> Iterator[str]:
    rows = [each for each in command.params if not _is_argument(each) and each.name != "help"]
    if rows:
        yield from ("| option | default | meaning |", "|---|---|---|")
    for option in rows:
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        default = "" if option.default in (None, False) else f"`{_default(option)}`"
        yield f"| {names} | {default} | {_cell(option.help)} |"


def _default(option: Any) -> str:
    return str(option.opts[0]) if option.default is True else str(option.default)


def _usage(argument: Any) -> str:
    name = str(argument.metavar or argument.name).upper()
    several = "..." if argument.nargs == -1 else ""
    return f"{name}{several}" if argument.required else f"[{name}{several}]"


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _paragraphs(text: str) -> list[str]:
    return [_escaped(" ".join(each.split())) for each in text.split("\n\n")]


def _cell(text: str | None) -> str:
    return _escaped(text or "").replace("|", "\\|")


def _escaped(text: str) -> str:
    """Placeholders as <role> are no HTML."""
    return text.replace("<", "\\<")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
