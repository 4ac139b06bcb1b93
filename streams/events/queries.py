"""`queries` and `results`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from streams.events.base import ErrorDetail, Event, Flag, LogPosition, Number, Whole
from streams.events.documents import FieldValue, ImageSource
from streams.events.rules import SIGNED_IN_AND_ALONE, JsonSchema, one_of, parts_or
from streams.semantic_id import SemanticIdText, parse_prefix

SearchMode = Literal["auto", "generative", "dense", "lexical"]
Unsure = Literal["leaves", "graph"]
"""What was done where the leaves that were opened looked wrong: twice as many opened; the graph asked too."""
PartRole = Literal["and", "or", "not"]

MAX_TOP_K = 1_000
MAX_PARTS = 16
_KINDS = ("text", "image", "document_id")


class QueryPart(Event):
    """One part of a query: a text, a picture, or "like this document"."""

    model_config = ConfigDict(json_schema_extra=one_of(*_KINDS) | SIGNED_IN_AND_ALONE)

    text: str | None = Field(default=None, min_length=1, max_length=10_000)
    """Words in any language of the encoder."""
    image: ImageSource | None = None
    """A picture to compare with."""
    document_id: str | None = Field(default=None, min_length=1, max_length=4096)
    """Like this document, which is itself left out of the hits."""
    weight: Number = Field(default=1.0, ge=-100, le=100)
    """How much the part counts; below 0, where the role is `and`, it pushes away."""
    role: PartRole = "and"
    """`and`: all of these. `or`: any one of these. `not`: none of these, taken away from what has it clearly."""

    @model_validator(mode="after")
    def _one_kind_and_a_sign_that_fits(self) -> QueryPart:
        given = [self.text is not None, self.image is not None, self.document_id is not None]
        if sum(given) != 1:
            raise ValueError("a part has exactly one of 'text', 'image', 'document_id'")
        if self.role != "and" and self.weight < 0:
            raise ValueError("a weight below 0 needs the role 'and'; 'not' takes away with a weight above 0")
        return self


def _checked_prefix(text: str) -> str:
    parse_prefix(text)
    return text


IdPrefixText = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,2}(\.[0-9]{1,3}(\.[0-9]{1,4})?)?$"),
    AfterValidator(_checked_prefix),
]
"""One to three numbers of an id, as 3.17."""


class Browse(Event):
    """Which branches of the tree of ids to count."""

    prefix: IdPrefixText | None = None
    """Below which branch, as `3.17`; absent: from the root."""
    depth: Whole = Field(default=1, ge=1, le=3)
    """How many levels below it."""
    examples: Whole = Field(default=3, ge=0, le=10)
    """How many typical documents to name for each branch."""


class Query(Event):
    """A search request. Key: the query id. `{"text": "red boots"}` is short for one part of weight 1."""

    browse: Browse | None = None
    """In place of `parts`: count the documents below branches of the tree. Answered by `branches`."""
    parts: list[QueryPart] = Field(default_factory=list, max_length=MAX_PARTS, validate_default=True)
    """What to look for. At least one part, of another role than `not`, has a weight above 0."""
    filter: dict[str, Any] | None = None
    """Which documents may be hits, or count.

    `{"field": value}`, `{"field": {"in" | "gte" | "lte" | "prefix": ...}}`, `{"id_prefix": "3.17"}`,
    `{"and" | "or" | "not": [filter, ...]}`. `tags`, `language`, `modality` and `published_at` are fields too.
    """
    mode: SearchMode = "auto"
    """`dense` is exact; `generative` follows the tree of meanings; `auto` chooses; `lexical` is not there yet."""
    top_k: Whole = Field(default=10, ge=1, le=MAX_TOP_K)
    """At most so many hits."""
    user_id: str | None = Field(default=None, max_length=1024)
    """Who asks. Only a keyed hash of it is kept, in `impressions`."""
    session_id: str | None = Field(default=None, max_length=1024)
    """The session that the query belongs to; kept in `impressions`."""
    previous_query_id: str | None = Field(default=None, max_length=1024)
    """The query that this one refines; kept in `impressions`."""
    personal: Flag = True
    """False: what the user chose before has no part in the answer. Without `user_id` it never has."""
    read_after: list[LogPosition] | None = Field(default=None, max_length=1024)
    """Positions of `assignments` that the answer must have seen (`read_after` of receipts), else `not_yet`."""
    explain: Flag = False
    """Add `parts` and `levels` to each hit."""
    learn: Flag = True
    """False for a probe: no impression is written, and chance has no part in the list."""
    model_version: str | None = None
    """The encoder stamp that must answer; when another one runs, the query fails with `incompatible_model`."""

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, data: Any) -> Any:
        if isinstance(data, dict) and "parts" not in data:
            part = {name: data[name] for name in _KINDS if name in data}
            if part:
                rest = {name: value for name, value in data.items() if name not in part}
                return {**rest, "parts": [{name: value} for name, value in part.items()]}
        return data

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        schema = handler.resolve_ref_schema(handler(core))
        part = handler.resolve_ref_schema(handler(QueryPart.__pydantic_core_schema__))
        kinds = {name: part["properties"][name] for name in _KINDS}
        parts_or("browse", schema, kinds)
        return schema

    @field_validator("parts")
    @classmethod
    def _parts_or_browse(cls, parts: list[QueryPart], info: ValidationInfo) -> list[QueryPart]:
        if bool(parts) == (info.data.get("browse") is not None):
            raise ValueError("a query has either 'parts', one or more, or 'browse'")
        return parts

    @model_validator(mode="after")
    def _some_part_counts(self) -> Query:
        if self.browse is not None:
            return self
        if not any(part.weight > 0 and part.role != "not" for part in self.parts):
            raise ValueError("at least one part, of another role than 'not', needs a weight above 0")
        return self


class Hit(Event):
    """One found document."""

    document_id: str
    """The key that it was published with."""
    semantic_id: SemanticIdText | None = None
    """The id `c.s.k.i` in the epoch of the result; absent while the document has none there."""
    score: float
    """Higher is better. Comparable within one result only."""
    position: int
    """From 1."""
    parts: dict[str, float] | None = None
    """With `explain`: what each path gave. They sum to `score`."""
    probability: float | None = None
    """On the generative path, p(document | query): the product of its `levels`."""
    levels: list[float] | None = None
    """With `explain`, on the generative path: the probability of category, subcategory and leaf, each given the
    one above, and the document's share among those of its leaf."""
    title: str | None = None
    """As published."""
    fields: dict[str, FieldValue] | None = None
    """As published."""
    tags: list[str] | None = None
    """As published."""
    image: str | None = None
    """URL of the thumbnail in the content store."""


class TypicalDocument(Event):
    """A document that stands for a branch."""

    document_id: str
    """The key that it was published with."""
    title: str | None = None
    """As published."""
    image: str | None = None
    """URL of the thumbnail in the content store."""


class Branch(Event):
    """A branch of the tree of ids."""

    prefix: IdPrefixText
    """The numbers that the ids below it begin with, as `3.17`."""
    documents: int
    """How many documents are below it."""
    children: int
    """How many branches are one level below it; 0 for a leaf."""
    examples: list[TypicalDocument]
    """Those nearest to the middle of the branch."""


class Result(Event):
    """An answer (with `hits`, or with `branches`) or a failure (with `error`). Key: the query id.

    Every query gets one; after a crash it may come twice, with the same `ce_id`.
    """

    model_config = ConfigDict(json_schema_extra=one_of("hits", "branches", "error"))

    query_id: str
    """The key of the query; empty when it could not be used."""
    hits: list[Hit] | None = None
    """The best first."""
    branches: list[Branch] | None = None
    """To `browse`: the branch asked for and those below it, each followed by its own. At most 1,000."""
    mode: SearchMode | None = None
    """The path that was taken."""
    model_version: str | None = None
    """The stamp of the encoder."""
    models: list[str] | None = None
    """What took part: the stamp of the encoder, then `name@version` of the bundles."""
    bundle: str | None = None
    """`<name>@<version>` of the bundle whose weights counted; absent while there is none."""
    unsure: Unsure | None = None
    """Where the leaves that were opened looked wrong: `leaves`, twice as many were opened; `graph`, the graph was
    asked too."""
    low_confidence: bool | None = None
    """True where leaves looked wrong to the end, or the best hit scores worse than those of nearly all recent
    queries of this kind; absent else."""
    epoch: int | None = None
    """The epoch of the codebooks that the semantic ids belong to."""
    codebook_offset: int | None = None
    """How far `codebooks` was read, inclusive; -1: nothing."""
    memory_offset: int | None = None
    """How far `click-memory` was read, inclusive; -1: nothing."""
    fresh_to: list[LogPosition] | None = None
    """How far `assignments` was read before the search; partitions without any record are left out."""
    fresh_until: list[LogPosition] | None = None
    """How far it was read behind the search, where that is further: what came between may be in the answer."""
    newest_document_age_ms: float | None = None
    """Age in milliseconds of the newest document that came in since this searcher started."""
    behind: dict[str, int] | None = None
    """By path, documents that it has not taken in yet; a path that is up to date is left out."""
    took_ms: dict[str, float] | None = None
    """Milliseconds by stage (`encode`, `generate` or `dense`, `lexical`, `resolve`, `fuse`) and in `total`."""
    error: ErrorDetail | None = None
    """Why there is no answer."""

    @model_validator(mode="after")
    def _answer_or_failure(self) -> Result:
        if sum(given is not None for given in (self.hits, self.branches, self.error)) != 1:
            raise ValueError("a result has exactly one of 'hits', 'branches', 'error'")
        return self
