"""Names and tags of emoji in the 16 languages of the sentence encoder, and names that must not be split apart."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import emoji as emoji_package

LANGUAGES = (
    "en",
    "ar",
    "de",
    "es",
    "fr",
    "it",
    "ja",
    "ko",
    "nl",
    "pl",
    "pt",
    "ru",
    "th",
    "tr",
    "zh",
    "zh-hant",
)
_FROM_EMOJI_PACKAGE = ("ar", "tr")
_LEFT_OUT_GROUPS = {None, 2, 9}  # regional letters, skin tones and hair, flags
_VARIANT_WORDS = re.compile(
    r"\b(man|woman|men|women|person|people|boy|girl|male|female)\b|facing right|[’']s\b"
)
_NOT_LETTERS = re.compile(r"[\W\d_]+")

Part = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class EmojiName:
    """One emoji: its English label, names by language, and a string of English tags ("" for none)."""

    label: str
    names: dict[str, str]
    tags: str


def emoji_names(packages: Path) -> dict[str, EmojiName]:
    """By hexcode without variation selectors; no flags, skin tones or letters."""
    folder = packages / "emojibase-data" / "package"
    emoji_package.config.load_language(list(_FROM_EMOJI_PACKAGE))
    tables = {
        language: _table(folder, language) for language in LANGUAGES if language not in _FROM_EMOJI_PACKAGE
    }
    named: dict[str, EmojiName] = {}
    for code, entry in tables["en"].items():
        if entry.get("group") in _LEFT_OUT_GROUPS:
            continue
        names = {language: table[code]["label"] for language, table in tables.items() if code in table}
        names |= _packaged_names(entry["emoji"])
        named[code] = EmojiName(entry["label"], names, ", ".join(entry.get("tags", [])[:8]))
    return named


def short_code(hexcode: str) -> str:
    """The hexcode without variation selectors, which fonts and tables set differently."""
    return "-".join(point for point in hexcode.upper().split("-") if point != "FE0F")


def base_name(name: str) -> str:
    """What is left of a name without gender, direction, digits and plural: variants stay on one side of a split."""
    lowered = name.casefold()
    if "o’clock" in lowered or "-thirty" in lowered:
        return "clock"
    words = _NOT_LETTERS.sub(" ", _VARIANT_WORDS.sub(" ", lowered)).split()
    return " ".join(word.removesuffix("s") for word in words) or "person"


def part_of(name: str) -> Part:
    """20 % of the base names are for testing, 10 % for choosing, by their hash."""
    bucket = int.from_bytes(hashlib.sha256(base_name(name).encode()).digest()[:4]) % 10
    return "test" if bucket < 2 else "dev" if bucket == 2 else "train"


class _Entry(TypedDict):
    """What we read of an entry of emojibase; letters have no group, and few have no tags."""

    label: str
    hexcode: str
    emoji: str
    group: NotRequired[int]
    tags: NotRequired[list[str]]


def _table(folder: Path, language: str) -> dict[str, _Entry]:
    entries = json.loads((folder / language / "data.json").read_text())
    return {short_code(entry["hexcode"]): entry for entry in entries}


def _packaged_names(emoji: str) -> dict[str, str]:
    known = emoji_package.EMOJI_DATA
    entry = known.get(emoji) or known.get(emoji.replace("\ufe0f", "")) or {}
    return {
        language: entry[language].strip(":").replace("_", " ")
        for language in _FROM_EMOJI_PACKAGE
        if language in entry
    }
