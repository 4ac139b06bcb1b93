"""Two rankings in one list, so that one click compares them: team draft.

Radlinski, Kurup and Joachims, "How Does Clickthrough Data Reflect Retrieval Quality?", CIKM 2008.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Container, Iterable, Sequence
from typing import Literal

Team = Literal["incumbent", "candidate"]


def chance_of(query_id: str) -> random.Random:
    """Chance that is the same for a query whenever it is asked for, in every process."""
    digest = hashlib.blake2b(query_id.encode(), digest_size=8, person=b"team draft").digest()
    return random.Random(int.from_bytes(digest))


def team_draft(
    incumbent: Sequence[str], candidate: Sequence[str], chance: random.Random, *, length: int = 10
) -> tuple[list[str], list[Team | None]]:
    """One list of at most `length` document ids, each once, and who brought each.

    In each round both bring their best document that is not there yet; chance decides who is first. Once one of
    them has nothing left, the rest of the other is in no team (None): it was not compared. So at every place the
    teams differ by one document at most, and each model is first equally often.
    """
    lists: dict[Team, Sequence[str]] = {"incumbent": incumbent, "candidate": candidate}
    shown: dict[str, Team | None] = {}
    turns: list[Team] = []
    while len(shown) < length:
        best = {
            team: each for team, ranked in lists.items() if (each := _first_of(ranked, shown)) is not None
        }
        if not turns and len(best) == 2:
            turns = ["incumbent", "candidate"] if chance.getrandbits(1) else ["candidate", "incumbent"]
        if turns:
            team = turns.pop(0)
            if team in best:
                shown[best[team]] = team
        elif best:
            shown[next(iter(best.values()))] = None
        else:
            break
    return list(shown), list(shown.values())


def _first_of(ranked: Sequence[str], shown: Container[str]) -> str | None:
    return next((document_id for document_id in ranked if document_id not in shown), None)


def session_score(clicked: Iterable[str | None]) -> int:
    """Who won a session, by the teams of what was clicked in it: 1 the candidate, -1 the incumbent, 0 nobody."""
    teams = list(clicked)
    won = teams.count("candidate") - teams.count("incumbent")
    return (won > 0) - (won < 0)
