"""People who ask through the topics, look at lists from the top, click what they want, and say it in other words.

Positions are looked at with probability 1 / position; what is looked at is clicked as the world says. Somebody who
asked by an invented word and clicked nothing may ask again by a name of what was meant; somebody else goes on to
another matter in the same session, which misleads whoever takes that for a rephrasing. Spammers report a click on
one thing whatever was shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.world import NOISE, Asked, World
from streams.errors import TrieflowError
from trieflow.client import Client

TOP_K = 10
USERS = 500
TOGETHER = 4
"""Sessions at a time."""
_SHARES = (0.4, 0.2, 0.4)
_ZIPF = (0.5, 0.5, 0.7)


@dataclass(frozen=True)
class Habits:
    """How people behave.

    spam: share of the sessions that are of spammers. spammed: the thing that they report clicks on, whether it was
    shown or not. accounts: users that they are; with 0 they give no name, and each session is somebody else. lures:
    what they ask after it in the same session, as if it said the same, so that the thing is shown and their click
    is one: half of it goes to the query before.
    """

    rephrases: float = 0.35
    changes_topic: float = 0.08
    spam: float = 0.0
    spammed: int = -1
    accounts: int = 1
    lures: Sequence[Asked] = ()


@dataclass
class Tally:
    """What happened so far. clicks: of people. forged: reports of clicks on what was not shown; lured: spammers'
    clicks on what was."""

    sessions: int = 0
    queries: int = 0
    clicks: int = 0
    forged: int = 0
    lured: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **counts: int) -> None:
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)


class People:
    """Sessions one after another; deterministic but for what the system answers and when."""

    def __init__(
        self, client: Client, world: World, *, seed: int, habits: Habits | None = None, mode: str = "dense"
    ) -> None:
        self.tally = Tally()
        self._client = client
        self._seed = seed
        self._habits = habits or Habits()
        self._mode = mode
        self.turn_to(world)

    def turn_to(self, world: World) -> None:
        """From now on they want what is wanted there."""
        self._world = world
        self._drawn = drawing(world, self._seed)

    def go_on(self, until: Callable[[Tally], bool], *, most: int = 100_000) -> None:
        """Sessions until a condition holds, several at a time. Raises TrieflowError."""
        first = self.tally.sessions
        with ThreadPoolExecutor(TOGETHER, thread_name_prefix="person") as threads:
            for start in range(first, first + most, TOGETHER):
                if until(self.tally):
                    return
                for done in [
                    threads.submit(self._session, number) for number in range(start, start + TOGETHER)
                ]:
                    done.result()
        raise TrieflowError(f"{most} sessions were not enough")

    def _session(self, number: int) -> None:
        chance = np.random.default_rng([self._seed, 2, number])
        session, habits = f"session-{self._seed}-{number}", self._habits
        if chance.random() < habits.spam:
            self._spam(chance, session)
            self.tally.add(sessions=1)
            return
        user, asked = f"user-{chance.integers(USERS)}", self._drawn(chance)
        query_id, clicks = self._ask(asked, chance, user, session)
        if not clicks:
            if asked.kind == "words seen" and chance.random() < habits.rephrases:
                others = self._world.other_words[asked.lesson]
                self._ask(others[int(chance.integers(len(others)))], chance, user, session, before=query_id)
            if chance.random() < habits.changes_topic:
                self._ask(self._drawn(chance), chance, user, session, before=query_id)
        self.tally.add(sessions=1)

    def _ask(
        self, asked: Asked, chance: np.random.Generator, user: str, session: str, *, before: str | None = None
    ) -> tuple[str, int]:
        """Ask and click; the query id and the number of clicks."""
        query_id, shown = self._answer(asked, user, session, before)
        wanted = np.where(asked.wanted[shown] > 0, asked.wanted[shown], NOISE)
        looked_at = chance.random(len(shown)) < 1 / np.arange(1, len(shown) + 1)
        clicked = shown[looked_at & (chance.random(len(shown)) < wanted)]
        for thing in clicked.tolist():
            self._client.click(query_id, document_id(thing))
        self.tally.add(queries=1, clicks=len(clicked))
        return query_id, len(clicked)

    def _spam(self, chance: np.random.Generator, session: str) -> None:
        habits = self._habits
        user = f"spammer-{chance.integers(habits.accounts)}" if habits.accounts else None
        query_id = self._claim(self._drawn(chance), user, session)
        if habits.lures:
            lure = habits.lures[int(chance.integers(len(habits.lures)))]
            self._claim(lure, user, session, before=query_id)

    def _claim(self, asked: Asked, user: str | None, session: str, *, before: str | None = None) -> str:
        """Ask, and report a click on what is spammed; the query id."""
        query_id, shown = self._answer(asked, user, session, before)
        self._client.click(query_id, document_id(self._habits.spammed))
        was_shown = self._habits.spammed in shown
        self.tally.add(queries=1, forged=not was_shown, lured=was_shown)
        return query_id

    def _answer(
        self, asked: Asked, user: str | None, session: str, before: str | None
    ) -> tuple[str, NDArray[np.int64]]:
        result = self._client.search(
            {"text": asked.text, "mode": self._mode},
            top_k=TOP_K,
            user_id=user,
            session_id=session,
            previous_query_id=before,
            timeout=30,
        )
        if result.error is not None:
            raise TrieflowError(f"{asked.text!r}: {result.error.code}: {result.error.message}")
        return result.query_id, things_of([hit.document_id for hit in result.hits or []])


def drawing(world: World, seed: int) -> Callable[[np.random.Generator], Asked]:
    """What people of a seed ask next, by chance."""
    chance = np.random.default_rng([seed, 1])
    kinds: Sequence[list[Asked]] = [
        world.of("words seen"),
        world.of("preferences seen"),
        world.of("ordinary"),
    ]
    pools = [
        ([kind[place] for place in chance.permutation(len(kind))], _cumulated(len(kind), exponent))
        for kind, exponent in zip(kinds, _ZIPF, strict=True)
    ]

    def drawn(chance: np.random.Generator) -> Asked:
        pool, cumulated = pools[int(np.searchsorted(np.cumsum(_SHARES), chance.random()))]
        return pool[min(int(np.searchsorted(cumulated, chance.random())), len(pool) - 1)]

    return drawn


def document_id(thing: int) -> str:
    return f"thing-{thing}"


def things_of(document_ids: Sequence[str]) -> NDArray[np.int64]:
    return np.array([int(each.rpartition("-")[2]) for each in document_ids], dtype=np.int64)


def _cumulated(count: int, exponent: float) -> NDArray[np.float64]:
    weights = 1 / np.arange(1, count + 1) ** exponent
    return np.asarray(np.cumsum(weights / weights.sum()))
