"""The files of the lexical index: one folder of tantivy, and what is put into it and asked of it.

A commit is atomic and holds the log positions that it stands for. A folder of another analysis, or one that cannot
be read, is made anew: all of it is in the log. One thread writes; searches may run in any thread.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import orjson
import structlog
import tantivy
from numpy.typing import NDArray

from state.tokenising import ANALYSIS, QueryTerms
from streams.errors import StateError

log = structlog.get_logger()

MAX_TERMS = 48
"""Of a longer query the rarest terms are looked for."""
_WRITER_BYTES = 15_000_000  # the least that tantivy takes; more would only stay allocated
_COMMON, _COMMON_DOCUMENTS = 0.2, 20_000
"""A word that a fifth of so many documents has is looked for only where a query has no other: it tells little, and
costs more than all others together."""
_NOTE_KEY = 0
_K1 = 1.2  # of tantivy's BM25
_TERMS, _KEY, _NOTE = "terms", "key", "note"
_SPACES = "spaces"


class LexicalStore:
    """Documents as bags of terms under keys of 63 bits above 0."""

    def __init__(self, folder: Path) -> None:
        """Open the index in `folder`; made when missing.

        Raises StateError when another process has it open, or when the folder cannot be written.
        """
        self._schema = _schema()
        self._index = _opened(folder, self._schema)
        try:
            self._writer = self._index.writer(_WRITER_BYTES, 1)
        except ValueError as error:
            raise StateError(f"{folder} is open in another process, or cannot be written: {error}") from error
        # What a killed process wrote and did not commit: the next commit would give a file the same name.
        self._writer.garbage_collect_files()
        self.positions: Mapping[int, int] = _positions(_read_note(self._index, self._schema))
        """The next log offset by partition, as of the last commit."""

    def put(self, key: int, terms: Sequence[str]) -> None:
        """Hold these terms in place of what the key had. Seen after the next commit, as is `remove`."""
        self.remove(key)
        document = tantivy.Document()
        document.add_integer(_KEY, key)
        document.add_text(_TERMS, " ".join(terms))
        self._writer.add_document(document)

    def remove(self, key: int) -> None:
        self._writer.delete_documents_by_term(_KEY, key)

    def commit(self, positions: Mapping[int, int]) -> None:
        """Make all of it durable, together with these positions. Releases the interpreter while it waits."""
        self._writer.delete_documents_by_term(_KEY, _NOTE_KEY)
        document = tantivy.Document()
        document.add_integer(_KEY, _NOTE_KEY)
        document.add_bytes(_NOTE, orjson.dumps(_note(positions), option=orjson.OPT_NON_STR_KEYS))
        self._writer.add_document(document)
        self._writer.commit()
        self._index.reload()
        self.positions = dict(positions)

    def reader(self) -> LexicalReader:
        """What the last commit holds; it stays so."""
        return LexicalReader(self._index.searcher(), self._schema)

    def close(self) -> None:
        """Wait for merges and give the folder free. What was not committed is forgotten."""
        self._writer.rollback()
        self._writer.wait_merging_threads()


class LexicalReader:
    """One state of the index."""

    def __init__(self, searcher: tantivy.Searcher, schema: tantivy.Schema) -> None:
        self._searcher = searcher
        self._schema = schema

    def search(
        self, terms: QueryTerms, k: int, *, among: Sequence[int] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best by BM25: keys (n,) and scores (n,), best first. `among`: only these keys are looked at.

        A score is a share of what a document can come near to that has each word of the query very often.
        """
        if among is None:
            terms = self._telling(terms)
        query = self._query(terms.weights)
        if among is not None:
            chosen = tantivy.Query.const_score_query(
                tantivy.Query.term_set_query(self._schema, _KEY, among), 0.0
            )
            query = tantivy.Query.boolean_query([(tantivy.Occur.Must, chosen), (tantivy.Occur.Must, query)])
        hits = self._searcher.search(query, k, count=False).hits
        keys = self._searcher.fast_field_values(_KEY, [address for _, address in hits])
        scores = np.array([score for score, _ in hits], dtype=np.float32)
        return np.array(keys, dtype=np.int64), scores / np.float32(self._attainable(terms.words))

    def has_any(self, terms: Sequence[str]) -> bool:
        """Whether some document has one of these terms. One that is deleted counts until it is merged away."""
        return any(self._searcher.doc_freq(_TERMS, term) for term in terms)

    def __len__(self) -> int:
        """How many documents are held."""
        return max(0, self._searcher.num_docs - 1)

    def _telling(self, terms: QueryTerms) -> QueryTerms:
        """Without words that very many documents have, if any is left then."""
        most = max(_COMMON * self._searcher.num_docs, _COMMON_DOCUMENTS)
        common = {term for term in terms.weights if self._searcher.doc_freq(_TERMS, term) > most}
        kept = {term: weight for term, weight in terms.weights.items() if term not in common}
        if not common or not kept:
            return terms
        words = [[form for form in forms if form not in common] for forms in terms.words]
        return QueryTerms(kept, [forms for forms in words if forms])

    def _query(self, terms: Mapping[str, float]) -> tantivy.Query:
        kept = list(terms)
        if len(kept) > MAX_TERMS:
            kept.sort(key=lambda term: (self._searcher.doc_freq(_TERMS, term), term))
        return tantivy.Query.boolean_query(
            [(tantivy.Occur.Should, self._weighted(term, terms[term])) for term in kept[:MAX_TERMS]]
        )

    def _attainable(self, words: Sequence[Sequence[str]]) -> float:
        """The limit of BM25 for these words, each in its most common form."""
        documents = self._searcher.num_docs
        limit = 0.0
        for forms in words:
            having = max(self._searcher.doc_freq(_TERMS, form) for form in forms)
            # Deleted documents are counted in `having` until they are merged away.
            limit += math.log1p((max(documents - having, 0) + 0.5) / (having + 0.5))
        return limit * (_K1 + 1.0)

    def _weighted(self, term: str, weight: float) -> tantivy.Query:
        query = tantivy.Query.term_query(self._schema, _TERMS, term, "freq")
        return query if weight == 1.0 else tantivy.Query.boost_query(query, weight)


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(_TERMS, tokenizer_name=_SPACES, index_option="freq")
    # Signed: a delete by a term reads a Python integer as such.
    builder.add_integer_field(_KEY, indexed=True, fast=True)
    builder.add_bytes_field(_NOTE, stored=True)
    return builder.build()


def _opened(folder: Path, schema: tantivy.Schema) -> tantivy.Index:
    """The index that is there, or a new one where it cannot be used."""
    fault = _fault(folder, schema)
    if fault is not None:
        log.warning("lexical index made anew", folder=str(folder), reason=fault)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return _index(folder, schema)


def _index(folder: Path, schema: tantivy.Schema) -> tantivy.Index:
    index = tantivy.Index(schema, path=str(folder))
    spaces = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
    index.register_tokenizer(_SPACES, spaces)
    index.config_reader("manual")
    return index


def _fault(folder: Path, schema: tantivy.Schema) -> str | None:
    """Why the index in `folder` cannot be used; None where it can, or where there is none yet."""
    if not folder.exists() or not tantivy.Index.exists(str(folder)):
        return None
    try:
        index = _index(folder, schema)
        note = _read_note(index, schema)
    except (ValueError, OSError) as error:
        return str(error)
    if note is None:
        return None if index.searcher().num_docs == 0 else "no note of what it holds"
    return None if note["analysis"] == _analysis() else f"its terms are those of {note['analysis']}"


def _analysis() -> str:
    """What the terms depend on."""
    return f"{ANALYSIS}, tantivy {version('tantivy')}, py3langid {version('py3langid')}"


def _note(positions: Mapping[int, int]) -> dict[str, object]:
    return {"analysis": _analysis(), "positions": positions}


def _read_note(index: tantivy.Index, schema: tantivy.Schema) -> dict[str, object] | None:
    searcher = index.searcher()
    query = tantivy.Query.term_query(schema, _KEY, _NOTE_KEY)
    for _, address in searcher.search(query, 1).hits:
        note: dict[str, object] = orjson.loads(bytes(searcher.doc(address)[_NOTE][0]))
        return note
    return None


def _positions(note: Mapping[str, object] | None) -> dict[int, int]:
    found = note["positions"] if note else {}
    assert isinstance(found, dict)
    return {int(partition): int(offset) for partition, offset in found.items()}
