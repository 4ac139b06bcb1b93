"""When batches begin, on a clock of the test's own."""

from __future__ import annotations

import numpy as np
import pytest

from agents.pacing import LONGEST_REST_S, Pacing


def batches(arrivals: list[float]) -> list[tuple[float, list[float]]]:
    """When each batch begins and the arrival of each of its records, when handling takes no time."""
    pacing, waiting, begun = Pacing(), list(arrivals), []
    while waiting:
        first = waiting[0]
        at = first + pacing.rest(first)
        taken = [arrival for arrival in waiting if arrival <= at]
        waiting = waiting[len(taken) :]
        pacing.began(at, len(taken))
        begun.append((at, taken))
    return begun


def poisson(rate: float, seconds: float) -> list[float]:
    gaps = np.random.default_rng(7).exponential(1 / rate, int(rate * seconds))
    return list(np.cumsum(gaps))


def longest_wait(begun: list[tuple[float, list[float]]]) -> float:
    return max(at - arrival for at, taken in begun for arrival in taken)


def test_records_that_come_one_by_one_never_wait() -> None:
    begun = batches([second * 0.15 for second in range(100)])
    assert len(begun) == 100
    assert longest_wait(begun) == 0


def test_records_that_come_now_and_then_seldom_wait() -> None:
    begun = batches(poisson(5.0, 60))
    assert np.mean([at == taken[0] for at, taken in begun]) > 0.9


@pytest.mark.parametrize("rate", [35.0, 100.0, 1_000.0])
def test_many_records_make_five_batches_a_second(rate: float) -> None:
    arrivals = poisson(rate, 20)
    begun = batches(arrivals)
    settled = [at for at, _ in begun if at > 2.0]
    assert len(settled) <= 5.1 * (arrivals[-1] - 2.0)
    assert longest_wait(begun) <= LONGEST_REST_S


def test_the_first_after_a_silence_goes_at_once() -> None:
    arrivals = poisson(100.0, 5)
    late = arrivals[-1] + 10.0
    assert batches([*arrivals, late])[-1] == (late, [late])


def test_a_burst_after_a_steady_trickle_does_not_change_the_pace_for_long() -> None:
    trickle = [0.5 * n for n in range(20)]
    begun = batches([*trickle, *(trickle[-1] + 0.001 * n for n in range(1, 5)), trickle[-1] + 0.5])
    assert begun[-1][0] == trickle[-1] + 0.5


def test_a_partition_is_fast_until_nothing_came_for_a_second() -> None:
    pacing = Pacing()
    assert not pacing.is_fast(0.0)
    for n in range(60):
        pacing.began(0.2 * n, 7)
    assert pacing.is_fast(0.2 * 60)
    assert not pacing.is_fast(0.2 * 60 + 1.0)
