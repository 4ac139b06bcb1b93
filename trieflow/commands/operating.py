"""`topics`, `config`, `doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

import typer

from trieflow import render
from trieflow.session import Session

Json = Annotated[bool, typer.Option("--json", help="One JSON value.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    topics = typer.Typer(help="Create, show and check the topics.", no_args_is_help=True)
    topics.command(epilog="Example: trieflow --brokers kafka:9092 topics create")(create)
    topics.command(epilog="Example: trieflow topics show --json")(show)
    topics.command(epilog="Example: trieflow topics check && echo fine")(check)
    app.add_typer(topics, name="topics", rich_help_panel="Operate")
    app.command(rich_help_panel="Operate", epilog="Example: TRIEFLOW_PARTITIONS=4 trieflow config")(config)
    app.command(rich_help_panel="Operate", epilog="Example: trieflow doctor --json | jq .")(doctor)


def create(ctx: typer.Context) -> None:
    """Create the topics that are missing, then check all. Running it twice is harmless."""
    from streams.topics import create_topics

    settings = cast(Session, ctx.obj).connected
    made: list[str] = []
    states = create_topics(settings, on_created=made.append)
    for name in made:
        render.output.print(f"created {name}")
    render.output.print(f"{len(states)} topics are as they must be, {len(made)} of them new")


def show(ctx: typer.Context, as_json: Json = False) -> None:
    """Show each topic: partitions, how long it is kept, and what is wrong with it."""
    _print_topics(ctx, as_json=as_json)


def check(ctx: typer.Context, as_json: Json = False) -> None:
    """Compare the topics with what they must be; exit code 1 when one differs, and what to do."""
    if _print_topics(ctx, as_json=as_json):
        raise typer.Exit(1)


def _print_topics(ctx: typer.Context, *, as_json: bool) -> int:
    """Print the topics; return how many have a problem."""
    from streams.topics import check_topics

    states = check_topics(cast(Session, ctx.obj).connected)
    if as_json:
        keys = ("topic", "partitions", "cleanup_policy", "problem")
        rows = [(s.spec.name, s.partitions, s.spec.cleanup_policy, s.problem) for s in states]
        render.json_line([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        columns = ("topic", "partitions", "kept", "problem")
        render.table(
            columns, [(s.spec.name, s.partitions, _kept(s.spec.config), s.problem or "none") for s in states]
        )
    return sum(state.problem is not None for state in states)


def _kept(config: Mapping[str, str]) -> str:
    milliseconds = config.get("retention.ms")
    return "newest of each key" if milliseconds is None else f"{int(milliseconds) / 3_600_000:g} hours"


def config(ctx: typer.Context, as_json: Json = False) -> None:
    """Print each setting, its value and where it came from: flag, environment, file or default.

    Any setting can be given as TRIEFLOW_<NAME> (sections by two underscores) or in `trieflow.toml`.
    """
    from streams.settings import explain_settings

    session = cast(Session, ctx.obj)
    rows = explain_settings(session.settings, session.flags)
    if as_json:
        render.json_line({name: {"value": value, "origin": origin} for name, value, origin in rows})
    else:
        render.table(("setting", "value", "origin"), rows)


def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Look at everything that a running system needs: Java, Kafka, topics, names, weights, disk, clock.

    Exit code 1 when something is wrong; each line says what to do.
    """
    from trieflow.doctor import examine

    findings = examine(cast(Session, ctx.obj).settings)
    if as_json:
        render.json_line([vars(finding) for finding in findings])
    else:
        marks = {"good": "ok", "note": "note", "bad": "WRONG"}
        render.table(("", "what", "found"), [(marks[f.verdict], f.what, f.found) for f in findings])
    if any(finding.verdict == "bad" for finding in findings):
        raise typer.Exit(1)
