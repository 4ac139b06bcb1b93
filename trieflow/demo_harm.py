"""The demo teaches nonsense: people click at random, an adapter is trained from that, and the gates judge it.

Clicks, request and verdict go through the topics, and what the gates say is passed on, whatever it is. At the end
the people are forgotten, with what they taught.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path

from models.gates.guard import GuardLimits
from streams.events.models import ADAPTER_MODEL
from streams.events.training import OffsetRange, TrainingProgress
from streams.settings import Settings
from trieflow import render
from trieflow.adapters import (
    AdapterLine,
    ask_training,
    follow_training,
    progress_line,
    show_adapter,
    whole_window,
)
from trieflow.client import Client
from trieflow.demo_pictures import LANGUAGES, Picture
from trieflow.demo_questions import Answer, Question, ask
from trieflow.forgetting import ForgetPlan, forget, plan_user

GUARD = "demo-known-items.jsonl"
"""Known items for the guard, in the data folder."""
PEOPLE, SESSIONS = 8, 300

_SEARCHES, _CLICKS = 2, 3  # of a session, and of a search
_HELD_OUT = 0.5  # 900 clicks judge: from 800 on the gate of clicks decides
_NEVER = 1_000_000_000  # clicks: a run that the learner asks for would serve as well as ours
_ASKED = ("en", "de")
_MOST_GUARDS = 1_600
_SEED = 3
_TIMEOUT_S, _SAME_AGAIN_S, _POLL_S = 300.0, 5.0, 0.05
_NO_TORCH = "it needs torch: pip install 'trieflow[train]'"
_NOT_OURS = "people click at random in it, so it wants a system that the demo has started"


@dataclass(frozen=True)
class Nonsense:
    """What random clicks came to.

    last: how the training ended; adapter: what came out, None when it failed. before, after: the same questions
    before the first click and after the people were forgotten. forgotten: clicks that were taken back.
    """

    clicks: int
    click_seconds: float
    last: TrainingProgress
    adapter: AdapterLine | None
    train_seconds: float
    forgotten: int
    before: Sequence[Answer]
    after: Sequence[Answer]

    @property
    def same(self) -> int:
        """How many questions have the same hits in the same order."""
        pairs = zip(self.before, self.after, strict=True)
        return sum(before.found_ids == after.found_ids for before, after in pairs)

    @property
    def adapters(self) -> list[str]:
        """Adapters that took part in the answers afterwards."""
        named = (model for answer in self.after for model in answer.result.models or ())
        return sorted({model for model in named if model.startswith(f"{ADAPTER_MODEL}@")})


def why_left_out(pictures: Sequence[Picture], *, ours: bool) -> str | None:
    """Why nobody clicks at random in this demo; None when they do."""
    if find_spec("torch") is None:
        return _NO_TORCH
    if not ours:
        return _NOT_OURS
    wanted, known = GuardLimits().queries, len(_known_items(pictures))
    return (
        f"the guard wants {wanted:,} known items, and these pictures make {known:,}"
        if known < wanted
        else None
    )


def training_settings(data: Path, pictures: Sequence[Picture]) -> Mapping[str, str]:
    """Settings, as environment, of a system that is to be taught nonsense; writes the guard's known items."""
    data.mkdir(parents=True, exist_ok=True)
    guard = data.absolute() / GUARD
    lines = [
        json.dumps(
            {
                "text": picture.names[language],
                "document_id": picture.document_id,
                "in_log": language in _ASKED,
            }
        )
        for picture, language in _known_items(pictures)
    ]
    guard.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        "TRIEFLOW_TRAINING__GUARD": str(guard),
        "TRIEFLOW_TRAINING__FIRST_CLICKS": str(_NEVER),
        "TRIEFLOW_TRAINING__HELD_OUT": str(_HELD_OUT),
        "TRIEFLOW_TRAINING__WHEN_IDLE": "false",
    }


def _known_items(pictures: Sequence[Picture]) -> list[tuple[Picture, str]]:
    """Titles, then names of the same pictures in languages that nobody asks in, then of those without a title.

    What is not found cannot get lost, and a picture alone is seldom found by a name.
    """
    absent = [language for language in LANGUAGES if language not in _ASKED]
    titles = [(picture, picture.title_language) for picture in pictures if picture.title_language]
    names = [item for item in product(pictures, absent) if item[0].title_language != item[1]]
    random.Random(_SEED).shuffle(names)
    names.sort(key=lambda item: item[0].title is None)
    return [*titles, *names][:_MOST_GUARDS]


def teach_nonsense(client: Client, pictures: Sequence[Picture], questions: Sequence[Question]) -> Nonsense:
    """Let people click at random, ask for a training, wait for the verdict, then forget the people.

    questions: asked before and afterwards. Raises what `ask` raises, NoAnswerError when there is no trainer.
    """
    settings = client.settings
    before = [ask(client, question) for question in questions]
    people = [f"demo-random-{time.time_ns()}-{number}" for number in range(PEOPLE)]
    since = whole_window(settings)
    started = time.perf_counter()
    clicks = _click_at_random(client, pictures, people)
    clicked = time.perf_counter()
    last = _train(settings, since)
    trained = time.perf_counter()
    forgotten = _forget(settings, people)
    return Nonsense(
        clicks=clicks,
        click_seconds=clicked - started,
        last=last,
        adapter=None if last.version is None else show_adapter(settings, last.version),
        train_seconds=trained - clicked,
        forgotten=forgotten,
        before=before,
        after=_asked_again(client, before),
    )


def _click_at_random(client: Client, pictures: Sequence[Picture], people: Sequence[str]) -> int:
    """How many clicks there were."""

    def session(number: int) -> int:
        lot, person = random.Random(f"{_SEED}/{number}"), people[number % len(people)]
        clicks = 0
        for _ in range(_SEARCHES):
            name = lot.choice(pictures).names[lot.choice(_ASKED)]
            asked = Question("at random", (name,))
            answer = ask(client, asked, learn=True, user_id=person, session_id=f"{person}/{number}")
            for document_id in lot.sample(answer.found_ids, min(_CLICKS, len(answer.found_ids))):
                client.click(answer.result.query_id, document_id)
                clicks += 1
        return clicks

    done = 0
    with render.ProgressLine("sessions", SESSIONS) as advance, ThreadPoolExecutor(len(people)) as pool:
        for clicks in pool.map(session, range(SESSIONS)):
            done += clicks
            advance()
    return done


def _train(settings: Settings, since: Sequence[OffsetRange]) -> TrainingProgress:
    """From what people did behind a window, and from all documents."""
    ends = {(part.topic, part.partition): part.end for part in since if part.topic != "assignments"}
    window = [
        part.model_copy(update={"start": ends.get((part.topic, part.partition), part.start)})
        for part in whole_window(settings)
    ]
    request = ask_training(settings, window)
    with render.notes.status("waiting for the trainer") as status:
        return follow_training(
            settings,
            request.run,
            on_progress=lambda event: status.update(progress_line(event)),
            timeout=_TIMEOUT_S,
        )


def _forget(settings: Settings, people: Sequence[str]) -> int:
    """Forget all of them by one request; returns how many clicks were taken back."""
    nothing: Callable[[], None] = lambda: None  # noqa: E731
    plans = [plan_user(settings, person, on_record=nothing) for person in people]
    plan = ForgetPlan(
        what="user",
        name="people who clicked at random",
        people=[each for plan in plans for each in plan.people],
        salts=[each for plan in plans for each in plan.salts],
    )
    done = forget(settings, plan, timeout=_TIMEOUT_S).learner
    return 0 if done is None else done.clicks


def _asked_again(client: Client, before: Sequence[Answer]) -> list[Answer]:
    """The same questions, asked until the searcher has read that the clicks are forgotten."""
    deadline = time.perf_counter() + _SAME_AGAIN_S
    while True:
        after = [ask(client, answer.question) for answer in before]
        is_same = [each.found_ids for each in after] == [each.found_ids for each in before]
        if is_same or time.perf_counter() > deadline:
            return after
        time.sleep(_POLL_S)
