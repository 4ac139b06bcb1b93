"""`epochs list` and `epochs rollback`."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from trieflow import render
from trieflow.session import Session

Json = Annotated[bool, typer.Option("--json", help="One JSON value.")]
_REASONS = {
    "first": "enough documents for a first tree",
    "growth": "more documents by far than before",
    "churn": "as many documents came or went",
    "recall": "the sampled recall fell",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    epochs = typer.Typer(help="Look at the epochs of semantic ids, go back to the one before.")
    epochs.callback(invoke_without_command=True)(_listed)
    epochs.command("list", epilog="Example: trieflow epochs list --json")(show)
    epochs.command(epilog="Example: trieflow epochs rollback --yes")(rollback)
    app.add_typer(epochs, name="epochs", rich_help_panel="Operate")


def _listed(ctx: typer.Context) -> None:
    """Look at the epochs of semantic ids (without a command: `list`), go back to the one before."""
    if ctx.invoked_subcommand is None:
        show(ctx)


def show(ctx: typer.Context, as_json: Json = False) -> None:
    """Show each epoch: whether it is building, active, previous or retired; its tree, when and why it was fitted.

    Retired epochs are shown for as long as Kafka has their records.
    """
    from trieflow.epochs import list_epochs

    lines = list_epochs(cast(Session, ctx.obj).connected)
    if as_json:
        render.json_line(lines)
        return
    columns = ("epoch", "state", "leaves", "documents", "fitted", "why")
    rows = (
        (
            line.epoch,
            line.state,
            line.leaves,
            line.documents,
            line.fitted_at and line.fitted_at.astimezone().isoformat(" ", "seconds"),
            line.reason and _REASONS[line.reason],
        )
        for line in lines
    )
    render.table(columns, rows)


def rollback(
    ctx: typer.Context,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it; else only what would be done is said.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Give up waiting for the curator after so many seconds.")
    ] = 60.0,
    as_json: Json = False,
) -> None:
    """Serve the epoch before the active one again: at once, since every document has kept its id in it.

    The tree that is given up is deleted. The next one is fitted when as many documents came or went as there are.
    """
    from trieflow.epochs import plan_roll_back, roll_back

    settings = cast(Session, ctx.obj).connected
    plan = plan_roll_back(settings)
    if yes:
        roll_back(settings, plan, timeout=timeout)
    if as_json:
        render.json_line({**plan.model_dump(), "done": yes})
    elif yes:
        render.output.print(f"epoch {plan.to_epoch} is active again, epoch {plan.from_epoch} is given up")
    else:
        render.output.print(f"would give up epoch {plan.from_epoch} and go back to epoch {plan.to_epoch}")
        render.notes.print("nothing was done: add --yes to do it")
