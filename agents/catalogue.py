"""What the index holds, read from its log for a training: vectors of documents, and the texts that name them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agents.assignment_log import read_log
from agents.calibrations import calibrations
from agents.places import place_of
from models.adapter.data import Documents
from models.encoders.base import EncoderDescription
from state.field_values import FieldValues, filterable
from state.live_documents import needed_vectors
from state.vector_rows import Calibration
from streams.events.assignments import Assignment
from streams.events.documents import VectorKind
from streams.events.training import OffsetRange
from streams.settings import Settings

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class CatalogueText:
    """A title or a tag, and the number of the only document that has it."""

    text: str
    document: int
    is_title: bool


@dataclass(frozen=True)
class Catalogue:
    """Documents by number: their vectors, in order of owners, their ids, and texts that name one of them alone.

    values: by field, a number of each document (documents,), NaN where it has none.
    """

    documents: Documents
    ids: list[str]
    texts: list[CatalogueText]
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, int]:
        """By document id, its number."""
        return {name: number for number, name in enumerate(self.ids)}

    def rows(self, number: int) -> NDArray[np.int64]:
        """Rows of the vectors of a document."""
        start, end = np.searchsorted(self.documents.owners, [number, number + 1])
        return np.arange(start, end)


def read_catalogue(
    settings: Settings,
    encoder: EncoderDescription,
    *,
    window: Collection[OffsetRange],
    wanted: Collection[str],
    fields: Collection[str] = (),
    on_progress: OnProgress = lambda share: None,
) -> Catalogue:
    """Documents as they stand at the end of the window's parts of `assignments`.

    All that are wanted, and others, drawn by their ids, up to the setting `training.documents`. `fields`: whose
    numbers are kept. Raises BrokerError, StateError.
    """
    whole = sum(part.end - part.start for part in window) or 1
    share = min(1.0, settings.training.documents / whole)
    found: dict[str, Assignment] = {}
    read = 0
    for part in window:
        for batch, records in read_log(settings, partition=part.partition, start=part.start, end=part.end):
            read += len(batch)
            on_progress(min(1.0, read / whole))
            for record in records:
                is_drawn = record.key in wanted or place_of(record.key, "catalogue") < share
                if record.assignment is not None and is_drawn:
                    found[record.key] = record.assignment
                elif record.tombstone is not None:
                    found.pop(record.key, None)
    return _catalogue(found, encoder, fields)


def _catalogue(
    found: Mapping[str, Assignment], encoder: EncoderDescription, fields: Collection[str]
) -> Catalogue:
    known = calibrations(encoder, "text")
    ids: list[str] = []
    vectors: list[NDArray[np.float16]] = []
    kinds: list[VectorKind] = []
    owners: list[int] = []
    for document_id in sorted(found):
        own = needed_vectors([v for v in found[document_id].vectors if v.stamp == encoder.stamp])
        if not own:
            continue
        vectors += [vector.array() for vector in own]
        kinds += [vector.kind for vector in own]
        owners += [len(ids)] * len(own)
        ids.append(document_id)
    of_rows = [known.get(kind, Calibration()) for kind in kinds]
    documents = Documents(
        vectors=np.array(vectors, dtype=np.float32).reshape(len(vectors), encoder.dimension),
        means=np.array([each.mean for each in of_rows], dtype=np.float32),
        spreads=np.array([each.spread for each in of_rows], dtype=np.float32),
        owners=np.array(owners, dtype=np.int64),
    )
    return Catalogue(documents, ids, list(_naming(found, ids)), _values(found, ids, fields))


def _values(
    found: Mapping[str, Assignment], ids: Sequence[str], fields: Collection[str]
) -> dict[str, NDArray[np.float64]]:
    """The numbers of fields, by the class that a searcher keeps them in."""
    columns = {name: FieldValues() for name in fields}
    for number, document_id in enumerate(ids):
        assignment = found[document_id]
        values = filterable(
            assignment.fields,
            tags=assignment.tags,
            language=assignment.language,
            modality=assignment.modality,
            published_at=assignment.published_at,
        )
        for name, column in columns.items():
            column.add(number, values.get(name, ()))
    return {name: column.numbers(np.arange(len(ids))) for name, column in columns.items()}


def _naming(found: Mapping[str, Assignment], ids: list[str]) -> Iterator[CatalogueText]:
    """Texts that name one document alone; of several equal ones nobody could say which is meant."""
    every = [
        (text, number, text == found[name].title)
        for number, name in enumerate(ids)
        for text in dict.fromkeys([found[name].title, *found[name].tags])
        if text
    ]
    times = Counter(text.casefold() for text, _, _ in every)
    return (CatalogueText(*each) for each in every if times[each[0].casefold()] == 1)
