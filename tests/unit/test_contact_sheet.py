"""The contact sheet: whole, escaped, without network."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from trieflow.contact_picture import to_picture, write_png
from trieflow.contact_sheet import Cell, Row, Sheet, to_html, write_html

EVIL = """<script>alert("1")</script><img src=x onerror='x'>"""


def picture(colour: str, size: tuple[int, int] = (300, 200)) -> bytes:
    packed = io.BytesIO()
    Image.new("RGB", size, colour).save(packed, "PNG")
    return packed.getvalue()


def sheet(text: str = "boots", *, wanted: bool = True, hits: int = 2) -> Sheet:
    cells = [Cell(picture("red"), text, 1.5, "1.2.3.4", wanted) for _ in range(hits)]
    row = Row(text, text, "at 1", wanted, picture("blue"), cells)
    return Sheet(text, text, [row, row], text)


class Tags(HTMLParser):
    """All tags with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_what_comes_from_outside_is_escaped_everywhere():
    evil = Tags(to_html(sheet(EVIL))).found
    good = Tags(to_html(sheet())).found
    assert [tag for tag, _ in evil] == [tag for tag, _ in good]
    assert not any(name.startswith("on") for _, attributes in evil for name in attributes)


def test_nothing_is_fetched_from_anywhere():
    page = to_html(sheet())
    sources = [value or "" for _, found in Tags(page).found for name, value in found.items() if name == "src"]
    assert len(sources) == 6
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert not re.search(r"https?://|url\(|@import", page)


def test_the_pictures_inside_are_small_copies():
    source = next(found["src"] for tag, found in Tags(to_html(sheet())).found if tag == "img")
    inside = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
    assert inside.size == (96, 64)


@pytest.mark.parametrize("broken", [None, b"", b"not a picture", picture("red")[:50]])
def test_a_picture_that_cannot_be_read_is_left_out_and_the_rest_is_shown(broken):
    row = Row("boots", "", "at 1", True, None, [Cell(broken, "a boot", 1.0, None, False)])
    page = to_html(Sheet("", "", [row], ""))
    assert "a boot" in page
    assert "<img" not in page
    assert to_picture(Sheet("", "", [row], "")).size[0] > 0


def test_only_what_was_expected_is_framed():
    assert to_html(sheet(wanted=True)).count("<figure class=wanted>") == 4
    assert to_html(sheet(wanted=False)).count("<figure class=wanted>") == 0


def test_a_page_is_written_whole_over_an_older_one(tmp_path):
    page = tmp_path / "demo.html"
    write_html(sheet("first"), page)
    write_html(sheet("second"), page)
    assert page.read_text(encoding="utf-8") == to_html(sheet("second"))
    assert list(tmp_path.iterdir()) == [page]


def test_the_png_shows_each_hit_in_its_place_and_makes_its_folder(tmp_path):
    path = tmp_path / "pictures" / "demo.png"
    write_png(sheet(hits=2), path)
    drawn = Image.open(path).convert("RGB")
    middle_of_first_row = 84 + 40 + 44
    found = [drawn.getpixel((28 + column * 100 + 44, middle_of_first_row)) for column in range(4)]
    blue, red, also_red, paper = found
    assert blue[2] > 200 > blue[0]
    assert red == also_red
    assert red[0] > 200 > red[2]
    assert min(paper) > 240


def test_words_that_the_png_cannot_write_are_left_out_not_boxed():
    words = [Row(text, "", "", False, None, []) for text in ("сова", "")]
    cyrillic, nothing = (to_picture(Sheet("", "", [row], "")).tobytes() for row in words)
    assert cyrillic == nothing
    latin = to_picture(Sheet("", "", [Row("owl", "", "", False, None, [])], "")).tobytes()
    assert latin != nothing
