"""The report of bad cases as one HTML file: no script, no network, light and dark.

All that came from outside is escaped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from trieflow.bad_cases import BadCaseReport, BadDocument, BadQuery

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --ink: #22211f; --faint: #77736c; --line: #e4e0d8; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #191a1c; --ink: #ecebe7; --faint: #9b978f; --line: #35383b; } }
body { margin: 0 auto; max-width: 70rem; padding: 2rem 1.25rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Noto Sans", "Noto Sans CJK SC", "Noto Sans Arabic", sans-serif; }
h1 { margin: 0; font-size: 1.6rem; } h2 { margin-top: 2rem; font-size: 1.15rem; } p, th { color: var(--faint); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top;
  padding: .35rem .6rem .35rem 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
"""


def write_page(report: BadCaseReport, path: Path) -> None:
    """Write it as one file, whole or not at all. Raises OSError."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(to_html(report), encoding="utf-8")
    os.replace(new, path)


def to_html(report: BadCaseReport) -> str:
    """The page."""
    counts = _table(("kind", "cases"), report.counts.items())
    queries = _table(("query", "cases", "kinds", "shown", "clicked instead"), map(_query, report.queries))
    documents = _table(("document", "title", "agreement"), map(_document, report.documents))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Bad cases</title><style>{_STYLE}</style></head>\n<body><h1>Bad cases</h1>"
        f"<p>{report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC</p>\n{counts}\n"
        f"<h2>Queries</h2>\n{queries}\n<h2>Text and pictures disagree</h2>\n{documents}\n</body></html>\n"
    )


def _query(query: BadQuery) -> Sequence[object]:
    return (
        query.text or query.query_id,
        query.cases,
        told(query.kinds),
        ", ".join(query.shown),
        instead(query),
    )


def _document(document: BadDocument) -> Sequence[object]:
    return document.document_id, document.title or "", f"{document.agreement:.2f}"


def told(counts: Mapping[str, int]) -> str:
    """Names with how often: `a 3, b`."""
    return ", ".join(f"{name} {count}" if count > 1 else str(name) for name, count in counts.items())


def instead(query: BadQuery) -> str:
    """What was clicked instead, and for which words."""
    words = f" ({'; '.join(query.rephrased)})" if query.rephrased else ""
    return told(query.clicked) + words


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f'<td dir="auto">{escape(str(value))}</td>' for value in row) + "</tr>\n"
        for row in rows
    )
    return f"<table><tr>{head}</tr>\n{body}</table>" if body else "<p>None.</p>"
