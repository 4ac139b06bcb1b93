"""Sentences of the documentation that installed packages ship, each with its topic.

Three kinds of source, all found through the packages' own folders: the service models of `botocore`, the
discovery documents of `google-api-python-client`, and the docstrings of a fixed list of Python
packages. The same versions give the same sentences in the same order on every machine.
"""

from __future__ import annotations

import gzip
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

# Distributions the text comes from: their versions decide what the corpus is.
SOURCES = (
    "botocore",
    "google-api-python-client",
    "networkx",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "sympy",
    "torch",
    "transformers",
)
_PYTHON_PACKAGES = ("networkx", "numpy", "pandas", "sklearn", "scipy", "sympy", "torch", "transformers")

_MARKUP = re.compile(r"<[^>]+>")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_WORD = re.compile(r"[A-Za-z]{3,}")
_TRIPLE_QUOTED = re.compile(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'', re.DOTALL)
_LEAST_WORDS = 6
_MOST_CHARACTERS = 500


class Source(NamedTuple):
    """One topic: its name and a way to read its texts."""

    topic: str
    read: Callable[[], Iterator[str]]


def sources() -> list[Source]:
    """All topics of all packages, by name."""
    return [*_aws_services(), *_google_services(), *_python_modules()]


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text: no markup, single spaces, six words or more, at most 500 characters."""
    flat = " ".join(html.unescape(_MARKUP.sub(" ", text)).split())
    for sentence in _SENTENCE_END.split(flat):
        if len(sentence) <= _MOST_CHARACTERS and len(_WORD.findall(sentence)) >= _LEAST_WORDS:
            yield sentence


def distinct_sentences(found: Iterable[Source]) -> Iterator[tuple[str, str]]:
    """(topic, sentence); a sentence that was there before, in whatever case, is left out."""
    seen: set[str] = set()
    for source in found:
        for text in source.read():
            for sentence in sentences(text):
                key = sentence.casefold()
                if key not in seen:
                    seen.add(key)
                    yield source.topic, sentence


def _aws_services() -> Iterator[Source]:
    """One topic a service, from the newest version of its model."""
    for service in sorted((_folder("botocore") / "data").iterdir()):
        models = sorted(service.glob("*/service-2.json.gz"))
        if models:
            yield Source(f"aws/{service.name}", _reader(_aws_texts, models[-1]))


def _google_services() -> Iterator[Source]:
    """One topic an interface, all its versions together (they mostly repeat each other)."""
    documents = _folder("googleapiclient") / "discovery_cache" / "documents"
    by_name: dict[str, list[Path]] = {}
    for path in sorted(documents.glob("*.json")):
        by_name.setdefault(path.name.split(".")[0], []).append(path)
    for name, paths in by_name.items():
        yield Source(f"google/{name}", _reader(_google_texts, *paths))


def _python_modules() -> Iterator[Source]:
    """One topic a first-level subpackage; what lies at the top is the package's own topic."""
    for package in _PYTHON_PACKAGES:
        root = _folder(package)
        by_topic: dict[str, list[Path]] = {}
        for path in sorted(root.rglob("*.py")):
            inside = path.relative_to(root).parts
            if not any(part in ("test", "tests") for part in inside):
                by_topic.setdefault("/".join((package, *inside[:-1][:1])), []).append(path)
        for topic, paths in sorted(by_topic.items()):
            yield Source(f"python/{topic}", _reader(_python_texts, *paths))


def _reader(read: Callable[[Path], Iterator[str]], *paths: Path) -> Callable[[], Iterator[str]]:
    return lambda: (text for path in paths for text in read(path))


def _aws_texts(path: Path) -> Iterator[str]:
    return _values_of("documentation", json.loads(gzip.decompress(path.read_bytes())))


def _google_texts(path: Path) -> Iterator[str]:
    return _values_of("description", json.loads(path.read_bytes()))


def _values_of(key: str, tree: Any) -> Iterator[str]:
    """Every string under `key`, at any depth."""
    if isinstance(tree, dict):
        value = tree.get(key)
        if isinstance(value, str):
            yield value
        for branch in tree.values():
            yield from _values_of(key, branch)
    elif isinstance(tree, list):
        for branch in tree:
            yield from _values_of(key, branch)


def _python_texts(path: Path) -> Iterator[str]:
    """Paragraphs of a source file's triple-quoted strings, docstrings nearly all of them.

    Not by `ast`: which files it can parse depends on the Python that runs it.
    """
    for double, single in _TRIPLE_QUOTED.findall(path.read_text(encoding="utf-8", errors="replace")):
        yield from (double or single).split("\n\n")


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {package} is not installed", name=package)
    return Path(next(iter(spec.submodule_search_locations)))
