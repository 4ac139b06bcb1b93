"""`publish` and `delete`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer

from trieflow import render
from trieflow.session import Session

if TYPE_CHECKING:
    from trieflow.publish import Summary

Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
_RECEIPT_TIMEOUT_S = 60.0


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Use", epilog="Example: trieflow publish ~/Pictures more.jsonl --titles")(
        publish
    )
    app.command(rich_help_panel="Use", epilog="Example: trieflow delete shoes/red.png shoes/blue.png")(delete)


def publish(
    ctx: typer.Context,
    paths: Annotated[
        list[str], typer.Argument(help="Pictures, folders of pictures, .jsonl files, - for stdin.")
    ],
    titles: Annotated[
        bool, typer.Option("--titles", help="Take a picture's title from its file name.")
    ] = False,
    by_url: Annotated[
        bool,
        typer.Option("--by-url", help="Send file: URLs, no bytes (see the setting content.allowed_roots)."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the receipts.")] = True,
    timeout: Annotated[float, typer.Option(help="Give up after so many seconds without a receipt.")] = (
        _RECEIPT_TIMEOUT_S
    ),
    as_json: Json = False,
) -> None:
    """Publish documents, each as one event on the topic `documents`, and wait for their receipts.

    A picture's id is its path below the folder that was named. A JSON line is {"id": …, "title": …, …}.
    A picture too large for an event is sent smaller. Running it again is safe and takes up where a run was
    interrupted: what has not changed is answered `unchanged`.
    """
    from trieflow.publish import PictureStyle, Summary, count_of, items_of, publish_items

    session = cast(Session, ctx.obj)
    style = PictureStyle(titles, by_url, session.settings.content.inline_limit)
    summary = Summary()
    with session.client() as client, render.ProgressLine("publishing", count_of(paths)) as advance:
        try:
            publish_items(
                client,
                items_of(paths, style),
                wait=wait,
                timeout=timeout,
                on_progress=advance,
                summary=summary,
            )
        finally:
            _show(summary, as_json=as_json)
    if summary.failed:
        raise typer.Exit(1)


def delete(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(help="Document ids; - reads one a line from stdin.")],
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the receipts.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting several.")] = False,
    as_json: Json = False,
) -> None:
    """Delete documents: a null value for each on the topic `documents`."""
    from trieflow.publish import Summary

    session = cast(Session, ctx.obj)
    names = [
        name for each in ids for name in (sys.stdin.read().split("\n") if each == "-" else [each]) if name
    ]
    if dry_run:
        for name in names:
            render.output.print(f"would delete {name}")
        return
    if len(names) > 1 and not yes and not typer.confirm(f"Delete {len(names)} documents?", err=True):
        raise typer.Exit(1)
    summary = Summary()
    with session.client() as client:
        topic = client.settings.topic("documents")
        deletes = ((name, None) for name in names)
        if wait:
            client.publish_many(deletes, on_receipt=lambda receipt: summary.add_receipt(receipt, topic))
        else:
            client.publish_many(deletes, on_written=summary.add_written)
            summary.counts["written"] = len(names)
    _show(summary, as_json=as_json)
    if summary.failed:
        raise typer.Exit(1)


def _show(summary: Summary, *, as_json: bool) -> None:
    places = [
        {"topic": topic, "partition": partition, "records": count, "first_offset": first, "last_offset": last}
        for (topic, partition), (count, first, last) in sorted(summary.written.items())
    ]
    if as_json:
        render.json_line({"counts": summary.counts, "errors": summary.errors, "written": places})
        return
    for place in places:
        render.notes.print(
            f"{place['records']} written to {place['topic']} partition {place['partition']} "
            f"offset {place['first_offset']}"
            + (f" to {place['last_offset']}" if place["records"] != 1 else "")
        )
    for error in summary.errors:
        render.error(error)
    render.output.print(", ".join(f"{count:,} {status}" for status, count in summary.counts.most_common()))
