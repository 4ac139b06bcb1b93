"""The command line: global options, errors to exit codes, and the list of commands.

Exit codes: 0 done, 1 failed (one clear message, no traceback), 2 wrong usage or settings; commands that find
something out may have others, which their help names. The commands stand in `commands/`; each imports what it needs
when it runs, so that help is there at once.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from streams.errors import SettingsError, TrieflowError
from trieflow.commands import (
    documents,
    epochs,
    forgetting,
    ids,
    models,
    operating,
    replaying,
    reporting,
    running,
    searching,
    trying,
)
from trieflow.session import Session

_HELP = """A search engine whose only interface is events on Kafka.

Start it, put something in, and ask:

  trieflow up --detach

  trieflow publish ~/Pictures

  trieflow search "red boots"
"""


class _Commands(TyperGroup):
    """Takes the global options also behind the command, and turns our errors into messages."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _globals_first(args, self._global_names()))

    def _global_names(self) -> set[str]:
        return {f"--{name}" for name in _GLOBALS}

    def invoke(self, ctx: Any) -> Any:
        from trieflow import render

        try:
            return super().invoke(ctx)
        except SettingsError as error:
            render.error(str(error))
            raise typer.Exit(2) from None
        except BrokenPipeError:  # whoever read us has seen enough
            raise typer.Exit(1) from None
        except (TrieflowError, OSError) as error:
            render.error(str(error))
            raise typer.Exit(1) from None


_GLOBALS = ("brokers", "prefix", "partitions", "data", "encoder")

app = typer.Typer(
    name="trieflow",
    cls=_Commands,
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _global_options(
    ctx: typer.Context,
    brokers: Annotated[
        str | None, typer.Option(help="Kafka as host:port,…; else the one that `trieflow up` started.")
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="What the names of all topics start with.")] = None,
    partitions: Annotated[
        int | None, typer.Option(help="Of keyed topics; fixed when they are created.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Where everything is kept (default: .trieflow).")] = None,
    encoder: Annotated[str | None, typer.Option(help="lite, hash or open_clip:<model>/<pretrained>.")] = None,
) -> None:
    given = zip(_GLOBALS, (brokers, prefix, partitions, data, encoder), strict=True)
    ctx.obj = Session({name: value for name, value in given if value is not None})


def _globals_first(args: list[str], names: set[str]) -> list[str]:
    """Move global options to the front: `trieflow up --data x` means `trieflow --data x up`."""
    first: list[str] = []
    rest: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in names:
            first += [word, *(value for value in [next(words, None)] if value is not None)]
        elif word.split("=", 1)[0] in names:
            first.append(word)
        else:
            rest.append(word)
    return first + rest


for part in (
    running,
    documents,
    forgetting,
    searching,
    ids,
    replaying,
    reporting,
    operating,
    epochs,
    models,
    trying,
):
    part.register(app)


def main() -> None:
    """Run the command line of this process."""
    # A lost connection is told by the command that it stops; librdkafka would repeat it every second.
    logging.getLogger("trieflow.kafka").addHandler(logging.NullHandler())
    app()
