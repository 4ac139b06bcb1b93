"""A contact sheet of answers as one HTML file: no script, no network, pictures inside, light and dark.

Everything that came from outside is escaped; pictures are made again from their pixels, so that nothing but an
image can be inside.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

_SIDE = 96
_STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --ink: #22211f; --faint: #77736c; --card: #fff;
  --line: #e4e0d8; --good: #2d8a4e; }
@media (prefers-color-scheme: dark) { :root { --paper: #191a1c; --ink: #ecebe7; --faint: #9b978f; --card: #232527;
  --line: #35383b; --good: #5cc282; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 2rem 1.25rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Noto Sans", "Noto Sans CJK SC", "Noto Sans Arabic", sans-serif; }
h1 { margin: 0; font-size: 1.6rem; } header p, footer { color: var(--faint); margin: .3rem 0 0; }
section { margin-top: 2rem; } .ask { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: baseline; }
h2 { margin: 0; font-size: 1.15rem; } .about, .verdict, figcaption { color: var(--faint); font-size: .82rem; }
.verdict.met { color: var(--good); }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.6rem, 1fr)); gap: .6rem;
  margin-top: .6rem; }
figure { margin: 0; padding: .5rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  text-align: center; overflow-wrap: anywhere; }
figure.wanted { border: 2px solid var(--good); } figure.asked { border-style: dashed; }
img { width: 100%; max-width: 6rem; aspect-ratio: 1; object-fit: contain; background: #fff; border-radius: .35rem; }
figcaption b { display: block; color: var(--ink); font-weight: 500; } figcaption { line-height: 1.3; }
code { font-size: .72rem; } footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .8rem; }
"""


@dataclass(frozen=True)
class Cell:
    """One hit: its picture, what it shows, its score and semantic id. `wanted`: it was expected."""

    picture: bytes | None
    caption: str
    score: float
    semantic_id: str | None
    wanted: bool


@dataclass(frozen=True)
class Row:
    """One answer. `words`: what was asked; `drawing`: the picture that was asked with; `met`: as expected."""

    words: str
    about: str
    verdict: str
    met: bool
    drawing: bytes | None
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Sheet:
    """A title, a line below it, the answers, and who is to be credited."""

    title: str
    subtitle: str
    rows: Sequence[Row]
    credit: str


def write_html(sheet: Sheet, path: Path) -> None:
    """Write the sheet as one file, whole or not at all. Raises OSError."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(to_html(sheet), encoding="utf-8")
    os.replace(new, path)


def to_html(sheet: Sheet) -> str:
    """The page. Pictures that cannot be read are left out."""
    rows = "\n".join(map(_row, sheet.rows))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(sheet.title)}</title><style>{_STYLE}</style></head>\n<body>"
        f"<header><h1>{escape(sheet.title)}</h1><p>{escape(sheet.subtitle)}</p></header>\n"
        f"{rows}\n<footer>{escape(sheet.credit)}</footer></body></html>\n"
    )


def _row(row: Row) -> str:
    asked = ""
    if row.drawing is not None:
        asked = f'<figure class="asked">{_image(row.drawing, "")}<figcaption>asked with</figcaption></figure>'
    words = f'<h2 dir="auto">{escape(row.words)}</h2>' if row.words else ""
    return (
        f'<section><div class="ask">{words}<span class="about">{escape(row.about)}</span>'
        f'<span class="verdict{" met" if row.met else ""}">{escape(row.verdict)}</span></div>'
        f'<div class="row">{asked}{"".join(map(_cell, row.cells))}</div></section>'
    )


def _cell(cell: Cell) -> str:
    return (
        f"<figure{' class=wanted' if cell.wanted else ''}>{_image(cell.picture, cell.caption)}"
        f'<figcaption><b dir="auto">{escape(cell.caption)}</b>{cell.score:.2f}<br>'
        f"<code>{escape(cell.semantic_id or '')}</code></figcaption></figure>"
    )


def _image(picture: bytes | None, alternative: str) -> str:
    small = thumbnail(picture, _SIDE)
    if small is None:
        return ""
    packed = io.BytesIO()
    small.save(packed, "WEBP", quality=80)
    data = base64.b64encode(packed.getvalue()).decode()
    return f'<img alt="{escape(alternative)}" src="data:image/webp;base64,{data}">'


def thumbnail(picture: bytes | None, side: int) -> Image.Image | None:
    """The picture as RGB, at most `side` pixels wide and high; None when it cannot be read."""
    if picture is None:
        return None
    try:
        with Image.open(io.BytesIO(picture)) as opened:
            small = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small
