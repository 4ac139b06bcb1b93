"""`demo` and `bench`: commands whose work other files bring."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, cast

import typer

from streams.errors import SettingsError
from trieflow.session import Session


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(
        rich_help_panel="Try",
        epilog="Example: trieflow demo --data /tmp/demo",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(demo)
    app.command(
        rich_help_panel="Try",
        epilog="Example: trieflow bench path",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(bench)


def demo(ctx: typer.Context) -> None:
    """See it work: publish OpenMoji's pictures, ask in several languages, and show what is found."""
    import_module("trieflow.demo").run(cast(Session, ctx.obj).settings, ctx.args)


def bench(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Which benchmark; see benchmarks/README.md.")],
) -> None:
    """Measure. Works in a checkout of the repository, where the benchmarks are."""
    module = f"benchmarks.{name}"
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        raise SettingsError(f"there is no benchmark {name!r} here: benchmarks/{name}.py is looked for")
    import_module(module).main(cast(Session, ctx.obj).settings, ctx.args)
