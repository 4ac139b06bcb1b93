"""How commands speak: tables and colours in a terminal, plain lines elsewhere, JSON when asked."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

output = Console(highlight=False, markup=False, soft_wrap=True)
"""What a command found: standard output."""

notes = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
"""What a command says beside it: progress, addresses, errors."""

GOOD, BAD, DIM = "green", "red", "dim"

_PLAIN_INTERVAL_S = 10.0


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table; outside a terminal one line a row with tabs between, ready for `cut` and `awk`."""
    shown = [[_cell(value) for value in row] for row in rows]
    if not output.is_terminal:
        header = [Text(name) for name in columns]
        for line in [header, *shown]:
            output.file.write("\t".join(cell.plain for cell in line) + "\n")  # rich would expand the tabs
        return
    drawn = Table(*columns, title=title, title_justify="left", header_style="bold")
    for row in shown:
        drawn.add_row(*row)
    output.print(drawn, soft_wrap=False)


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    if value is None:
        return Text("-", DIM)
    if isinstance(value, bool):
        return Text("yes", GOOD) if value else Text("no", BAD)
    return Text(f"{value:,}" if isinstance(value, int) else str(value))


def json_line(value: Any) -> None:
    """Print one JSON document on a line of its own."""
    sys.stdout.write(orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode() + "\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_none=True)
    return str(value)


def quiet_libraries() -> None:
    """Keep the logs of libraries off the terminal, but for warnings; what matters is said by the command."""
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def error(message: str) -> None:
    """Say what went wrong, in the terminal in red."""
    notes.print(Text("error: ", BAD).append(message, ""))


class ProgressLine:
    """Count, rate and time left: a bar in a terminal, a line every ten seconds elsewhere. A context manager."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total = what, total
        self._count, self._started, self._told = 0, 0.0, 0.0
        self._bar: Progress | None = None

    def __enter__(self) -> Callable[[], None]:
        self._started = self._told = time.monotonic()
        if notes.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:.0f}/s"),
                TimeRemainingColumn(),
                console=notes,
            )
            self._bar.add_task(self._what, total=self._total, rate=0.0)
            self._bar.start()
        return self._advance

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._count:
            self._tell()

    def _advance(self) -> None:
        self._count += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._count, rate=self._rate(now))
        elif now - self._told >= _PLAIN_INTERVAL_S:
            self._told = now
            self._tell()

    def _rate(self, now: float) -> float:
        return self._count / max(now - self._started, 1e-3)

    def _tell(self) -> None:
        of = "" if self._total is None else f" of {self._total:,}"
        notes.print(f"{self._what}: {self._count:,}{of}, {self._rate(time.monotonic()):.0f}/s")
