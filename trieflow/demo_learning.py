"""The demo teaches a word that nobody knows: people ask by it, say it in other words, and click what they meant."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from trieflow.client import Client
from trieflow.demo_pictures import Picture
from trieflow.demo_questions import Answer, Beside, Question, ask
from trieflow.replies import RecordAddress

WORD = "zibbelquark"
PEOPLE = 3

_TIMEOUT_S = 15.0
_POLL_S = 0.02


@dataclass(frozen=True)
class Lesson:
    """A word before and after it was taught; `seconds`: from the last click until an answer was another."""

    document_id: str
    other_words: str
    clicks: Sequence[RecordAddress]
    before: Answer
    after: Answer
    seconds: float


def teach_a_word(client: Client, pictures: Sequence[Picture]) -> Lesson | None:
    """Let a few people ask for one picture by a made-up word, then by its title, and click it.

    A picture that the word does not find; None when no picture is found by its own title. Raises what `ask` raises.
    """
    by_chance = ask(client, Question("a made-up word", (WORD,))).found_ids
    others = (each for each in pictures if each.document_id not in by_chance)
    picture = next((each for each in others if _is_found(client, each)), None)
    if picture is None:
        return None
    expected = frozenset([picture.document_id])
    unknown = Question("a made-up word", (WORD,), expected=expected)
    known = Question("the same in other words", (str(picture.title),), expected=expected)
    before, clicks = ask(client, unknown), []
    for person in range(PEOPLE):
        session = f"demo-{time.time_ns()}"
        asker: Beside = {"learn": True, "user_id": f"demo-{person}", "session_id": session}
        first = ask(client, unknown, **asker)
        following: Beside = {**asker, "previous_query_id": first.result.query_id}
        again = ask(client, known, **following)
        clicks.append(client.click(again.result.query_id, picture.document_id))
    clicked = time.perf_counter()
    after = ask(client, unknown)
    while after.rank is None and time.perf_counter() - clicked < _TIMEOUT_S:
        time.sleep(_POLL_S)
        after = ask(client, unknown)
    seconds = time.perf_counter() - clicked
    return Lesson(picture.document_id, str(picture.title), clicks, before, after, seconds)


def _is_found(client: Client, picture: Picture) -> bool:
    if picture.title is None:
        return False
    question = Question("its title", (picture.title,), expected=frozenset([picture.document_id]))
    return ask(client, question).rank is not None
