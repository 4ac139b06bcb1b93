"""`ids tree`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from trieflow import render
from trieflow.commands.searching import json_object
from trieflow.session import Session

if TYPE_CHECKING:
    from streams.events.queries import Branch, TypicalDocument


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    ids = typer.Typer(help="Look at the tree of semantic ids.", no_args_is_help=True)
    ids.command(epilog="Example: trieflow ids tree 3.17 --depth 2")(tree)
    app.add_typer(ids, name="ids", rich_help_panel="Use")


def tree(
    ctx: typer.Context,
    prefix: Annotated[
        str | None, typer.Argument(help="A branch, as 3 or 3.17 (default: the whole tree).")
    ] = None,
    depth: Annotated[int, typer.Option(min=1, max=3, help="How many levels below it.")] = 1,
    examples: Annotated[int, typer.Option(min=0, max=10, help="Typical documents of each branch.")] = 3,
    filter_: Annotated[
        str | None, typer.Option("--filter", help='Count these alone; JSON, as {"colour": "red"}.')
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Deadline in seconds.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show the branches of the tree: how many documents each has, and which are typical of it.

    A branch is a prefix of semantic ids; `trieflow search "boots category:3.17"` searches below one.
    """
    _check(prefix)
    with cast(Session, ctx.obj).client() as client:
        result = client.browse(
            prefix, depth=depth, examples=examples, filter=json_object(filter_), timeout=timeout
        )
    if as_json:
        render.json_line(result)
    elif result.error is not None:
        render.error(f"{result.error.code}: {result.error.message}")
    else:
        _show(result.branches or [], epoch=result.epoch)
    if result.error is not None:
        raise typer.Exit(1)


def _check(prefix: str | None) -> None:
    from streams.semantic_id import parse_prefix

    try:
        if prefix is not None and len(parse_prefix(prefix)) > 3:
            raise ValueError(f"{prefix} is a whole id: a branch has one to three numbers")
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="PREFIX") from None


def _show(branches: list[Branch], *, epoch: int | None) -> None:
    rows = [
        (branch.prefix, branch.documents, branch.children or None, "; ".join(map(_named, branch.examples)))
        for branch in branches
    ]
    render.table(("branch", "documents", "branches", "typical"), rows)
    render.notes.print(f"{len(branches)} branches of epoch {epoch}")


def _named(document: TypicalDocument) -> str:
    return f"{document.title} ({document.document_id})" if document.title else document.document_id
