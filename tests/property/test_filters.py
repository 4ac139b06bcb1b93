"""Filters answered from bitmaps against filters answered document by document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from state.filters import parse_filter
from state.live_index import LiveDocument, LiveIndex, Removal
from streams.semantic_id import SemanticId

START = datetime(2026, 1, 1, tzinfo=UTC)
dates = st.integers(0, 4).map(lambda days: START + timedelta(days=days))
scalars = st.sampled_from([True, False, 0, 1, 1.0, 2.5, -3, 10**17, "", "a", "ab", "b", "1", "é", "True"])
names = st.sampled_from(["color", "size"])
ids = st.builds(
    SemanticId, st.sampled_from([0, 3]), st.sampled_from([0, 255]), st.integers(0, 1), st.integers(0, 1)
)

documents = st.builds(
    LiveDocument,
    document_id=st.sampled_from("abcdefgh"),
    ids=st.dictionaries(st.just(1), ids.map(SemanticId.packed), max_size=1),
    vectors=st.just([]),
    modality=st.sampled_from(["text", "image"]),
    language=st.sampled_from([None, "de", "en"]),
    tags=st.lists(st.sampled_from(["a", "ab", "b"]), max_size=3),
    fields=st.dictionaries(names, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=2),
    published_at=st.one_of(st.none(), dates),
)
removals = st.builds(Removal, st.sampled_from("abcdefgh"))


def value_tests(values: st.SearchStrategy[Any], bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    same_kind = st.fixed_dictionaries({}, optional={"gte": bounds, "lte": bounds})
    one_of = st.fixed_dictionaries({"in": st.lists(values, min_size=1, max_size=3)})
    return st.one_of(
        values, one_of, same_kind.filter(bool), st.tuples(one_of, same_kind).map(lambda t: t[0] | t[1])
    )


text_tests = st.fixed_dictionaries(
    {"prefix": st.sampled_from(["", "a", "ab", "x"])},
    optional={"gte": st.sampled_from(["", "aa"]), "lte": st.sampled_from(["ab", "z"])},
)
numbers, texts = st.sampled_from([-3, 0, 1.0, 2, 10**17 + 1]), st.sampled_from(["", "a", "aa", "é"])
iso_dates = dates.map(datetime.isoformat)
conditions = st.one_of(
    st.builds(lambda name, test: {name: test}, names, value_tests(scalars, numbers)),
    st.builds(lambda name, test: {name: test}, names, value_tests(scalars, texts)),
    st.builds(lambda name, test: {name: test}, st.sampled_from(["color", "tags", "language"]), text_tests),
    st.builds(lambda value: {"modality": value}, st.sampled_from(["text", "image", "x"])),
    st.builds(lambda test: {"published_at": test}, value_tests(iso_dates, iso_dates)),
    st.builds(lambda i, n: {"id_prefix": ".".join(map(str, i[:n]))}, ids, st.integers(1, 4)),
)
filters = st.recursive(
    conditions,
    lambda inner: st.builds(
        lambda name, parts: {name: parts},
        st.sampled_from(["and", "or", "not"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


def naive(raw: Mapping[str, Any], document: LiveDocument) -> bool:
    [(name, value)] = raw.items()
    if name == "and":
        return all(naive(part, document) for part in value)
    if name == "or":
        return any(naive(part, document) for part in value)
    if name == "not":
        return not any(naive(part, document) for part in value)
    if name == "id_prefix":
        wanted = [int(number) for number in value.split(".")]
        return 1 in document.ids and list(SemanticId.unpacked(document.ids[1])[: len(wanted)]) == wanted
    test = value if isinstance(value, Mapping) else {"in": [value]}
    return any(meets(name, each, test) for each in values_of(name, document))


def values_of(name: str, document: LiveDocument) -> list[Any]:
    built_in = {
        "tags": document.tags,
        "language": document.language,
        "modality": document.modality,
        "published_at": document.published_at,
    }
    value = built_in.get(name, document.fields.get(name))
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def meets(name: str, value: Any, test: Mapping[str, Any]) -> bool:
    def operand(given: Any) -> Any:
        return datetime.fromisoformat(given) if name == "published_at" else given

    def alike(given: Any) -> bool:
        kinds = [
            next(k for k in (bool, str, datetime, (int, float)) if isinstance(v, k)) for v in (value, given)
        ]
        return kinds[0] == kinds[1]

    checks = {
        "in": lambda given: any(alike(operand(g)) and operand(g) == value for g in given),
        "gte": lambda given: alike(operand(given)) and value >= operand(given),
        "lte": lambda given: alike(operand(given)) and value <= operand(given),
        "prefix": lambda given: isinstance(value, str) and value.startswith(given),
    }
    return all(checks[operator](given) for operator, given in test.items())


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(st.one_of(documents, documents, removals), max_size=14),
    raws=st.lists(filters, max_size=5),
)
def test_a_filter_passes_what_it_passes_document_by_document(
    changes: list[LiveDocument | Removal], raws: list[dict[str, Any]]
) -> None:
    index = LiveIndex(2)
    index.activate(1)
    twin: dict[str, LiveDocument] = {}
    for change in changes:
        index.apply([change])
        twin.pop(change.document_id, None)
        if isinstance(change, LiveDocument):
            twin[change.document_id] = change
    for raw in raws:
        passed = {index.document_id(slot) for slot in index.passing(parse_filter(raw))}
        assert passed == {key for key, document in twin.items() if naive(raw, document)}
