"""`demo` and `bench`: commands whose work other files bring."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, cast

import typer

from streams.errors import SettingsError
from trieflow.session import Session

_INSTALL = "the benchmarks need .venv/bin/uv pip install --require-hashes -r requirements/bench.txt"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(
        rich_help_panel="Try",
        epilog="Example: trieflow demo --data /tmp/demo --pictures 200",
    )(demo)
    app.command(
        rich_help_panel="Try",
        epilog="Example: trieflow bench path --runs 3",
        # --help behind a name is the benchmark's own, see `bench`.
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    )(bench)


def demo(
    ctx: typer.Context,
    pictures: Annotated[
        int | None, typer.Option(help="How many pictures (default: all, about 1,600).", min=60)
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the contact sheet in a browser.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Also draw the contact sheet as a PNG to this path.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with all figures.")] = False,
) -> None:
    """See it work: publish OpenMoji's pictures, ask in twelve languages, teach it a word and nonsense.

    Nonsense is random clicks: an adapter is trained from them, and the gates judge it. That needs torch, and a
    system that the demo has started; the clicks are forgotten again. Starts everything that does not run yet.
    Running it again is safe: what is there is answered `unchanged`.
    """
    from trieflow.demo import DemoOptions, run

    session = cast(Session, ctx.obj)
    run(session.settings, session.flags, DemoOptions(pictures, keep, browser, picture, as_json))


def bench(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            help="path, query, trie, index, dense, freshness, stream, decoder, confidence, discretisers, fitting, "
            "growth, learning, learner, ranking, off_policy, lexical, fusion or soak; see benchmarks/README.md."
        ),
    ] = "",
) -> None:
    """Measure. Works in a checkout of the repository, where the benchmarks are. Each has a --help of its own."""
    if name in ("", "--help", "-h"):
        typer.echo(ctx.get_help())
        return
    module = f"benchmarks.{name}"
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        raise SettingsError(f"there is no benchmark {name!r} here: benchmarks/{name}.py is looked for")
    try:
        import_module(module).main(cast(Session, ctx.obj).settings, ctx.args)
    except ModuleNotFoundError as error:
        raise SettingsError(f"the package {error.name} is not installed; {_INSTALL}") from error
