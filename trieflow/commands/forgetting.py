"""`forget`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from trieflow import render
from trieflow.session import Session

if TYPE_CHECKING:
    from trieflow.forgetting import ForgetOutcome, ForgetPlan
    from trieflow.remaining import Remaining


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(rich_help_panel="Use", epilog="Example: trieflow forget --user anna --dry-run")(forget)


def forget(
    ctx: typer.Context,
    user: Annotated[str | None, typer.Option(help="A user id, as queries carry it.")] = None,
    document: Annotated[str | None, typer.Option(help="The id of a document.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be forgotten.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is done.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the workers' receipts.")] = True,
    timeout: Annotated[float, typer.Option(help="Give up waiting after so many seconds.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Forget a user or a document, and print a receipt: what is gone, what stays where, and until when.

    Of a user, the learner takes back clicks, lists and what they taught, and the salt is destroyed by which the
    user's hashes could be told. Of a document, picture, index entry and clicks go. Interrupted, run it again.
    """
    from trieflow.forgetting import forget, plan_document, plan_user

    if (user is None) == (document is None):
        raise typer.BadParameter("name one of them", param_hint="--user / --document")
    settings = cast(Session, ctx.obj).connected
    with render.ProgressLine("reading", None) as advance:
        if user is not None:
            plan = plan_user(settings, user, on_record=advance)
        else:
            plan = plan_document(settings, document or "", on_record=advance)
    if dry_run:
        _show_plan(plan, as_json=as_json)
        return
    if not yes and not typer.confirm(f"Forget {plan.what} {plan.name!r} for good?", err=True):
        raise typer.Exit(1)
    _show(forget(settings, plan, timeout=timeout, wait=wait), as_json=as_json)


def _show_plan(plan: ForgetPlan, *, as_json: bool) -> None:
    if as_json:
        render.json_line(plan)
    elif plan.what == "user" and not plan.people:
        render.output.print(f"nothing is known of user {plan.name!r}: there is no salt")
    elif plan.what == "user":
        render.output.print(f"would forget user {plan.name!r} and destroy {len(plan.salts)} salts")
    else:
        fate = (
            "no picture" if plan.picture is None else f"its picture is shown by {plan.picture.others} others"
        )
        render.output.print(f"would forget document {plan.name!r}: {fate}")
    render.notes.print("nothing was done")


def _show(outcome: ForgetOutcome, *, as_json: bool) -> None:
    if as_json:
        render.json_line(outcome)
        return
    for line in _lines(outcome):
        render.output.print(line)
    rows = [(left.topic, left.holds, _until(left)) for left in outcome.remaining]
    render.table(("topic", "still holds", "until"), rows)


def _lines(outcome: ForgetOutcome) -> list[str]:
    lines = [
        f"forgotten: {outcome.what} {outcome.name!r}, {outcome.at.astimezone().isoformat(' ', 'seconds')}"
    ]
    if outcome.request_id is None:
        return [f"nothing is known of user {outcome.name!r}: there is no salt"]
    if outcome.document is not None:
        lines.append(f"document: {outcome.document}")
    if outcome.picture is not None:
        lines.append(f"thumbnail: {outcome.picture}")
    if outcome.learner is None:
        lines.append(f"request {outcome.request_id} is written: the learner that runs next carries it out")
    else:
        took = outcome.learner
        lines.append(
            f"learner: {took.impressions:,} impressions, {took.clicks:,} clicks; "
            f"{took.changed:,} queries and words remembered without them, {took.removed:,} no more"
        )
    if outcome.what == "user":
        lines.append(f"salts destroyed: {outcome.salts_destroyed}")
    return lines


def _until(left: Remaining) -> str:
    if left.until is None:
        return "not by itself"
    until = left.until.astimezone().isoformat(" ", "minutes")
    return until + (", after the next record there" if left.needs_writes else "")
