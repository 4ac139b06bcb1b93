"""What a person types, as parts of a query and a filter: `red car NOT truck like:doc-1 category:3.17`.

    words                 what stands together is one text
    "quoted words"        a text of its own, in which nothing has a special meaning
    like:ID               like this document
    category:PREFIX       only ids that start so: a filter, not a part
    AND OR NOT            in capitals; AND may be left out
    ( … )                 around what OR joins, or what NOT leaves out

A text with none of AND, OR, NOT, like: and category: is taken as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypedDict

from streams.errors import DataError
from streams.events.queries import PartRole
from streams.semantic_id import parse_prefix

_Kind = Literal["text", "document_id", "category"]
_TOKENS = re.compile(
    r"""\s*(?:
        (?P<sign>[()]|(?:AND|OR|NOT)(?=[\s()"]|$))
      | (?:(?P<name>like|category):)?(?:"(?P<quoted>[^"]*)"|(?P<word>[^\s()"]+))
      | (?P<rest>\S+)
    )""",
    re.VERBOSE,
)
_KINDS: dict[str | None, _Kind] = {None: "text", "like": "document_id", "category": "category"}
_SPECIAL = re.compile(r"""(?:^|[\s(])(?:AND|OR|NOT)(?:[\s()"]|$)|(?:^|[\s(])(?:like|category):""")


class Asked(TypedDict, total=False):
    """The fields of a query that a text gives."""

    parts: list[dict[str, Any]]
    filter: dict[str, Any]


@dataclass(frozen=True)
class _Operand:
    kind: _Kind
    value: str


@dataclass(frozen=True)
class _Joined:
    """`not` has one inner node, `and` and `or` two or more."""

    role: PartRole
    inner: Sequence[_Node]


_Node = _Operand | _Joined
_Token = str | _Operand
"""A sign, or an operand."""


def parse(text: str) -> Asked:
    """Parts and filter of a text. Raises DataError `schema` with what is wrong and how to say it."""
    if not _SPECIAL.search(text):
        return {"parts": [{"text": text}]}
    reader = _Reader(_tokens(text))
    node = reader.alternatives()
    if reader.next is not None:
        _refuse("a parenthesis is closed that was not opened")
    contract = _Contract().take(node)
    asked: Asked = {"parts": contract.parts}
    if contract.conditions:
        asked["filter"] = all_of(contract.conditions)
    return asked


def parse_all(texts: Sequence[str]) -> Asked:
    """The same of several texts: joined by AND, or by the operators that stand alone among them.

    Raises DataError `schema`.
    """
    if any(text in ("AND", "OR", "NOT") for text in texts):
        return parse(" ".join(texts))
    found = [parse(text) for text in texts]
    if sum(any(part.get("role") == "or" for part in each["parts"]) for each in found) > 1:
        _refuse(_ONE_OR)
    asked: Asked = {"parts": [part for each in found for part in each["parts"]]}
    filters = [each["filter"] for each in found if "filter" in each]
    if filters:
        asked["filter"] = all_of(filters)
    return asked


def all_of(filters: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One filter for one or more."""
    return filters[0] if len(filters) == 1 else {"and": [*filters]}


def _tokens(text: str) -> list[_Token]:
    """Signs and operands; words that stand together are one."""
    tokens: list[_Token] = []
    may_go_on = False  # the last token is plain words
    for found in _TOKENS.finditer(text.strip()):
        sign, name, quoted, word, rest = found.group("sign", "name", "quoted", "word", "rest")
        if rest is not None:
            _refuse(f"a quote is opened and not closed: {rest[:40]}")
        value = quoted if word is None else word
        is_word = sign is None and name is None and word is not None
        if sign is not None:
            tokens.append(sign)
        elif is_word and may_go_on:
            last = tokens.pop()
            assert isinstance(last, _Operand)
            tokens.append(_Operand("text", f"{last.value} {word}"))
        elif not value:
            _refuse("there is nothing between the quotes")
        elif word in ("like:", "category:"):
            _refuse(f"the id has to stand right behind {word} without a space")
        else:
            tokens.append(_Operand(_KINDS[name], value))
        may_go_on = is_word
    return tokens


class _Reader:
    """Reads tokens by the usual precedence: NOT before AND before OR."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self._tokens = [*tokens]
        self._tokens.reverse()

    @property
    def next(self) -> _Token | None:
        return self._tokens[-1] if self._tokens else None

    def alternatives(self) -> _Node:
        nodes = [self._all()]
        while self.next == "OR":
            self._tokens.pop()
            nodes.append(self._all())
        return nodes[0] if len(nodes) == 1 else _Joined("or", nodes)

    def _all(self) -> _Node:
        nodes = [self._single()]
        while self.next not in (None, "OR", ")"):
            if self.next == "AND":
                self._tokens.pop()
            nodes.append(self._single())
        return nodes[0] if len(nodes) == 1 else _Joined("and", nodes)

    def _single(self) -> _Node:
        token = self._tokens.pop() if self._tokens else None
        if isinstance(token, _Operand):
            return token
        if token == "NOT":
            return _Joined("not", [self._single()])
        if token != "(":
            _refuse(f"words are missing before {token}" if token else "words are missing at the end")
        node = self.alternatives()
        if not self._tokens or self._tokens.pop() != ")":
            _refuse("a parenthesis is opened and not closed")
        return node


class _Contract:
    """One `and`, one `or` and one `not` of parts, and conditions on ids."""

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []
        self.conditions: list[dict[str, Any]] = []

    def take(self, node: _Node) -> _Contract:
        for each in _flat(node, "and"):
            if isinstance(each, _Operand):
                self._wanted(each)
            elif each.role == "or":
                self._any_of(_operands(each, _AROUND_OR))
            else:
                self._none_of(_operands(each.inner[0], _BEHIND_NOT))
        return self

    def _wanted(self, operand: _Operand) -> None:
        if operand.kind == "category":
            self.conditions.append(_condition(operand))
        else:
            self.parts.append({operand.kind: operand.value})

    def _any_of(self, operands: Sequence[_Operand]) -> None:
        ids = [operand for operand in operands if operand.kind == "category"]
        if not ids:
            if any(part.get("role") == "or" for part in self.parts):
                _refuse(_ONE_OR)
            self.parts += [{operand.kind: operand.value, "role": "or"} for operand in operands]
        elif len(ids) == len(operands):
            self.conditions.append({"or": [_condition(operand) for operand in ids]})
        else:
            _refuse("OR cannot join category: and words: the one is a condition, the other is ranked by")

    def _none_of(self, operands: Sequence[_Operand]) -> None:
        for operand in operands:
            if operand.kind == "category":
                self.conditions.append({"not": [_condition(operand)]})
            else:
                self.parts.append({operand.kind: operand.value, "role": "not"})


_ONE_OR = "a question has one OR of texts and documents; ask a second question for the other"
_AROUND_OR = "OR joins single things; put parentheses around it: (boots OR shoes) NOT leather"
_BEHIND_NOT = "NOT leaves out one thing, or any of several: NOT (leather OR suede)"


def _flat(node: _Node, role: PartRole) -> list[_Node]:
    """What `role` joins, also through parentheses; a node that is not joined so, alone."""
    if isinstance(node, _Operand) or node.role != role:
        return [node]
    return [inner for each in node.inner for inner in _flat(each, role)]


def _operands(node: _Node, otherwise: str) -> list[_Operand]:
    operands = [each for each in _flat(node, "or") if isinstance(each, _Operand)]
    if len(operands) < len(_flat(node, "or")):
        _refuse(otherwise)
    return operands


def _condition(operand: _Operand) -> dict[str, Any]:
    try:
        parse_prefix(operand.value)
    except ValueError as error:
        _refuse(str(error))
    return {"id_prefix": operand.value}


def _refuse(message: str) -> NoReturn:
    raise DataError("schema", message, field="text")
