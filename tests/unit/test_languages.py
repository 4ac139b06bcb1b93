from __future__ import annotations

import pytest

from state.languages import language_of, likely_languages, stems

SENTENCES = {
    "ar": "القطط الصغيرة تلعب في الحديقة",
    "de": "Zwei kleine Hunde laufen über den Strand",
    "en": "Two small dogs are running along the beach",
    "es": "Dos perros pequeños corren por la playa",
    "fr": "Deux petits chiens courent sur la plage",
    "it": "Due piccoli cani corrono sulla spiaggia",
    "ja": "小さな犬が二匹浜辺を走っています",
    "ko": "작은 개 두 마리가 해변을 달리고 있다",
    "nl": "Twee kleine honden rennen over het strand",
    "pl": "Dwa małe psy biegają po plaży",
    "pt": "Dois cachorros pequenos correm pela praia",
    "ru": "Две маленькие собаки бегут по пляжу",
    "th": "สุนัขตัวเล็กสองตัววิ่งบนชายหาด",
    "tr": "İki küçük köpek sahilde koşuyor",
    "zh": "两只小狗在海滩上奔跑",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_the_language_of_a_sentence_is_detected(language):
    assert language_of(SENTENCES[language]) == language


def test_a_given_language_is_believed_without_its_region():
    assert language_of("Two small dogs", given="pt-BR") == "pt"
    assert language_of("Two small dogs", given="zh_TW") == "zh"
    assert language_of("Two small dogs", given="DE") == "de"


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_leaves_no_doubt_and_a_name_does(language):
    assert likely_languages(SENTENCES[language]) == [language]
    assert 1 < len(likely_languages("Angela Sopa")) <= 6
    assert likely_languages("Angela Sopa", given="it-CH") == ["it"]


def test_any_text_has_some_language():
    assert all(language_of(text) for text in ("", "?", "12345", "\x00", "🐱", "\ud800"))


def test_words_of_one_kind_share_a_stem():
    assert stems(["dogs", "dog", "dogged"], "en")[:2] == ["dog", "dog"]
    assert len(set(stems(["кошка", "кошки", "кошку"], "ru"))) == 1
    assert len(set(stems(["maison", "maisons"], "fr"))) == 1


def test_languages_without_a_stemmer_keep_their_words():
    assert stems(["psy", "pies"], "pl") == ["psy", "pies"]
    assert stems(["whatever"], "xx") == ["whatever"]
    assert stems([], "en") == []
