from __future__ import annotations

from pathlib import Path

import pytest

from agents.browsing import Browsing
from state.live_documents import live_document
from state.live_index import LiveIndex
from state.shard import Shard
from streams.errors import DataError
from streams.events.queries import Branch, Query
from streams.semantic_id import SemanticId
from tests.log_records import STAMP, assigned, assignment_of

TITLES = {"a": "red boots", "b": None, "c": "blue hat"}
LEAVES = {"a": (3, 17, 402), "b": (3, 17, 9), "c": (9, 0, 0)}


@pytest.fixture
def browsing(tmp_path: Path):
    index = LiveIndex(4)
    index.activate(1)
    with Shard.open(tmp_path / "shard") as shard:
        for offset, (name, codes) in enumerate(LEAVES.items()):
            ids = {1: SemanticId(*codes, offset).packed()}
            record = assignment_of(ids, title=TITLES[name], fields={"kind": name})
            shard.apply([assigned(name, record, offset=offset)])
            index.apply([live_document(name, record, stamp=STAMP)])
        yield Browsing(index, shard)


def branches(browsing: Browsing, **query: object) -> list[Branch]:
    asked = Query.model_validate({"browse": {}} | query)
    assert asked.browse is not None
    found, epoch = browsing.branches(asked, asked.browse)
    assert epoch == 1
    return found


def test_branches_come_with_counts_and_the_titles_of_typical_documents(browsing: Browsing):
    [boots, hat] = branches(browsing)
    assert (boots.prefix, boots.documents, boots.children) == ("3", 2, 1)
    assert {(each.document_id, each.title) for each in boots.examples} == {("a", "red boots"), ("b", None)}
    assert [each.title for each in hat.examples] == ["blue hat"]


def test_a_prefix_a_depth_and_a_filter_are_followed(browsing: Browsing):
    below = branches(browsing, browse={"prefix": "3.17", "depth": 2, "examples": 0})
    assert [(each.prefix, each.documents) for each in below] == [("3.17", 2), ("3.17.9", 1), ("3.17.402", 1)]
    assert not any(each.examples for each in below)
    assert [each.prefix for each in branches(browsing, filter={"kind": "c"})] == ["9"]
    with pytest.raises(DataError, match="bad_filter"):
        branches(browsing, filter={"kind": None})
