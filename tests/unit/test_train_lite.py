"""What the training of lite must not do: leak names over the split, or take pictures it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.train_lite.names import base_name, part_of, short_code
from benchmarks.train_lite.sources import Drawing, training_drawings

PUBLIC = "<license resource='http://web.resource.org/cc/PublicDomain'/>"


@pytest.mark.parametrize(
    "variants",
    [
        ["man running", "woman running", "person running facing right", "running"],
        ["one o’clock", "seven-thirty", "clock 3"],
        ["cat", "cats", "Cat 2"],
        ["man", "women", "person"],
    ],
)
def test_variants_of_a_name_stay_on_one_side_of_the_split(variants: list[str]) -> None:
    assert len({base_name(name) for name in variants}) == 1
    assert len({part_of(name) for name in variants}) == 1


def test_a_fifth_of_the_names_is_for_testing_and_a_tenth_for_choosing() -> None:
    names = [f"{first} {second}" for first in "abcdefghijklmnopqrst" for second in "uvwxyzabcdefghijklmn"]
    shares = {part: sum(part_of(name) == part for name in names) / len(names) for part in ("test", "dev")}
    assert shares["test"] == pytest.approx(0.2, abs=0.06)
    assert shares["dev"] == pytest.approx(0.1, abs=0.05)


def test_variation_selectors_do_not_make_another_emoji() -> None:
    assert short_code("2602-fe0f") == short_code("2602") == "2602"


@pytest.fixture
def clip_art(tmp_path: Path) -> Path:
    """Packages with no emoji at all and an empty gallery."""
    for artist in ("google", "twitter"):
        folder = tmp_path / f"emoji-datasource-{artist}" / "package"
        folder.mkdir(parents=True)
        (folder / "emoji.json").write_text("[]")
    gallery = tmp_path / "openclipart-svg" / "usr" / "share" / "openclipart" / "svg"
    gallery.mkdir(parents=True)
    return gallery


def draw(path: Path, title: str, *, licence: str = PUBLIC) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    namespaces = (
        "xmlns='http://www.w3.org/2000/svg' xmlns:dc='http://purl.org/dc/elements/1.1/' "
        "xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'"
    )
    subject = "<dc:subject><rdf:Bag><rdf:li>animal</rdf:li></rdf:Bag></dc:subject>"
    path.write_text(
        f"<svg {namespaces}><metadata><dc:title>{title}</dc:title>{subject}{licence}</metadata></svg>"
    )


def names_of(packages: Path) -> list[str]:
    return [drawing.name for drawing in training_drawings(packages, {})]


def test_clip_art_brings_its_title_and_keywords(clip_art: Path) -> None:
    draw(clip_art / "animals" / "a.svg", "Sleeping cat 02")
    path = clip_art / "animals" / "a.svg"
    expected = Drawing("openclipart/animals/a.svg", "openclipart", path, {"en": "sleeping cat"}, "animal")
    assert training_drawings(_root(clip_art), {}) == [expected]


def test_pictures_of_other_licences_are_left_out(clip_art: Path) -> None:
    draw(clip_art / "a.svg", "cat", licence="")
    draw(clip_art / "b.svg", "dog", licence=f"{PUBLIC} taken from a GPL theme")
    draw(clip_art / "c.svg", "bird", licence="Creative Commons BY-SA")
    assert names_of(_root(clip_art)) == []


@pytest.mark.parametrize("folder", ["unsorted", "computer/icons/theme", "signs/flags", "logos"])
def test_folders_of_icons_flags_and_unsorted_pictures_are_left_out(clip_art: Path, folder: str) -> None:
    draw(clip_art / folder / "a.svg", "cat")
    assert names_of(_root(clip_art)) == []


@pytest.mark.parametrize(
    "title",
    [
        "",
        "Untitled",
        "Clipart by Somebody - arrow08",
        "123",
        "a b c",
        "man",
        "one two three four five six seven",
    ],
)
def test_titles_that_name_nothing_are_left_out(clip_art: Path, title: str) -> None:
    draw(clip_art / "a.svg", title)
    assert names_of(_root(clip_art)) == []


def test_one_title_brings_at_most_twelve_pictures(clip_art: Path) -> None:
    for index in range(20):
        draw(clip_art / f"{index}.svg", "star")
    assert len(names_of(_root(clip_art))) == 12


def test_a_damaged_file_is_passed_over(clip_art: Path) -> None:
    draw(clip_art / "a.svg", "cat")
    (clip_art / "b.svg").write_text(f"<svg><{PUBLIC}")
    assert names_of(_root(clip_art)) == ["cat"]


def _root(gallery: Path) -> Path:
    return gallery.parents[4]
