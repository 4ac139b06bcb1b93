"""Which adapter answers whom."""

from __future__ import annotations

import numpy as np

from agents.arms import Arms, ServedAdapter
from models.adapter.adapter import QueryAdapter
from models.ranking.ranker import Ranker

ADAPTER = QueryAdapter(
    np.zeros((1, 2), dtype=np.float32), np.zeros(1, dtype=np.float32), np.zeros((2, 1), dtype=np.float32)
)
CANDIDATE = ServedAdapter("adapter@v2", Ranker(ADAPTER))
SESSIONS = [f"session-{number}" for number in range(4_000)]


def test_a_session_stays_in_and_others_come_in_as_the_share_grows():
    tried = [
        {each for each in SESSIONS if Arms(candidate=CANDIDATE, share=share).tries(each)}
        for share in (0.05, 0.25, 0.5, 1.0)
    ]
    assert tried[0] < tried[1] < tried[2] < tried[3] == set(SESSIONS)
    for share, sessions in zip((0.05, 0.25, 0.5), tried, strict=False):
        assert abs(len(sessions) / len(SESSIONS) - share) < 4 * (share * (1 - share) / len(SESSIONS)) ** 0.5


def test_without_a_candidate_nobody_tries_one():
    assert not any(Arms(active=CANDIDATE, share=1.0).tries(each) for each in SESSIONS)
