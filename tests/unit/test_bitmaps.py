from __future__ import annotations

import numpy as np
import pytest
from pyroaring import BitMap

from state.bitmaps import bitmap_of_mask, bitmap_of_slots, slots_of


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65_535, 65_536, 65_537, 200_001])
@pytest.mark.parametrize("share", [0.0, 0.0001, 0.06, 0.0625, 0.07, 1.0])
def test_a_mask_gives_the_bitmap_of_its_true_places(length: int, share: float) -> None:
    mask = np.random.default_rng(length).random(length) < share
    bitmap = bitmap_of_mask(mask)
    assert bitmap == BitMap(np.flatnonzero(mask).tolist())
    np.testing.assert_array_equal(slots_of(bitmap), np.flatnonzero(mask))


def test_a_bitmap_made_of_a_mask_can_be_changed() -> None:
    bitmap = bitmap_of_mask(np.ones(70_000, dtype=np.bool_))
    bitmap.discard(3)
    bitmap.add(200_000)
    assert len(bitmap) == 70_000
    assert bitmap | BitMap([3]) == BitMap(range(70_000)) | BitMap([200_000])


def test_a_container_is_an_array_up_to_4096_members_and_a_bitset_above() -> None:
    for members in (4_095, 4_096, 4_097, 65_536):
        mask = np.zeros(131_072, dtype=np.bool_)
        mask[65_536 : 65_536 + members] = True
        assert bitmap_of_mask(mask) == BitMap(range(65_536, 65_536 + members))


def test_slots_make_a_bitmap_in_any_order() -> None:
    assert bitmap_of_slots(np.array([70_000, 3, 5])) == BitMap([3, 5, 70_000])
    many = np.arange(100_000)[::-7]
    assert bitmap_of_slots(many) == BitMap(many.tolist())
