"""`models list`, `models show`, `models train`, `models promote` and `models rollback`."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from trieflow import render
from trieflow.session import Session

Json = Annotated[bool, typer.Option("--json", help="One JSON value.")]
Version = Annotated[str, typer.Argument(help="Of an adapter, as `models list` shows it.")]
Timeout = Annotated[float, typer.Option(help="Give up waiting for the learner after so many seconds.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it; else only what would be done is said.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    models = typer.Typer(help="Look at what clicks taught; train, promote it, take it back.")
    models.callback(invoke_without_command=True)(_listed)
    models.command("list", epilog="Example: trieflow models list --json")(show_all)
    models.command(epilog="Example: trieflow models show b81e77d4")(show)
    models.command(epilog="Example: trieflow models train")(train)
    models.command(epilog="Example: trieflow models promote b81e77d4 --canary --yes")(promote)
    models.command(epilog="Example: trieflow models rollback --yes")(rollback)
    app.add_typer(models, name="models", rich_help_panel="Operate")


def _listed(ctx: typer.Context) -> None:
    """Look at what clicks taught (without a command: `list`); train, promote it, take it back."""
    if ctx.invoked_subcommand is None:
        show_all(ctx)


def show_all(ctx: typer.Context, as_json: Json = False) -> None:
    """Show each adapter: who it serves, what the gates said, when it was trained."""
    from trieflow.adapters import list_adapters

    lines = list_adapters(cast(Session, ctx.obj).connected)
    if as_json:
        render.json_line(lines)
        return
    rows = (
        (
            line.version,
            line.state,
            None if line.share is None else f"{line.share:.0%}",
            line.verdict,
            line.trained_at.astimezone().isoformat(" ", "seconds"),
        )
        for line in lines
    )
    render.table(("version", "state", "sessions", "gates", "trained"), rows)
    if not lines:
        render.notes.print("no adapter was trained yet: `trieflow models train` asks for one")


def show(ctx: typer.Context, version: Version, as_json: Json = False) -> None:
    """Show what the gates measured of an adapter, and where its report is."""
    from trieflow.adapters import show_adapter

    line = show_adapter(cast(Session, ctx.obj).connected, version)
    if as_json:
        render.json_line(line)
        return
    render.output.print(f"adapter {line.version}: {line.state}; the gates: {line.verdict}")
    render.table(("figure", "value"), ((name, f"{value:.4g}") for name, value in line.figures.items()))
    if line.report is not None:
        render.output.print(f"report: {line.report}")


def train(
    ctx: typer.Context,
    wait: Annotated[bool, typer.Option(help="Wait until the adapter is trained and judged.")] = True,
    timeout: Annotated[
        float, typer.Option(help="Give up when nothing is heard of the training for so many seconds.")
    ] = 120.0,
    as_json: Json = False,
) -> None:
    """Train an adapter now, from all that the logs hold. What the gates accept is tried out by itself."""
    from trieflow.adapters import ask_training, follow_training, progress_line

    settings = cast(Session, ctx.obj).connected
    request = ask_training(settings)
    if not wait:
        render.json_line(request) if as_json else render.output.print(f"asked for: {request.run}")
        return
    with render.notes.status("waiting for a trainer") as status:
        last = follow_training(
            settings,
            request.run,
            on_progress=lambda event: status.update(progress_line(event)),
            timeout=timeout,
        )
    if as_json:
        render.json_line(last)
    else:
        render.output.print(f"{last.version or last.run}: {last.verdict or last.stage}. {last.message}")
    if last.stage == "failed":
        raise typer.Exit(1)


def promote(
    ctx: typer.Context,
    version: Version,
    canary: Annotated[
        bool, typer.Option("--canary", help="Try it in 5 % of the sessions first, as by itself.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also what the gates refused.")] = False,
    yes: Yes = False,
    timeout: Timeout = 60.0,
    as_json: Json = False,
) -> None:
    """Let an adapter serve all sessions at once, or begin its canary."""
    from trieflow.adapters import ask_rollout, plan_promotion

    settings = cast(Session, ctx.obj).connected
    plan = plan_promotion(settings, version, canary=canary, force=force)
    if yes:
        ask_rollout(settings, plan, timeout=timeout)
    what = f"adapter {version} {'is tried in 5 % of the sessions' if canary else 'serves all sessions'}"
    _end(as_json, {**plan.model_dump(mode="json"), "done": yes}, what, done=yes)


def rollback(ctx: typer.Context, yes: Yes = False, timeout: Timeout = 60.0, as_json: Json = False) -> None:
    """Give up the adapter that is tried; without one, the adapter that serves: what served before serves again."""
    from trieflow.adapters import ask_rollout, plan_roll_back

    settings = cast(Session, ctx.obj).connected
    plan, what = plan_roll_back(settings)
    if yes:
        ask_rollout(settings, plan, timeout=timeout)
    _end(as_json, {**plan.model_dump(mode="json"), "what": what, "done": yes}, what, done=yes)


def _end(as_json: bool, value: dict[str, object], what: str, *, done: bool) -> None:
    if as_json:
        render.json_line(value)
    elif done:
        render.output.print(what)
    else:
        render.output.print(f"would be so: {what}")
        render.notes.print("nothing was done: add --yes to do it")
