from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyroaring import BitMap

from state import lexical, lexical_store
from state.lexical import LexicalDocument, LexicalIndex, LexicalRemoval
from streams.errors import StateError

NEVER = 3600.0

TITLES = {
    "ar": ("القطط الصغيرة تلعب في الحديقة", "قطط"),
    "de": ("Zwei kleine Hunde laufen über den Strand", "Hund"),
    "en": ("Children were riding their old bicycles home", "bicycle"),
    "es": ("Mi abuela cocina sopas de pescado", "sopa"),
    "fr": ("Les oiseaux chantent dans les arbres verts", "oiseau"),
    "it": ("Il nonno racconta vecchie storie ai bambini", "storia"),
    "ja": ("夏の夜に浜辺で花火を見る", "花火"),
    "ko": ("할머니가 부엌에서 김치를 만든다", "김치"),
    "nl": ("De boer melkt zijn koeien in de schuur", "schuur"),
    "pl": ("Stary rybak naprawia sieci w porcie", "rybak"),
    "pt": ("As crianças jogam futebol na praça", "praça"),
    "ru": ("Мальчик читает книгу про космические корабли", "книга"),
    "th": ("เด็กชายขี่ช้างไปตลาด", "ช้าง"),
    "tr": ("Balıkçılar sabah erkenden teknelerine bindiler", "tekneler"),
    "zh": ("两只熊猫在森林里吃竹子", "竹子"),
    "zh-TW": ("老師在學校教學生唱歌", "學生"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lexical"


@pytest.fixture
def index(folder: Path) -> Iterator[LexicalIndex]:
    opened = LexicalIndex(folder)
    yield opened
    opened.close()


def put(index: LexicalIndex, *documents: LexicalDocument, offset: int = 1) -> None:
    index.apply(documents, positions={0: offset})


def found(index: LexicalIndex, text: str, k: int = 10, **options) -> list[int]:
    slots, scores = index.search(text, k, **options)
    assert slots.dtype == np.int64
    assert scores.dtype == np.float32
    assert (np.diff(scores) <= 0).all()
    assert (scores > 0).all()
    return slots.tolist()


@pytest.mark.parametrize("named", [True, False], ids=["language named", "language detected"])
def test_a_word_finds_its_document_in_each_of_sixteen_languages(index, named):
    documents = [
        LexicalDocument(language, slot, title=title, language=language if named else None)
        for slot, (language, (title, _)) in enumerate(TITLES.items())
    ]
    put(index, *documents)
    assert index.flush(timeout_s=30)
    for slot, (language, (_, word)) in enumerate(TITLES.items()):
        assert found(index, word)[:1] == [slot], language
        assert found(index, word, language=language)[:1] == [slot], language


def test_a_name_is_found_from_every_language(index):
    put(index, LexicalDocument("a", 0, title="Besuch bei Angela Jones in Łódź", language="de"))
    assert index.flush(timeout_s=30)
    for language in TITLES:
        assert found(index, "Jones", language=language) == [0]
        assert found(index, "Lodz", language=language) == [0]


def test_title_text_and_tags_are_searched_and_the_title_counts_more(index):
    filler = "about something else entirely"
    put(
        index,
        LexicalDocument("text", 1, title=filler, text="a lantern"),
        LexicalDocument("title", 2, title="a lantern", text=filler),
        LexicalDocument("tag", 3, title=filler, tags=["lantern"]),
    )
    assert index.flush(timeout_s=30)
    assert sorted(found(index, "lantern")) == [1, 2, 3]
    assert found(index, "lantern")[0] == 2


def test_a_deleted_document_is_gone_from_the_next_answer(folder):
    index = LexicalIndex(folder)
    put(index, LexicalDocument("a", 0, title="red boots"), LexicalDocument("b", 1, title="red hats"))
    assert index.flush(timeout_s=30)
    index._commit_every_s = NEVER
    index.apply([LexicalRemoval("a")], positions={0: 2})
    assert found(index, "red") == [1]
    index.close()


def test_a_changed_document_is_not_found_as_it_was(folder):
    index = LexicalIndex(folder)
    put(index, LexicalDocument("a", 0, title="red boots"))
    assert index.flush(timeout_s=30)
    index._commit_every_s = NEVER
    put(index, LexicalDocument("a", 0, title="blue hats"))
    assert found(index, "boots") == []
    index._commit_every_s = 0.0
    put(index, LexicalDocument("b", 1, title="green gloves"))
    assert index.flush(timeout_s=30)
    assert found(index, "boots") == []
    assert found(index, "hats") == [0]
    index.close()


def test_a_slot_that_another_document_took_over_means_that_one(index):
    put(index, LexicalDocument("a", 0, title="red boots"))
    assert index.flush(timeout_s=30)
    index.apply([LexicalRemoval("a"), LexicalDocument("b", 0, title="blue hats")], positions={0: 3})
    assert found(index, "boots") == []
    assert index.flush(timeout_s=30)
    assert found(index, "boots") == []
    assert found(index, "hats") == [0]


@pytest.mark.parametrize("alone", [0, 10**9], ids=["these alone", "widening"])
def test_only_allowed_documents_are_found(index, monkeypatch, alone):
    monkeypatch.setattr(lexical, "_ALONE", alone)
    put(index, *(LexicalDocument(f"d{i}", i, title="a red boot " * (1 + i % 3)) for i in range(200)))
    assert index.flush(timeout_s=30)
    allowed = BitMap([3, 50, 199, 1_000_000])
    assert sorted(found(index, "boots", allowed=allowed)) == [3, 50, 199]
    assert len(found(index, "boots", 2, allowed=allowed)) == 2
    assert found(index, "boots", allowed=BitMap()) == []
    everything = found(index, "boots", 20)
    assert found(index, "boots", 20, allowed=BitMap(range(200))) == everything


def test_as_many_as_asked_for_are_found_beside_many_changes(index):
    put(index, *(LexicalDocument(f"d{i}", i, title="a red boot") for i in range(300)))
    assert index.flush(timeout_s=30)
    index._commit_every_s = NEVER
    index.apply([LexicalRemoval(f"d{i}") for i in range(250)], positions={0: 2})
    assert len(found(index, "boot", 50)) == 50
    assert set(found(index, "boot", 100)) == set(range(250, 300))
    index._commit_every_s = 0.0


def test_scores_are_shares_that_compare_between_queries(index):
    put(
        index,
        LexicalDocument("both", 0, title="red boots"),
        LexicalDocument("one", 1, title="red hats"),
        *(LexicalDocument(f"other{i}", i, title=f"something about number{i}") for i in range(2, 200)),
    )
    assert index.flush(timeout_s=30)
    whole = index.search("red boots", 1, language="en")[1][0]
    half = index.search("boots xylophone", 1, language="en")[1][0]
    longer = index.search("red boots red boots", 1, language="en")[1][0]
    assert 0.3 < whole < 1.0
    assert half < whole
    assert longer == pytest.approx(whole, rel=1e-3)


def test_an_index_opened_again_says_from_where_to_read_the_log(folder):
    index = LexicalIndex(folder)
    assert index.positions == {}
    index.apply([LexicalDocument("a", 7, title="red boots")], positions={0: 5, 3: 12})
    assert index.flush(timeout_s=30)
    index.apply([LexicalRemoval("unknown")], positions={0: 6})
    assert index.flush(timeout_s=30)
    assert index.positions == {0: 6, 3: 12}
    index.close()
    again = LexicalIndex(folder)
    assert again.positions == {0: 6, 3: 12}
    assert found(again, "boots") == [], "no slot is known yet"
    again.attach([("a", 4), ("other", 5)])
    assert found(again, "boots") == [4]
    again.close()


def test_positions_without_changes_are_kept_too(folder):
    index = LexicalIndex(folder)
    index.apply([], positions={0: 5})
    deadline = time.monotonic() + 30
    while index.positions != {0: 5} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert index.positions == {0: 5}
    index.close()


def test_what_is_not_attached_is_never_found(folder):
    index = LexicalIndex(folder)
    put(index, LexicalDocument("a", 0, title="red boots"), LexicalDocument("b", 1, title="red hats"))
    assert index.flush(timeout_s=30)
    index.close()
    again = LexicalIndex(folder)
    again.attach([("b", 0)])
    assert found(again, "red") == [0]
    assert found(again, "red", allowed=BitMap([0])) == [0]
    again.close()


def test_an_index_with_other_terms_is_made_anew(folder, monkeypatch):
    index = LexicalIndex(folder)
    put(index, LexicalDocument("a", 0, title="red boots"))
    assert index.flush(timeout_s=30)
    index.close()
    monkeypatch.setattr(lexical_store, "ANALYSIS", lexical_store.ANALYSIS + 1)
    again = LexicalIndex(folder)
    again.attach([("a", 0)])
    assert again.positions == {}
    assert found(again, "boots") == []
    again.close()


def test_a_damaged_index_is_made_anew(folder):
    index = LexicalIndex(folder)
    put(index, LexicalDocument("a", 0, title="red boots"))
    assert index.flush(timeout_s=30)
    index.close()
    (folder / "meta.json").write_text(json.dumps({"segments": "none"}))
    again = LexicalIndex(folder)
    assert again.positions == {}
    put(again, LexicalDocument("a", 0, title="red boots"))
    assert again.flush(timeout_s=30)
    assert found(again, "boots") == [0]
    again.close()


def test_a_second_process_is_refused(index, folder):
    with pytest.raises(StateError, match="another process"):
        LexicalIndex(folder)


def test_what_cannot_be_written_is_told_and_does_not_hang(folder, monkeypatch):
    index = LexicalIndex(folder)
    put(index, LexicalDocument("a", 0, title="red boots"))
    assert index.flush(timeout_s=30)

    def full(self, positions):
        raise OSError("no space left")

    monkeypatch.setattr(lexical_store.LexicalStore, "commit", full)
    put(index, LexicalDocument("b", 1, title="red hats"))
    assert not index.flush(timeout_s=30)
    assert isinstance(index.failure, OSError)
    with pytest.raises(StateError, match="no space left"):
        put(index, LexicalDocument("c", 2, title="red gloves"))
    assert found(index, "red") == [0]
    index.close()


def test_text_that_waits_is_limited(folder, monkeypatch):
    monkeypatch.setattr(lexical, "_WAITING_BYTES", 50_000)
    index = LexicalIndex(folder)
    text = "many red boots " * 1_000
    for i in range(40):
        put(index, LexicalDocument(f"d{i}", i, text=text))
        assert index._waiting_bytes < 50_000 + len(text) + 1_000
    assert index.flush(timeout_s=60)
    assert len(found(index, "boots", 100)) == 40
    index.close()


def test_a_word_that_very_many_documents_have_counts_only_where_there_is_no_other(index, monkeypatch):
    monkeypatch.setattr(lexical_store, "_COMMON_DOCUMENTS", 10)
    documents = [
        LexicalDocument(f"d{n}", n, title="the lamp" if n == 7 else "the thing", language="en")
        for n in range(40)
    ]
    put(index, *documents)
    assert index.flush(timeout_s=30)
    slots, scores = index.search("the lamp", 50, language="en")
    assert slots.tolist() == [7]
    assert index.search("lamp", 50, language="en")[1] == scores
    assert len(index.search("the", 50, language="en")[0]) == 40
    assert len(index.search("the thing", 50, language="en")[0]) == 40
    allowed = BitMap([7, 8])
    assert index.search("the lamp", 50, language="en", allowed=allowed)[0].tolist()[0] == 7


def test_a_query_of_thousands_of_words_is_answered_by_its_rarest(index):
    common = [f"common{i}" for i in range(100)]
    put(
        index,
        *(LexicalDocument(f"d{i}", i, text=" ".join(common)) for i in range(20)),
        LexicalDocument("rare", 20, title="xylophone"),
    )
    assert index.flush(timeout_s=30)
    assert found(index, " ".join([*common, "xylophone"]))[0] == 20


@pytest.mark.parametrize(
    "text", ["", "   ", "?!", "a AND (b OR", '"unclosed', "title:x", "\x00", "\ud800", "🐱"]
)
def test_any_text_is_a_query(index, text):
    put(index, LexicalDocument("a", 0, title="b x"))
    assert index.flush(timeout_s=30)
    index.search(text, 10)


def test_nothing_is_asked_for_and_nothing_given(index):
    put(index, LexicalDocument("a", 0, title="red boots"), LexicalDocument("b", 1))
    assert index.flush(timeout_s=30)
    assert found(index, "boots", 0) == []
    assert len(index) == 2
    assert index.behind == 0
