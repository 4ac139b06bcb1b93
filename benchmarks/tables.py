"""Figures as tables: markdown for the reader, JSON for whoever computes with them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table; numbers as `figure` writes them, None as a dash."""
    lines = [list(header), ["---"] * len(header), *([figure(cell) for cell in row] for row in rows)]
    return "\n".join(
        f"| {' | '.join(line)} |".replace("| --- ", "|---").replace("--- |", "---|") for line in lines
    )


def figure(value: object) -> str:
    """A number with as many digits as are worth reading: three, thousands with commas."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= 100:
        return f"{round(value):,}"
    return f"{value:.3g}"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def keep(name: str, part: str, figures: Any, *, folder: Path = RESULTS) -> Path:
    """Write the figures of one part into `folder/name.json`; the other parts stay as they are."""
    path = folder / f"{name}.json"
    whole = json.loads(path.read_text()) if path.exists() else {}
    whole[part] = {"machine": machine(), "figures": figures}
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
    os.replace(unfinished, path)
    return path


def kept(name: str, part: str, *, folder: Path = RESULTS) -> Any:
    """The figures of one part of `folder/name.json`, None where there are none."""
    path = folder / f"{name}.json"
    whole = json.loads(path.read_text()) if path.exists() else {}
    return whole[part]["figures"] if part in whole else None
