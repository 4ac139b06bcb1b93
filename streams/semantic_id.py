"""Semantic ids: a 40-bit path category.subcategory.cluster.instance in a tree of meanings.

The first three numbers (24 bits) name a leaf and carry the meaning; the instance is a counter in that leaf.
Partition p of P owns the instance codes that are p modulo P, so partitions need no coordination.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import AfterValidator, StringConstraints

CATEGORY_BITS, SUBCATEGORY_BITS, CLUSTER_BITS, INSTANCE_BITS = 4, 8, 12, 16
CATEGORIES, SUBCATEGORIES = 1 << CATEGORY_BITS, 1 << SUBCATEGORY_BITS
CLUSTERS, INSTANCES = 1 << CLUSTER_BITS, 1 << INSTANCE_BITS
LEVEL_SIZES = (CATEGORIES, SUBCATEGORIES, CLUSTERS, INSTANCES)

SemanticIdText = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,2}\.[0-9]{1,3}\.[0-9]{1,4}\.[0-9]{1,5}$")
]


def _checked_leaf(text: str) -> str:
    Leaf.parse(text)
    return text


LeafText = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,2}\.[0-9]{1,3}\.[0-9]{1,4}$"), AfterValidator(_checked_leaf)
]
"""A leaf as text whose numbers are in their ranges: a number too large would run into its neighbour."""


class Leaf(NamedTuple):
    """The meaning part of an id: category < 16, subcategory < 256, cluster < 4,096."""

    category: int
    subcategory: int
    cluster: int

    def packed(self) -> int:
        """The leaf as one 24-bit number; order is the order of paths."""
        return (self.category << SUBCATEGORY_BITS | self.subcategory) << CLUSTER_BITS | self.cluster

    @classmethod
    def unpacked(cls, code: int) -> Leaf:
        """The inverse of `packed`."""
        cluster = code & (CLUSTERS - 1)
        subcategory = code >> CLUSTER_BITS & (SUBCATEGORIES - 1)
        return cls(code >> (CLUSTER_BITS + SUBCATEGORY_BITS), subcategory, cluster)

    @classmethod
    def parse(cls, text: str) -> Leaf:
        """Read `c.s.k`. Raises ValueError when a number is missing or out of its range."""
        numbers = parse_prefix(text)
        if len(numbers) != len(LEVEL_SIZES) - 1:
            raise ValueError(f"a leaf has three numbers, as 3.17.402, not {text!r}")
        return cls(*numbers)

    def __str__(self) -> str:
        return f"{self.category}.{self.subcategory}.{self.cluster}"


class SemanticId(NamedTuple):
    """A whole id. `str()` gives `c.s.k.i`."""

    category: int
    subcategory: int
    cluster: int
    instance: int

    @property
    def leaf(self) -> Leaf:
        return Leaf(self.category, self.subcategory, self.cluster)

    def packed(self) -> int:
        """The id as one 40-bit number; order is the order of paths."""
        return self.leaf.packed() << INSTANCE_BITS | self.instance

    @classmethod
    def of(cls, leaf: Leaf, instance: int) -> SemanticId:
        return cls(*leaf, instance)

    @classmethod
    def unpacked(cls, code: int) -> SemanticId:
        """The inverse of `packed`."""
        return cls(*Leaf.unpacked(code >> INSTANCE_BITS), code & (INSTANCES - 1))

    @classmethod
    def parse(cls, text: str) -> SemanticId:
        """Read `c.s.k.i`. Raises ValueError when a number is missing or out of its range."""
        numbers = parse_prefix(text)
        if len(numbers) != len(LEVEL_SIZES):
            raise ValueError(f"a semantic id has four numbers, as 3.17.402.8, not {text!r}")
        return cls(*numbers)

    def __str__(self) -> str:
        return f"{self.category}.{self.subcategory}.{self.cluster}.{self.instance}"


def parse_prefix(text: str) -> tuple[int, ...]:
    """Read one to four dot-separated numbers of an id. Raises ValueError when one is out of its range."""
    parts = text.split(".")
    if not 1 <= len(parts) <= len(LEVEL_SIZES) or not all(p.isascii() and p.isdigit() for p in parts):
        raise ValueError(f"an id prefix is one to four numbers with dots, as 3.17, not {text!r}")
    numbers = tuple(int(p) for p in parts)
    for number, size in zip(numbers, LEVEL_SIZES, strict=False):
        if number >= size:
            raise ValueError(f"{number} in {text!r} is too large: its level has {size} codes")
    return numbers
