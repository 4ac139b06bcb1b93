from __future__ import annotations

import pytest

from state.tokenising import OTHER_WEIGHT, SINGLE_WEIGHT, document_terms, query_terms


def test_a_word_gives_its_stem_and_itself_where_they_differ():
    assert sorted(document_terms("running dogs", language="en")) == ["dog", "dogs", "run", "running"]
    assert query_terms("running", language="en").weights == {"run": 1.0, "running": OTHER_WEIGHT}


def test_a_repeated_word_is_repeated_and_counts_twice_in_a_query():
    assert document_terms("dog dog", language="en") == ["dog", "dog"]
    assert query_terms("dog dog", language="en").weights == {"dog": 2.0}


@pytest.mark.parametrize(
    ("text", "language", "other"),
    [
        ("Café", "fr", "cafe"),
        ("straße", "de", "STRASSE"),
        ("İstanbul", "tr", "istanbul"),
        ("ışık", "tr", "IŞIK"),
        ("ёлка", "ru", "елка"),
        ("ΓΆΤΑ", "el", "γατα"),
        ("أحمر", "ar", "احمر"),
        ("مُحَمَّد", "ar", "محمد"),
        ("ＡＢＣ", "en", "abc"),
        ("ﾈｺ", "ja", "ネコ"),
        ("n\u0303andu\u0301", "es", "ñandú"),
        ("Łódź", "pl", "lodz"),
    ],
)
def test_spellings_that_people_mix_give_the_same_terms(text, language, other):
    assert set(query_terms(text, language=language).weights) & set(document_terms(other, language=language))


def test_names_and_codes_have_a_term_that_no_language_changes():
    for language in ("en", "de", "fr", "ru", "tr", "ja", "th"):
        assert {"jones", "abc", "123"} <= set(document_terms("Jones ABC-123", language=language))
        assert {"jones", "abc", "123"} <= set(query_terms("Jones ABC-123", language=language).weights)


def test_a_query_too_short_to_tell_its_language_is_stemmed_in_all_that_are_likely():
    assert set(document_terms("sopas de pescado", language="es")) & set(query_terms("sopa").weights)
    assert set(document_terms("old bicycles", language="en")) & set(query_terms("bicycle").weights)


def test_the_forms_of_each_word_are_told():
    assert query_terms("red running dogs", language="en").words == [
        ["red"],
        ["run", "running"],
        ["dog", "dogs"],
    ]
    assert query_terms("東京都 犬", language="ja").words == [["東京"], ["京都"], ["犬"]]


def test_marks_stay_inside_words():
    assert document_terms("नमस्ते दुनिया", language="ne") == ["नमस्ते", "दुनिया"]


def test_words_of_programs_are_cut_at_underscores():
    assert document_terms("snake_case_name", language="pl") == ["snake", "case", "name"]


@pytest.mark.parametrize(
    ("text", "language", "units", "pairs"),
    [
        ("東京都", "ja", ["東", "京", "都"], ["東京", "京都"]),
        ("강아지", "ko", ["강", "아", "지"], ["강아", "아지"]),
        ("เก้าอี้", "th", ["เก้า", "อี้"], ["เก้าอี้"]),
        ("ខ្មែរ", "km", ["ខ្មែ", "រ"], ["ខ្មែរ"]),
        ("မြန်မာ", "my", ["မြ", "န်", "မာ"], ["မြန်", "န်မာ"]),
        ("ລາວ", "lo", ["ລາ", "ວ"], ["ລາວ"]),
    ],
)
def test_scripts_without_spaces_give_units_and_pairs(text, language, units, pairs):
    assert sorted(document_terms(text, language=language)) == sorted([*units, *pairs])
    expected = dict.fromkeys(units, SINGLE_WEIGHT) | dict.fromkeys(pairs, 1.0)
    assert query_terms(text, language=language).weights == expected


def test_a_single_character_is_a_whole_query():
    assert query_terms("犬", language="ja").weights == {"犬": 1.0}


def test_scripts_are_told_apart_inside_a_word():
    terms = document_terms("iPhone15ケース", language="ja")
    assert {"iphone15", "ケース"[:2]} <= set(terms)
    assert not any("15ケ" in term for term in terms)


def test_nothing_but_signs_gives_nothing():
    assert document_terms(" ... -- \n", language=None) == []
    assert query_terms("?!").weights == {}


def test_a_very_long_word_is_cut_alike_on_both_sides():
    word = "x" * 5_000
    assert document_terms(word, language="en") == ["x" * 64]
    assert query_terms(word, language="en").weights == {"x" * 64: 1.0}


def test_a_long_text_gives_the_terms_of_its_words():
    text = " ".join(f"w{i}" for i in range(30_000))
    assert document_terms(text, language="pl") == [f"w{i}" for i in range(30_000)]


def test_half_a_surrogate_pair_is_no_fault():
    assert "dog" in document_terms("dog \ud800 cat")
