"""Answering `browse`: branches of the tree of ids, with counts and typical documents."""

from __future__ import annotations

from state.branches import Branch, branches_of
from state.filters import parse_filter
from state.live_index import LiveIndex
from state.shard import Shard
from streams.events import queries
from streams.events.queries import Browse, Query, TypicalDocument
from streams.semantic_id import parse_prefix

MOST_BRANCHES = 1_000


class Browsing:
    """Looks at the live index of one process. Thread-safe; it never waits for the writer."""

    def __init__(self, index: LiveIndex, shard: Shard) -> None:
        self._index = index
        self._shard = shard

    def branches(self, query: Query, browse: Browse) -> tuple[list[queries.Branch], int]:
        """The branches, and the epoch whose ids they are of. Raises DataError `bad_filter`."""
        checked = parse_filter(query.filter) if query.filter else None
        with self._index.reading():
            epoch = self._index.active_epoch or 0
            found = branches_of(
                self._index,
                parse_prefix(browse.prefix) if browse.prefix else (),
                depth=browse.depth,
                most=MOST_BRANCHES,
                typical=browse.examples,
                allowed=self._index.passing(checked) if checked else None,
            )
            return [self._branch(branch) for branch in found], epoch

    def _branch(self, branch: Branch) -> queries.Branch:
        names = [name for slot in branch.typical if (name := self._index.document_id(slot)) is not None]
        return queries.Branch(
            prefix=".".join(map(str, branch.prefix)),
            documents=branch.documents,
            children=branch.children,
            examples=[self._typical(name) for name in names],
        )

    def _typical(self, document_id: str) -> TypicalDocument:
        stored = self._shard.document(document_id)
        return TypicalDocument(
            document_id=document_id,
            title=stored.title if stored else None,
            image=stored.image if stored else None,
        )
