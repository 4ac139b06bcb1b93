"""The contact sheet as one PNG, for a README: drawn without a browser.

The font that Pillow brings knows Latin letters; a row whose words it cannot write shows what the row is about.
"""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from trieflow.contact_sheet import Cell, Row, Sheet, thumbnail

_SIDE, _GAP, _MARGIN, _HEADER, _FOOTER = 88, 12, 28, 84, 44
_ROW = 44 + _SIDE + 14
_COLUMNS = 11  # ten hits, and what was asked with
_COLOURS = 96
_PAPER, _INK, _FAINT, _LINE, _GOOD = "#fbfaf8", "#22211f", "#77736c", "#e4e0d8", "#2d8a4e"


def write_png(sheet: Sheet, path: Path) -> None:
    """Write the sheet as a picture, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    # Flat drawings lose nothing by a palette, and the file is a third as large.
    to_picture(sheet).quantize(_COLOURS, dither=Image.Dither.NONE).save(new, "PNG", optimize=True)
    os.replace(new, path)


def to_picture(sheet: Sheet) -> Image.Image:
    """Draw the sheet: a title, one row for each answer, the credit."""
    width = 2 * _MARGIN + _COLUMNS * (_SIDE + _GAP) - _GAP
    height = _HEADER + len(sheet.rows) * _ROW + _FOOTER
    picture = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, 20), sheet.title, fill=_INK, font=ImageFont.load_default(26))
    pen.text((_MARGIN, 54), sheet.subtitle, fill=_FAINT, font=ImageFont.load_default(14))
    for number, row in enumerate(sheet.rows):
        _draw_row(picture, pen, row, top=_HEADER + number * _ROW)
    pen.text((_MARGIN, height - 30), sheet.credit, fill=_FAINT, font=ImageFont.load_default(13))
    return picture


def _draw_row(picture: Image.Image, pen: ImageDraw.ImageDraw, row: Row, *, top: int) -> None:
    left = float(_MARGIN)
    for text, size, colour in (
        (row.words if _writable(row.words) else "", 17, _INK),
        (row.about, 13, _FAINT),
        (row.verdict, 13, _GOOD if row.met else _FAINT),
    ):
        if _writable(text) and text:
            font = ImageFont.load_default(size)
            pen.text((left, top + 30), text, fill=colour, font=font, anchor="ls")
            left += font.getlength(text) + 14
    column = 0
    if row.drawing is not None:
        _draw_cell(picture, pen, Cell(row.drawing, "", 0.0, None, False), place=(_MARGIN, top + 40))
        column = 1
    for cell in row.cells[: _COLUMNS - column]:
        _draw_cell(picture, pen, cell, place=(_MARGIN + column * (_SIDE + _GAP), top + 40))
        column += 1


def _draw_cell(picture: Image.Image, pen: ImageDraw.ImageDraw, cell: Cell, *, place: tuple[int, int]) -> None:
    left, top = place
    frame = (left - 2, top - 2, left + _SIDE + 1, top + _SIDE + 1)
    pen.rounded_rectangle(
        frame, 8, fill="white", outline=_GOOD if cell.wanted else _LINE, width=3 if cell.wanted else 1
    )
    small = thumbnail(cell.picture, _SIDE - 10)
    if small is not None:
        picture.paste(small, (left + (_SIDE - small.width) // 2, top + (_SIDE - small.height) // 2))


def _writable(text: str) -> bool:
    """Whether Pillow's own font has these letters; what it has not, it draws as one and the same box."""
    font = ImageFont.load_default(20)
    box = bytes(font.getmask("\uffff"))
    return all(bytes(font.getmask(letter)) != box for letter in text)
