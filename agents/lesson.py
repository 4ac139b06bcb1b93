"""From a window and a catalogue to what an adapter is trained on, and to the known items that guard it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.catalogue import Catalogue
from agents.judging import Known
from agents.places import place_of
from agents.training_window import Answers, Window
from models.adapter.data import Floats, Lesson, Pairs, nearest_rows
from models.encoders.base import Encoder, TextPart
from state.clicks.rows import LINKED
from streams.errors import SettingsError
from streams.settings import TrainingSettings

OnProgress = Callable[[float], None]
_TEXTS_AT_ONCE = 256
_GUARD_SHARE = 0.25
_GUARD_MOST = 4_000
_ASKED_MOST = 8_000


class KnownItem(BaseModel):
    """A line of the file that the setting `training.guard` names."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1)
    document_id: str
    in_log: bool = True


@dataclass(frozen=True)
class _Named:
    """A text and the number of the document that it names."""

    text: str
    document: int
    is_title: bool = False
    in_log: bool = True


def chosen(window: Window) -> set[str]:
    """Ids of all documents that were shown: they have to be there."""
    rows = (row for answers in (window.taught, window.held_out) for row in answers.rows.values())
    return {hit.document_id for row in rows for hit in row.shown}


def make_lesson(
    window: Window,
    catalogue: Catalogue,
    encoder: Encoder,
    settings: TrainingSettings,
    *,
    on_progress: OnProgress = lambda share: None,
) -> tuple[Lesson, Known]:
    """What to learn, and known items that are not in it. Raises SettingsError for a guard file that is none."""
    replayed, guard = _split(catalogue, settings)
    texts = [each.text for each in [*replayed, *guard]]
    vectors = _encoded(encoder, texts, on_progress)
    of_texts = dict(zip(texts, vectors, strict=True))

    def pairs(named: Sequence[_Named]) -> Pairs:
        return _pairs(catalogue, [(of_texts[each.text], each.document, 1.0) for each in named])

    lesson = Lesson(
        documents=catalogue.documents,
        clicks=_clicks(window.taught, catalogue),
        titles=pairs([each for each in replayed if each.is_title]),
        tags=pairs([each for each in replayed if not each.is_title]),
        asked=_asked(window.taught, vectors.shape[1]),
        held_out=_clicks(window.held_out, catalogue),
    )
    known = Known(
        np.array([of_texts[each.text] for each in guard], dtype=np.float32).reshape(
            len(guard), vectors.shape[1]
        ),
        np.array([each.document for each in guard], dtype=np.int64),
        np.array([each.in_log for each in guard], dtype=np.bool_),
    )
    return lesson, known


def _split(catalogue: Catalogue, settings: TrainingSettings) -> tuple[list[_Named], list[_Named]]:
    """Texts that are said again in training, and those that guard: of other documents, or from the file."""
    every = [_Named(each.text, each.document, each.is_title) for each in catalogue.texts]
    every.sort(key=lambda each: place_of(each.text, "lesson"))
    if settings.guard is not None:
        guard = _from_file(settings.guard, catalogue)
        return every[: settings.texts], guard
    kept = [place_of(name, "lesson") < _GUARD_SHARE for name in catalogue.ids]
    guard = [each for each in every if kept[each.document]][:_GUARD_MOST]
    return [each for each in every if not kept[each.document]][: settings.texts], guard


def _from_file(path: Path, catalogue: Catalogue) -> list[_Named]:
    """Items of documents that are not there (any more) are left out."""
    numbers = catalogue.numbers
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        items = [KnownItem.model_validate_json(line) for line in lines if line.strip()]
    except (OSError, ValueError, ValidationError) as error:
        raise SettingsError(
            f"training.guard: {path} cannot be used: {error}. One JSON object a line is expected, as "
            '{"text": "red boots", "document_id": "boot-1", "in_log": true}'
        ) from error
    return [
        _Named(item.text, numbers[item.document_id], in_log=item.in_log)
        for item in items
        if item.document_id in numbers
    ]


def _clicks(answers: Answers, catalogue: Catalogue) -> Pairs:
    """What was chosen for what; for a query that was rephrased, what was chosen then, at half weight."""
    numbers = catalogue.numbers
    return _pairs(
        catalogue,
        [
            (answers.vectors[key], numbers[document_id], weight)
            for key, document_id, weight in _chosen_for(answers)
            if document_id in numbers
        ],
    )


def _chosen_for(answers: Answers) -> Iterator[tuple[str, str, float]]:
    for _, row in answers.typed():
        yield from ((row.query, document_id, 1.0) for document_id in row.clicked)
        before = answers.before(row)
        if before is not None:
            yield from ((before.query, document_id, LINKED) for document_id in row.clicked)


def _pairs(catalogue: Catalogue, chosen: Sequence[tuple[Floats, int, float]]) -> Pairs:
    if not chosen:
        return Pairs.none(catalogue.documents.vectors.shape[1])
    vectors, numbers, weights = zip(*chosen, strict=True)
    queries = np.array(vectors, dtype=np.float32)
    targets = nearest_rows(catalogue.documents, queries, [catalogue.rows(number) for number in numbers])
    return Pairs(queries, targets, np.array(weights, dtype=np.float32))


def _asked(answers: Answers, dimension: int) -> NDArray[np.float32]:
    keys = dict.fromkeys(row.query for _, row in answers.typed())
    found = [answers.vectors[key] for key in list(keys)[:_ASKED_MOST]]
    return np.array(found, dtype=np.float32).reshape(len(found), dimension)


def _encoded(encoder: Encoder, texts: Sequence[str], on_progress: OnProgress) -> Floats:
    batches = [np.zeros((0, encoder.description.dimension), dtype=np.float32)]
    for at in range(0, len(texts), _TEXTS_AT_ONCE):
        parts = [TextPart(text) for text in texts[at : at + _TEXTS_AT_ONCE]]
        batches.append(encoder.encode(parts, side="query").vectors)
        on_progress(min(1.0, (at + _TEXTS_AT_ONCE) / len(texts)))
    return np.concatenate(batches)
