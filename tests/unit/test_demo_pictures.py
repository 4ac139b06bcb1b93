"""What the demo publishes."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image, ImageChops

from trieflow.demo_pictures import LANGUAGES, all_pictures, chosen
from trieflow.demo_questions import needed, questions


@pytest.fixture(scope="module")
def pictures():
    return all_pictures()


def test_there_are_at_least_1500_different_things_with_names_in_all_languages(pictures):
    assert len(pictures) >= 1_500
    assert len({picture.document_id for picture in pictures.values()}) == len(pictures)
    assert all(set(picture.names) == set(LANGUAGES) for picture in pictures.values())
    assert all(picture.names[language].strip() for picture in pictures.values() for language in LANGUAGES)


def test_flags_and_skin_tones_are_left_out(pictures):
    assert "🥾" in pictures
    assert not {"🇩🇪", "👍🏽", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"} & set(pictures)


def test_half_have_a_title_and_every_language_has_its_share(pictures):
    languages = [picture.title_language for picture in pictures.values()]
    assert 0.45 < languages.count(None) / len(languages) < 0.55
    assert all(languages.count(language) > 40 for language in LANGUAGES)


def test_the_same_things_are_chosen_each_time_and_those_that_are_asked_for_come_first(pictures):
    few, many = (chosen(pictures, count, first=needed()) for count in (60, 600))
    assert few == many[:60] == chosen(pictures, 60, first=needed())
    assert len({picture.document_id for picture in many}) == 600
    assert set(needed()) <= {picture.characters for picture in few}


def test_all_that_is_expected_of_an_answer_is_published_in_the_smallest_demo(pictures):
    few = {picture.characters: picture for picture in chosen(pictures, 60, first=needed())}
    published = {picture.document_id for picture in few.values()}
    asked = list(questions(few, fitted=True))
    assert all(question.expected for question in asked)
    for question in asked:
        assert question.expected | question.unwanted <= published
        assert question.like is None or question.like in published


def test_a_document_without_a_title_has_no_word_to_be_found_by(pictures):
    alone = next(picture for picture in pictures.values() if picture.title is None)
    document = alone.document()
    assert (document.title, document.text, document.tags) == (None, None, [])
    assert document.images[0].alt is None


def test_a_picture_is_drawn_in_colour_or_as_an_outline(pictures):
    strawberry = pictures["🍓"]
    sent = Image.open(io.BytesIO(base64.b64decode(strawberry.document().images[0].bytes)))
    outline = Image.open(io.BytesIO(strawberry.png(outline=True)))
    assert sent.size == outline.size == (224, 224)
    assert _colourfulness(sent) > 100
    assert _colourfulness(outline) == 0


def _colourfulness(picture: Image.Image) -> int:
    """The largest difference between red and blue anywhere; 0 when all is grey."""
    red, _, blue = picture.convert("RGB").split()
    return ImageChops.difference(red, blue).getextrema()[1]
