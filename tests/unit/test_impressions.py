"""Impressions: who saw what, without names, and by one key for all searchers of a data folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from agents.answering import Answered
from agents.asked import QueryVector
from agents.found import Found, Relevance
from agents.impressions import Impressions
from agents.keyed_hashes import KEY_FILE, KeyedHashes
from agents.pseudonyms import Pseudonym
from streams.errors import TrieflowError
from streams.events.impressions import Impression
from streams.events.queries import Hit, Query, Result
from streams.settings import Settings

STAMP = "hash@1/64"


def seen_by(settings: Settings, user_id: str | None, **query: object) -> Impression:
    hits = [
        Hit(document_id=name, semantic_id="0.0.0.1", score=1.0, position=n)
        for n, name in enumerate("ab", start=1)
    ]
    result = Result(query_id="q", hits=hits, model_version=STAMP, epoch=3, codebook_offset=5, fresh_to=[])
    vector = np.array([3.0, 4.0], dtype=np.float32)
    vectors = [QueryVector("text", vector, None, 1.0), QueryVector("text", vector[::-1], None, -0.5)]
    asked = Query.model_validate({"text": "red boots", "user_id": user_id} | query)
    return Impressions(settings, stamp=STAMP).of(asked, result, answered(hits, vectors))


def answered(hits: list[Hit], vectors: list[QueryVector]) -> Answered:
    return Answered(Found(hits, "dense", 3, {}, vectors), [STAMP])


def person(settings: Settings, user_id: str, *, salt: str = "0" * 64) -> str:
    return KeyedHashes(settings).person(user_id, salt=salt)


def test_an_impression_is_made_without_its_user(tmp_path: Path) -> None:
    made = seen_by(Settings(data=tmp_path), "anna", session_id="s")
    assert (made.user, made.session_id) == (None, "s")
    assert b"anna" not in made.to_json()


def test_a_pseudonym_hides_user_and_session_by_the_salt(tmp_path: Path) -> None:
    hashes = KeyedHashes(Settings(data=tmp_path))
    shown = seen_by(Settings(data=tmp_path), "anna", session_id="session of anna")
    worn = [
        Pseudonym(hashes.person("anna", salt=salt), salt, hashes).put_on(shown)
        for salt in ("1" * 64, "1" * 64, "2" * 64)
    ]
    assert worn[0] == worn[1]
    assert worn[0].user != worn[2].user
    assert worn[0].session_id != worn[2].session_id
    assert not any(b"anna" in each.to_json() for each in worn)


def test_a_person_is_a_keyed_hash_and_the_same_one_in_every_searcher(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    with ThreadPoolExecutor(8) as threads:
        seen = set(threads.map(lambda _: person(settings, "anna"), range(32)))
    assert len(seen) == 1
    assert "anna" not in seen.copy().pop()
    assert person(settings, "bert") not in seen
    assert person(settings, "anna", salt="1" * 64) not in seen
    assert person(Settings(data=tmp_path / "elsewhere"), "anna") not in seen


def test_the_key_is_whole_private_and_leaves_nothing_unfinished(tmp_path: Path) -> None:
    person(Settings(data=tmp_path), "anna")
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
    assert len((tmp_path / KEY_FILE).read_bytes()) == 32
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o077 == 0


def test_a_key_of_the_settings_makes_no_file(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data": tmp_path, "privacy": {"user_hash_key": "one for all"}})
    assert person(settings, "anna")
    assert not list(tmp_path.iterdir())


def test_who_must_not_make_a_key_is_told_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(TrieflowError, match="user_hash_key"):
        KeyedHashes(Settings(data=tmp_path), make=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("allowed", "text"), [(True, "red boots"), (False, None)])
def test_words_of_a_query_are_kept_only_where_it_is_allowed(
    tmp_path: Path, allowed: bool, text: str | None
) -> None:
    settings = Settings.model_validate({"data": tmp_path, "privacy": {"log_query_text": allowed}})
    assert [part.text for part in seen_by(settings, None).parts] == [text]


def test_shown_documents_keep_their_places_and_the_vector_is_the_weighted_sum(tmp_path: Path) -> None:
    shown = seen_by(Settings(data=tmp_path), None)
    assert [(s.document_id, s.position, s.propensity) for s in shown.shown] == [("a", 1, 1.0), ("b", 2, 0.5)]
    assert shown.query_vector is not None
    np.testing.assert_allclose(shown.query_vector.array().astype(np.float32), [1.0, 2.5])


def test_the_query_vector_leaves_out_what_the_question_leaves_out(tmp_path: Path):
    asked = Query.model_validate({"parts": [{"text": "boots"}, {"text": "red", "role": "not"}]})
    vector = np.array([3.0, 4.0], dtype=np.float32)
    vectors = [QueryVector("text", vector, None, 1.0), QueryVector("text", vector[::-1], None, 1.0, "not")]
    result = Result(query_id="q", hits=[], epoch=3, codebook_offset=5, fresh_to=[])
    settings = Settings(data=tmp_path)
    shown = Impressions(settings, stamp=STAMP).of(asked, result, answered([], vectors))
    assert [part.role for part in shown.parts] == ["and", "not"]
    assert shown.query_vector is not None
    np.testing.assert_array_equal(shown.query_vector.array(), vector)


def test_what_hits_score_without_fine_ranking_is_told_but_not_of_two_rankings(tmp_path: Path):
    hits = [Hit(document_id=name, score=9.0, position=n) for n, name in enumerate("ab", start=1)]
    vectors = [QueryVector("text", np.ones(2, dtype=np.float32), None, 1.0)]
    relevances = {"a": Relevance(7.123456, 1.5), "b": Relevance(6.0, 0.0)}
    found = Found(hits, "dense", 3, {}, vectors, relevances=relevances)
    asked, result = (
        Query.model_validate({"text": "x"}),
        Result(query_id="q", hits=hits, epoch=3, codebook_offset=5, fresh_to=[]),
    )
    impressions = Impressions(Settings(data=tmp_path), stamp=STAMP)
    alone = impressions.of(asked, result, Answered(found, [STAMP]))
    assert [(hit.relevance, hit.lexical) for hit in alone.shown] == [(7.12346, 1.5), (6.0, None)]
    both = Answered(found, [STAMP], "interleaved", teams=["incumbent", "candidate"])
    assert [hit.relevance for hit in impressions.of(asked, result, both).shown] == [None, None]
