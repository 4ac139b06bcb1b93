"""`replay dlq` and `replay answers`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, cast

import typer

from trieflow import render
from trieflow.session import Session

if TYPE_CHECKING:
    from trieflow.replay import Outcome
    from trieflow.replayed_answers import ReplayedAnswer

Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
DIFFERS, INCOMPLETE = 3, 4
"""Exit codes: the answer differs; it cannot be made again, or not wholly."""


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    again = typer.Typer(help="Put dead letters back; make old answers again.", no_args_is_help=True)
    again.callback()(_again)
    again.command("dlq", epilog="Example: trieflow replay dlq --code unreachable --dry-run")(replay_dlq)
    again.command("answers", epilog="Example: trieflow replay answers --query 6f9a… --json")(replay_answers)
    app.add_typer(again, name="replay", rich_help_panel="Operate")


def _again() -> None:
    """Put dead letters back; make old answers again."""


def replay_dlq(
    ctx: typer.Context,
    topic: Annotated[
        str, typer.Option(help="Whose dead letters: documents, moves or queries.")
    ] = "documents",
    code: Annotated[str | None, typer.Option(help="Only those with this error code.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many.", min=1)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be put back.")] = False,
    as_json: Json = False,
) -> None:
    """Put dead letters back on the topic that they came from: same key, same bytes, error headers stripped.

    Goes on where the last replay ended. A letter that failed five times is left where it is.
    """
    from trieflow.replay import replay_dead_letters

    outcomes: Counter[str] = Counter()

    def tell(outcome: Outcome) -> None:
        letter, kind = outcome.letter, _kind(outcome, dry_run=dry_run)
        outcomes[kind] += 1
        if as_json:
            where = None if outcome.written is None else vars(outcome.written)
            facts = {"offset": letter.record.offset, "code": letter.code, "attempts": letter.attempts}
            render.json_line({**facts, "outcome": kind, "written": where, "left": outcome.left})
            return
        there = f"to {outcome.written}" if outcome.written else outcome.left or f"for {letter.home}"
        render.output.print(f"{kind} offset {letter.record.offset} ({letter.code}: {letter.message}) {there}")

    session = cast(Session, ctx.obj)
    replay_dead_letters(
        session.connected, topic=topic, code=code, limit=limit, dry_run=dry_run, on_outcome=tell
    )
    render.notes.print(", ".join(f"{count} {kind}" for kind, count in outcomes.items()) or "no dead letters")


def _kind(outcome: Outcome, *, dry_run: bool) -> str:
    if outcome.left is not None:
        return "left"
    return "would replay" if dry_run else "replayed"


def replay_answers(
    ctx: typer.Context,
    query: Annotated[str, typer.Option(help="Query id, as `trieflow search` showed it.")],
    as_json: Json = False,
) -> None:
    """Make an old answer again from the log positions and the weights that it names, and compare hit by hit.

    The index is built in a temporary folder, which takes the memory and the time of a searcher that starts. Exit
    code 0 when hits, order and scores agree, 3 when they differ, 4 when it cannot be made again because something
    is not kept any more.
    """
    from trieflow.old_answers import GoneError
    from trieflow.replayed_answers import replay_answer

    render.quiet_libraries()
    try:
        replayed = replay_answer(cast(Session, ctx.obj).connected, query, progress=render.ProgressLine)
    except GoneError as error:
        if as_json:
            render.json_line({"query_id": query, "verdict": "incomplete", "reason": str(error)})
        else:
            render.error(str(error))
        raise typer.Exit(INCOMPLETE) from None
    if as_json:
        render.json_line(asdict(replayed))
    else:
        _show_replayed(replayed)
    if replayed.verdict != "agrees":
        raise typer.Exit(DIFFERS if replayed.verdict == "differs" else INCOMPLETE)


def _show_replayed(replayed: ReplayedAnswer) -> None:
    columns = ("then", "now", "document", "score then", "score now", "agrees")
    rows = (
        (
            hit.position_then,
            hit.position_now,
            hit.document_id,
            None if hit.score_then is None else f"{hit.score_then:.4f}",
            None if hit.score_now is None else f"{hit.score_now:.4f}",
            hit.reason or _AGREEMENTS[hit.agreement],
        )
        for hit in replayed.hits
    )
    render.table(columns, rows)
    for note in replayed.notes:
        render.notes.print(note)
    when = replayed.at.astimezone().isoformat(" ", "seconds")
    render.notes.print(f"query {replayed.query_id}, answered {when}: {_VERDICTS[replayed.verdict]}")


_AGREEMENTS = {
    "same": "yes",
    "close": "nearly, by words",
    "score": "another score",
    "position": "another position",
    "absent": "not found again",
    "new": "was not there",
}
_VERDICTS = {
    "agrees": "the same answer again",
    "differs": "another answer",
    "incomplete": "it cannot be made again wholly",
}
