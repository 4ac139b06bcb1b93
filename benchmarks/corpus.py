"""The real vectors that recall is measured on: `python -m benchmarks.corpus --folder F`.

Sentences of documentation (`benchmarks/corpus_sentences.py`), each the mean of the vectors of its tokens in the
model of 256 numbers inside the `wordllama` package, at unit length. Topics are services and packages. Rows are in
a random order of seed 0, so that the first n rows are a sample of all. 1,000 sentences are held out as queries. No
network is needed: all is inside the packages of the extra `bench`, and the same versions give the same rows.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchmarks.corpus_sentences import SOURCES, distinct_sentences, sources
from benchmarks.train_lite.progress import tracked

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = Path(".trieflow/bench")
HELD_OUT = 1_000
NEIGHBOURS = 100
_RECIPE = 1
_BATCH = 4_096


@dataclass(frozen=True)
class Corpus:
    """Real vectors, held-out queries and their exact neighbours."""

    vectors: NDArray[np.float32]  # (n, 256), unit length, read from disk as needed
    topics: NDArray[np.int32]  # (n,), an index into `topic_names`
    topic_names: list[str]
    queries: NDArray[np.float32]  # (1,000, 256), unit length; none of them is a row of `vectors`
    neighbours: NDArray[np.int32]  # (1,000, 100), rows by falling inner product in float32


def load(folder: Path = FOLDER) -> Corpus:
    """The corpus of a folder; made first where it is missing or the packages have other versions.

    Raises SystemExit, which says what to do, when packages of the benchmarks are missing.
    """
    about = folder / "about.json"
    if not about.exists() or read_json(about)["made_from"] != _made_from():
        _make(folder)
    return Corpus(
        vectors=np.load(folder / "corpus256.f32.npy", mmap_mode="r"),
        topics=np.load(folder / "corpus_topics.npy"),
        topic_names=read_json(about)["topics"],
        queries=np.load(folder / "queries256.f32.npy"),
        neighbours=np.load(folder / "queries_top100.npy"),
    )


def sentences_of(folder: Path = FOLDER) -> list[str]:
    """The sentence of each row of `vectors`, in their order."""
    load(folder)
    return (folder / "corpus_sentences.txt").read_text(encoding="utf-8").splitlines()


def _made_from() -> dict[str, str]:
    try:
        return {"recipe": str(_RECIPE)} | {name: version(name) for name in (*SOURCES, "wordllama")}
    except PackageNotFoundError as missing:
        raise SystemExit(
            f"the corpus is made of packages, and {missing.name} is not installed: "
            ".venv/bin/uv pip install --require-hashes -r requirements/bench.txt"
        ) from None


def _make(folder: Path) -> None:
    made_from = _made_from()
    folder.mkdir(parents=True, exist_ok=True)
    topics, texts = _read_all()
    token_ids, table = _word_llama()
    vectors, kept = embed(texts, token_ids=token_ids, table=table)
    names, numbers = np.unique(np.asarray(topics, dtype=object)[kept].astype(str), return_inverse=True)
    order = np.random.default_rng(0).permutation(len(kept))
    held_out, rows = order[:HELD_OUT], order[HELD_OUT:]
    corpus, queries = vectors[rows], vectors[held_out]
    _save(folder / "corpus256.f32.npy", corpus)
    _save(folder / "corpus_topics.npy", numbers[rows].astype(np.int32))
    _save(folder / "queries256.f32.npy", queries)
    _save(folder / "queries_topics.npy", numbers[held_out].astype(np.int32))
    _save(folder / "queries_top100.npy", exact_neighbours(corpus, queries, count=NEIGHBOURS))
    _write(folder / "corpus_sentences.txt", "".join(f"{texts[kept[row]]}\n" for row in rows))
    _write(folder / "queries_sentences.txt", "".join(f"{texts[kept[row]]}\n" for row in held_out))
    about = {"made_from": made_from, "rows": len(rows), "queries": HELD_OUT, "topics": names.tolist()}
    write_json(folder / "about.json", about)  # last: it says that all is there


def _read_all() -> tuple[list[str], list[str]]:
    found = sources()
    bar = tracked(found, total=len(found), label="read documentation")
    pairs = list(distinct_sentences(bar))
    return [topic for topic, _ in pairs], [sentence for _, sentence in pairs]


def embed(
    texts: Sequence[str],
    *,
    token_ids: Callable[[Sequence[str]], list[Sequence[int]]],
    table: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The mean of the token vectors of each text, at unit length, and which texts these are.

    A text of the same tokens as one before, in any order, would have the same vector: it is left out, as is a text
    without a token.

    Args:
        token_ids: the token numbers of each of some texts.
        table: (tokens, dimension).
    """
    rows: list[NDArray[np.float32]] = []
    kept: list[int] = []
    seen: set[bytes] = set()
    batches = range(0, len(texts), _BATCH)
    for start in tracked(batches, total=len(batches), label="encode sentences  "):
        for place, ids in enumerate(token_ids(texts[start : start + _BATCH]), start):
            key = np.sort(np.asarray(ids, dtype=np.int32)).tobytes()
            if len(ids) and key not in seen:
                seen.add(key)
                kept.append(place)
                rows.append(table[ids].mean(axis=0))
    vectors = np.asarray(rows, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, np.asarray(kept, dtype=np.int64)


def exact_neighbours(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], *, count: int
) -> NDArray[np.int32]:
    """The `count` rows of the largest float32 inner product with each query, best first."""
    import faiss

    _, rows = faiss.knn(queries, vectors, count, metric=faiss.METRIC_INNER_PRODUCT)
    return np.asarray(rows, dtype=np.int32)


def _word_llama() -> tuple[Callable[[Sequence[str]], list[Sequence[int]]], NDArray[np.float32]]:
    """Tokenizer and token vectors, read from the files inside the `wordllama` package."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    spec = find_spec("wordllama")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = Path(next(iter(spec.submodule_search_locations)))
    tokenizer = Tokenizer.from_file(str(root / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    table = next(iter(load_file(root / "weights" / "l2_supercat_256.safetensors").values()))

    def token_ids(texts: Sequence[str]) -> list[Sequence[int]]:
        return [each.ids for each in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    return token_ids, table.astype(np.float32)


def _save(path: Path, rows: NDArray[np.generic]) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("wb") as file:
        np.save(file, rows)
    os.replace(unfinished, path)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))


def write_json(path: Path, values: dict[str, Any]) -> None:
    """A JSON object into a file, whole or not at all."""
    _write(path, json.dumps(values, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def _lines(corpus: Corpus) -> Iterator[str]:
    yield f"{len(corpus.vectors):,} rows of {corpus.vectors.shape[1]}, {len(corpus.topic_names)} topics"
    sizes = np.bincount(corpus.topics)
    yield f"rows a topic: median {int(np.median(sizes))}, largest {sizes.max():,}"
    first = (corpus.vectors[corpus.neighbours[:, 0]] * corpus.queries).sum(axis=1)
    yield f"{len(corpus.queries):,} queries; inner product with the nearest row: median {np.median(first):.3f}"


def main() -> None:
    """Make the corpus, or say what is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where it is kept (default %(default)s)")
    for line in _lines(load(parser.parse_args().folder)):
        print(line)


if __name__ == "__main__":
    main()
