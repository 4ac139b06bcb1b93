"""`search` and `click`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, cast

import orjson
import typer

from trieflow import render
from trieflow.session import Session

if TYPE_CHECKING:
    from streams.events.queries import Result, SearchMode
    from trieflow.algebra import Asked
    from trieflow.questions import SearchOptions
    from trieflow.replies import RecordAddress

MODES = ("auto", "generative", "dense", "lexical")


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(
        rich_help_panel="Use",
        epilog='Example: trieflow search "(boots OR sandals) NOT leather" --image shoe.jpg --top-k 5',
    )(search)
    app.command(rich_help_panel="Use", epilog="Example: trieflow click 6f9a… shoes/red.png --action save")(
        click
    )


def search(
    ctx: typer.Context,
    text: Annotated[
        list[str] | None,
        typer.Argument(help="What to look for; takes AND, OR, NOT, ( ), like:ID, category:PREFIX."),
    ] = None,
    minus: Annotated[list[str] | None, typer.Option(help="A text to keep away from (weight -0.5).")] = None,
    image: Annotated[str | None, typer.Option(help="A picture to look like: path or URL.")] = None,
    like: Annotated[str | None, typer.Option(help="A document to look like, by its id.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="One number for each part, as 1,-0.5,2: of the text, --minus, --image, --like."),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", help="How many hits.")] = 10,
    mode: Annotated[str, typer.Option(help="|".join(MODES))] = "auto",
    filter_: Annotated[
        str | None, typer.Option("--filter", help='JSON, as {"colour": "red"} or {"year": {"gte": 2020}}.')
    ] = None,
    read_after: Annotated[
        list[str] | None,
        typer.Option(help="PARTITION:OFFSET of `assignments` that the answer must have seen (see receipts)."),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each score is made of.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Deadline in seconds.")] = None,
    session_id: Annotated[
        str | None,
        typer.Option("--session", help="Session of the person who asks; clicks are learned by it."),
    ] = None,
    user: Annotated[str | None, typer.Option(help="Who asks; kept as a keyed hash alone.")] = None,
    personal: Annotated[
        bool,
        typer.Option(
            "--personal/--no-personal", help="Whether what the user chose before has a part in the answer."
        ),
    ] = True,
    previous: Annotated[
        str | None, typer.Option(help="Query id, of the same session, that this query says in other words.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Ask with words, pictures and documents, and print the answer.

    The question is one event on the topic `queries`, the answer one on `results`; both addresses are shown.
    """
    session = cast(Session, ctx.obj)
    asked_for, away = _asked(text or []), list(minus or [])
    parts = asked_for["parts"]
    options: SearchOptions = {
        "image": image,
        "like": like,
        "weights": _weights(
            weights, parts=len(parts), minus=len(away), others=(image is not None) + (like is not None)
        ),
        "top_k": top_k,
        "mode": cast("SearchMode", _mode(mode)),
        "filter": _both(asked_for.get("filter"), json_object(filter_)),
        "read_after": _positions(read_after),
        "explain": explain or None,
        "session_id": session_id,
        "user_id": user,
        "personal": None if personal else False,
        "previous_query_id": previous,
        "timeout": timeout,
    }
    with session.client() as client:
        started = time.perf_counter()
        pending = client.search_async([*parts, *away], **options)
        result = pending.result()
        took_ms = (time.perf_counter() - started) * 1_000
        asked, answered = pending.address(), pending.reply_address()
    if as_json:
        render.json_line({**result.model_dump(mode="json", exclude_none=True), **_addresses(asked, answered)})
    else:
        _show(result, asked=asked, answered=answered, took_ms=took_ms, explain=explain)
    if result.error is not None:
        raise typer.Exit(1)


def click(
    ctx: typer.Context,
    query_id: Annotated[str, typer.Argument(help="As `trieflow search` showed it.")],
    document_id: Annotated[str, typer.Argument(help="The hit.")],
    action: Annotated[str, typer.Option(help="click|save|hide|convert|view")] = "click",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell what a person did with a hit (an event on the topic `feedback`)."""
    session = cast(Session, ctx.obj)
    with session.client() as client:
        address = client.click(query_id, document_id, action)
    if as_json:
        render.json_line(vars(address))
    else:
        render.output.print(f"{action} written to {address}")


def _show(
    result: Result, *, asked: RecordAddress, answered: RecordAddress, took_ms: float, explain: bool
) -> None:
    if result.error is not None:
        render.error(f"{result.error.code}: {result.error.message}")
    columns = ["", "document", "score", "semantic id", "title", *(["parts"] if explain else [])]
    rows = []
    for hit in result.hits or []:
        row: list[object] = [hit.position, hit.document_id, f"{hit.score:.4f}", hit.semantic_id, hit.title]
        if explain:
            row.append(" ".join(f"{name}={value:.4f}" for name, value in (hit.parts or {}).items()))
        rows.append(row)
    if result.error is None:
        render.table(columns, rows)
        stages = ", ".join(f"{name} {value:.1f}" for name, value in (result.took_ms or {}).items())
        render.notes.print(
            f"{len(rows)} hits, mode {result.mode}, epoch {result.epoch}, searcher ms: {stages}"
        )
    render.notes.print(f"query {result.query_id}: asked in {asked}, answered in {answered}, {took_ms:.0f} ms")


def _addresses(asked: RecordAddress, answered: RecordAddress) -> dict[str, Any]:
    return {"written": vars(asked), "read": vars(answered)}


def _asked(texts: list[str]) -> Asked:
    from streams.errors import DataError
    from trieflow.algebra import parse_all

    try:
        return parse_all(texts)
    except DataError as error:
        raise typer.BadParameter(error.message, param_hint="TEXT") from None


def _both(one: dict[str, Any] | None, other: dict[str, Any] | None) -> dict[str, Any] | None:
    from trieflow.algebra import all_of

    given = [each for each in (one, other) if each]
    return all_of(given) if given else other


def _weights(given: str | None, *, parts: int, minus: int, others: int) -> list[float] | None:
    """The weights that are given, else 1 for what is wanted and -0.5 for what is not."""
    if given is not None:
        try:
            return [float(number) for number in given.split(",")]
        except ValueError:
            raise typer.BadParameter(
                f"{given!r} is not a list of numbers as 1,-0.5", param_hint="--weights"
            ) from None
    return [1.0] * parts + [-0.5] * minus + [1.0] * others if minus else None


def _mode(mode: str) -> str:
    if mode not in MODES:
        raise typer.BadParameter(f"{mode!r} is none of {', '.join(MODES)}", param_hint="--mode")
    return mode


def json_object(text: str | None) -> dict[str, Any] | None:
    """The filter that was typed."""
    if text is None:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--filter") from None
    if not isinstance(value, dict):
        raise typer.BadParameter("must be a JSON object", param_hint="--filter")
    return value


def _positions(given: list[str] | None) -> list[Any] | None:
    from streams.events.base import LogPosition

    if not given:
        return None
    positions = []
    for each in given:
        partition, _, offset = each.partition(":")
        if not (partition.isdigit() and offset.isdigit()):
            raise typer.BadParameter(f"{each!r} is not PARTITION:OFFSET", param_hint="--read-after")
        positions.append(LogPosition(partition=int(partition), offset=int(offset)))
    return positions
