"""`report bad-cases`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from trieflow import render
from trieflow.session import Session

if TYPE_CHECKING:
    from trieflow.bad_cases import BadCaseReport


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    report = typer.Typer(help="Reports for those who run the system.", no_args_is_help=True)
    report.callback()(_report)
    report.command("bad-cases", epilog="Example: trieflow report bad-cases --days 7 --html bad-cases.html")(
        bad_cases
    )
    app.add_typer(report, name="report", rich_help_panel="Operate")


def _report() -> None:
    """Reports for those who run the system."""


def bad_cases(
    ctx: typer.Context,
    days: Annotated[float, typer.Option(help="Of so many days up to now.", min=0.0)] = 7.0,
    html: Annotated[Path | None, typer.Option(help="Also write it as one HTML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Count bad cases by kind; show the queries with most of them, what people clicked instead, and documents whose
    text and pictures disagree.

    Queries are named by their words where the setting `privacy.log_query_text` let them be kept, else by the newest
    query id, which `replay answers` takes.
    """
    from trieflow.bad_case_page import write_page
    from trieflow.bad_cases import read_report

    report = read_report(cast(Session, ctx.obj).connected, days=days, progress=render.ProgressLine)
    if html is not None:
        write_page(report, html)
        render.notes.print(f"written to {html}")
    if as_json:
        render.json_line(asdict(report))
    else:
        _show(report)


def _show(report: BadCaseReport) -> None:
    from trieflow.bad_case_page import instead, told

    render.table(("kind", "cases"), report.counts.items())
    if report.queries:
        render.table(
            ("query", "cases", "kinds", "shown", "clicked instead"),
            (
                (q.text or q.query_id, q.cases, told(q.kinds), ", ".join(q.shown), instead(q))
                for q in report.queries
            ),
        )
    if report.documents:
        render.table(
            ("document", "title", "agreement"),
            ((d.document_id, d.title, f"{d.agreement:.2f}") for d in report.documents),
        )
    render.notes.print(f"{sum(report.counts.values())} bad cases since {report.since:%Y-%m-%d %H:%M} UTC")
