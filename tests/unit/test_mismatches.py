"""Documents whose text and pictures disagree, told by vectors."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agents.mismatches import FEWEST, Mismatches, text_and_pictures
from models.encoders.base import PicturePart, TextPart
from models.encoders.registry import load_encoder
from state.records import LogRecord
from state.shard import Shard
from streams.events.assignments import Assignment, EpochId, StampedVector
from streams.events.base import SourceAddress
from streams.events.documents import VectorKind
from trieflow.demo_pictures import all_pictures, chosen

STAMP = "s"
DIMENSION = 16
APART = np.eye(DIMENSION, dtype=np.float32)[0] * 3
"""How far pictures lie from texts, whatever they show."""


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[Shard]:
    with Shard.open(tmp_path / "shard") as opened:
        yield opened


def stamped(*vectors: tuple[VectorKind, np.ndarray]) -> list[StampedVector]:
    return [StampedVector.of(STAMP, kind, vector) for kind, vector in vectors]


def document(seed: int, *, picture_of: int | None = None) -> list[StampedVector]:
    """A text, and the picture of the same thing or of another."""
    thing, other = (
        np.random.default_rng(number).normal(size=DIMENSION) for number in (seed, picture_of or seed)
    )
    return stamped(("text", thing), ("image", other + APART))


def stored(shard: Shard, document_id: str, vectors: list[StampedVector], *, offset: int) -> None:
    assignment = Assignment(
        ids=[EpochId(epoch=0, semantic_id=f"0.0.0.{offset}")],
        modality="mixed",
        vectors=vectors,
        content_hash=document_id,
        source=SourceAddress(topic="documents", partition=0, offset=offset),
    )
    shard.apply([LogRecord(0, offset, document_id, assignment, None)])


def test_a_title_of_something_else_is_found_and_others_are_not(shard: Shard) -> None:
    mismatches = Mismatches(shard)
    for seed in range(FEWEST):
        assert mismatches.look_at(f"doc-{seed}", None, document(seed)) is None
    right = [mismatches.look_at("right", "t", document(seed)) for seed in range(1_000, 1_040)]
    assert right == [None] * 40
    wrong = stamped(("text", -APART - 1), ("image", APART + 1))
    case = mismatches.look_at("wrong", "Red boots", wrong)
    assert case is not None
    assert (case.kind, case.document_id, case.title, case.withdrawn) == (
        "title_picture_mismatch",
        "wrong",
        "Red boots",
        False,
    )
    assert case.agreement is not None
    assert case.agreement < 0


def test_nothing_is_judged_before_there_is_enough_to_compare_with(shard: Shard) -> None:
    mismatches = Mismatches(shard)
    wrong = stamped(("text", np.ones(DIMENSION)), ("image", -np.ones(DIMENSION)))
    assert all(mismatches.look_at("wrong", None, wrong) is None for _ in range(FEWEST))


def test_what_the_shard_holds_is_compared_with_after_a_restart(shard: Shard) -> None:
    for seed in range(FEWEST):
        stored(shard, f"doc-{seed}", document(seed), offset=seed)
    wrong = stamped(("text", -APART - 1), ("image", APART + 1))
    assert Mismatches(shard).look_at("wrong", None, wrong) is not None


def test_a_case_is_withdrawn_when_its_document_changes_and_others_are_not_mentioned(shard: Shard) -> None:
    for seed in range(FEWEST):
        stored(shard, f"doc-{seed}", document(seed), offset=seed)
    stored(shard, "wrong", stamped(("text", -APART - 1), ("image", APART + 1)), offset=FEWEST)
    mismatches = Mismatches(shard)
    assert mismatches.withdrawn("doc-3") is None
    assert mismatches.withdrawn("never there") is None
    case = mismatches.withdrawn("wrong")
    assert case is not None
    assert case.withdrawn


def test_documents_of_one_kind_are_not_judged_and_do_not_count(shard: Shard) -> None:
    assert text_and_pictures(stamped(("text", np.ones(3)), ("fused", np.ones(3)))) is None
    assert text_and_pictures(stamped(("image", np.ones(3)), ("raw", np.ones(3)))) is None
    both = text_and_pictures(
        stamped(("passage", np.zeros(3)), ("passage", np.ones(3)), ("image", np.ones(3)))
    )
    assert both is not None
    np.testing.assert_array_equal(both[0], np.full(3, 0.5))


def test_of_openmojis_pictures_with_names_of_others_half_are_found_and_few_of_the_rest(shard: Shard) -> None:
    """What docs/how-to/find-bad-cases.md says, on a smaller sample."""
    pictures = chosen(all_pictures(), 240, first=())
    shuffled = {number for number in range(240) if number % 6 == 5}
    names = [picture.names["en"] for picture in pictures]
    order = sorted(shuffled)
    for place, number in enumerate(order):
        names[number] = pictures[order[place - 1]].names["en"]
    encoder = load_encoder("lite", threads=2)
    parts = [PicturePart(Image.open(io.BytesIO(each.png())).convert("RGB")) for each in pictures]
    seen = encoder.encode(parts, side="document").vectors
    read = encoder.encode([TextPart(name) for name in names], side="document").vectors
    mismatches = Mismatches(shard)
    found = {
        number
        for number in range(240)
        if mismatches.look_at("x", None, stamped(("text", read[number]), ("image", seen[number])))
    }
    judged = set(range(FEWEST, 240))
    assert len(found & shuffled) / len(judged & shuffled) > 0.4
    assert len(found - shuffled) / len(judged - shuffled) < 0.08
