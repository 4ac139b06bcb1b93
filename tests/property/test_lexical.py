"""The lexical index against a dictionary of words."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from state.lexical import LexicalChange, LexicalDocument, LexicalIndex, LexicalRemoval
from state.tokenising import query_terms

KEYS = [f"d{i}" for i in range(8)]
WORDS = ("red", "boots", "running", "run", "café", "東京都", "京都", "Hunde", "Hund", "кошки", "ABC-12")
keys = st.sampled_from(KEYS)
texts = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)
documents = st.builds(
    LexicalDocument,
    document_id=keys,
    slot=st.just(0),
    title=st.one_of(st.none(), texts),
    text=st.one_of(st.none(), texts),
    tags=st.lists(texts, max_size=2),
    language=st.sampled_from([None, "en", "de", "ja", "ru"]),
)
steps = st.lists(
    st.tuples(
        st.lists(st.one_of(documents, documents, st.builds(LexicalRemoval, keys)), max_size=6), st.booleans()
    ),
    min_size=1,
    max_size=6,
)


def _in_own_slot(change: LexicalChange) -> LexicalChange:
    if isinstance(change, LexicalRemoval):
        return change
    slot = KEYS.index(change.document_id)
    return LexicalDocument(change.document_id, slot, change.title, change.text, change.tags, change.language)


@settings(max_examples=40, deadline=None)
@given(
    steps=steps,
    query=texts,
    language=st.sampled_from([None, "en", "de", "ja"]),
    allowed=st.one_of(st.none(), st.sets(st.integers(0, 9))),
    k=st.integers(1, 10),
)
def test_those_documents_are_found_that_share_a_term_and_never_as_they_were(
    steps: list[tuple[list[LexicalChange], bool]],
    query: str,
    language: str | None,
    allowed: set[int] | None,
    k: int,
) -> None:
    wanted = set(query_terms(query, language=language).weights)
    with tempfile.TemporaryDirectory() as folder:
        index = LexicalIndex(Path(folder), commit_every_s=0.0)
        try:
            twin: dict[str, LexicalDocument] = {}
            for number, (raw, flushed) in enumerate(steps):
                changes = [_in_own_slot(change) for change in raw]
                index.apply(changes, positions={0: number})
                for change in changes:
                    twin.pop(change.document_id, None)
                    if isinstance(change, LexicalDocument):
                        twin[change.document_id] = change
                if flushed:
                    assert index.flush(timeout_s=60)
                matching = {
                    document.slot
                    for document in twin.values()
                    if wanted & set(document.terms()) and (allowed is None or document.slot in allowed)
                }
                bitmap = None if allowed is None else BitMap(allowed)
                slots, scores = index.search(query, k, language=language, allowed=bitmap)
                found = slots.tolist()
                assert set(found) <= matching
                assert len(set(found)) == len(found) <= k
                assert scores.tolist() == sorted(scores.tolist(), reverse=True)
                if flushed:
                    assert len(found) == min(k, len(matching))
                    assert len(index) == len(twin)
        finally:
            index.close()
