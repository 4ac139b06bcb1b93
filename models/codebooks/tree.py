"""The tree of meanings of one epoch: its leaves, found by a vector, changed by applying changes, kept as bytes.

A `Codebook` never changes. It is a row of subcategories; `apply` builds a new one that shares all but those it
touches, so that a split in a tree of 31,000 leaves copies a quarter of a megabyte and not sixty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import faiss
import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from models.codebooks.arrays import Codes, Vectors
from models.codebooks.grouped_search import FLAT_UP_TO, Group, GroupedSearch
from streams.errors import ModelError
from streams.semantic_id import CLUSTER_BITS, Leaf

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class LeafChange:
    """One leaf was born, moved its centroid, or is gone.

    leaf: packed code. centroid: (d,), or None when the leaf is gone for good; it is rounded to 16-bit floats, as
    the log carries it, so that who decides and who reads have equal trees. born_from: the leaf it was cut from.
    """

    leaf: int
    centroid: Vectors | None
    born_from: int | None = None

    def __post_init__(self) -> None:
        if self.centroid is not None:
            rounded = np.asarray(self.centroid).astype(np.float16).astype(np.float32)
            object.__setattr__(self, "centroid", _frozen(rounded))


@dataclass(frozen=True, eq=False)
class Subcategory:
    """The leaves below one prefix. leaves: (m,) packed codes, ascending; centroids: (m, d), in that order."""

    prefix: int
    leaves: Codes
    centroids: Vectors

    @cached_property
    def mean(self) -> Vectors:
        """The mean of its leaves' centroids, (d,)."""
        mean: Vectors = self.centroids.mean(axis=0)
        return mean

    def with_changes(self, centroids: Mapping[int, Vectors | None]) -> Subcategory:
        """The same with some leaves put in or replaced, or taken out where the centroid is None."""
        there = np.fromiter((leaf in centroids for leaf in self.leaves.tolist()), dtype=np.bool_)
        put = {leaf: centroid for leaf, centroid in centroids.items() if centroid is not None}
        if np.count_nonzero(there) == len(put) == len(centroids):
            rows = self.centroids.copy()
            rows[there] = [put[leaf] for leaf in self.leaves[there].tolist()]
            return Subcategory(self.prefix, self.leaves, _frozen(rows))
        leaves = np.concatenate([self.leaves[~there], np.array(list(put), dtype=np.int64)])
        rows = np.concatenate([self.centroids[~there], *(centroid[None] for centroid in put.values())])
        order = np.argsort(leaves)
        return Subcategory(self.prefix, _frozen(leaves[order]), _frozen(rows[order]))


@dataclass(frozen=True, eq=False)
class Codebook:
    """A fitted tree of one epoch.

    stamp: the encoder whose vectors it was fitted on; fitted_on: how many. subcategories: by prefix, ascending,
    none empty. gone: packed codes of leaves that were given up; a code is not used twice in an epoch.
    """

    epoch: int
    stamp: str
    fitted_on: int
    subcategories: tuple[Subcategory, ...]
    gone: frozenset[int] = field(default=frozenset())

    @classmethod
    def of(
        cls,
        leaves: Codes,
        centroids: Vectors,
        *,
        epoch: int,
        stamp: str,
        fitted_on: int,
        gone: Iterable[int] = (),
    ) -> Codebook:
        """A tree of packed leaf codes (L,) in any order and centroids (L, d). Raises ModelError: no leaves."""
        if len(leaves) == 0 or len(np.unique(leaves)) != len(leaves) or len(leaves) != len(centroids):
            raise ModelError("a tree needs leaves, each of its own code and with one centroid")
        order = np.argsort(leaves)
        leaves = _frozen(leaves[order].astype(np.int64))
        centroids = _frozen(np.ascontiguousarray(centroids[order], dtype=np.float32))
        prefixes, first = np.unique(leaves >> CLUSTER_BITS, return_index=True)
        last = [*first[1:].tolist(), len(leaves)]
        subcategories = tuple(
            Subcategory(prefix, leaves[a:b], centroids[a:b])
            for prefix, a, b in zip(prefixes.tolist(), first.tolist(), last, strict=True)
        )
        book = cls(epoch, stamp, fitted_on, subcategories, frozenset(gone))
        vars(book)["centroids"] = centroids  # what the parts are views of: never copy it
        return book

    @cached_property
    def leaves(self) -> Codes:
        """Packed 24-bit leaf codes, (L,), ascending."""
        return _frozen(np.concatenate([below.leaves for below in self.subcategories]))

    @cached_property
    def centroids(self) -> Vectors:
        """Centroids of the leaves, (L, d), in the order of `leaves`. After changes the first use copies them."""
        return _frozen(np.concatenate([below.centroids for below in self.subcategories]))

    @property
    def dimension(self) -> int:
        return int(self.subcategories[0].centroids.shape[1])

    def __len__(self) -> int:
        """How many leaves there are."""
        return self._first[-1]

    def __contains__(self, leaf: int) -> bool:
        """Whether the leaf of this packed code is there."""
        return self.centroid(leaf) is not None

    def centroid(self, leaf: int) -> Vectors | None:
        """The centroid (d,) of a packed leaf code, None when there is no such leaf."""
        below = self._by_prefix.get(leaf >> CLUSTER_BITS)
        if below is None:
            return None
        row = int(np.searchsorted(below.leaves, leaf))
        there = row < len(below.leaves) and below.leaves[row] == leaf
        return below.centroids[row] if there else None

    def apply(self, changes: Sequence[LeafChange]) -> Codebook:
        """The tree after these changes, in order. This one stays as it is; what is not touched is shared.

        Raises ModelError: a leaf that is gone comes back, a centroid of another dimension, no leaf is left.
        """
        gone = set(self.gone)
        touched: dict[int, dict[int, Vectors | None]] = {}
        for change in changes:
            if change.centroid is None:
                gone.add(change.leaf)
            elif change.leaf in gone:
                raise ModelError(
                    f"leaf {Leaf.unpacked(change.leaf)} was given up: its code is not used again"
                )
            elif change.centroid.shape != (self.dimension,):
                raise ModelError(f"a centroid has shape {change.centroid.shape}, not ({self.dimension},)")
            touched.setdefault(change.leaf >> CLUSTER_BITS, {})[change.leaf] = change.centroid
        parts = dict(self._by_prefix)
        for prefix, centroids in touched.items():
            parts[prefix] = parts.get(prefix, self._empty(prefix)).with_changes(centroids)
        kept = tuple(parts[prefix] for prefix in sorted(parts) if len(parts[prefix].leaves))
        if not kept:
            raise ModelError("these changes leave no leaf")
        return Codebook(self.epoch, self.stamp, self.fitted_on, kept, frozenset(gone))

    def nearest(self, vectors: Vectors, k: int) -> tuple[Codes, Vectors]:
        """The k nearest leaves of each vector, best first: packed codes and squared distances, both (n, k).

        All leaves are looked at up to `FLAT_UP_TO` of them; beyond, those of the nearest subcategories alone
        (figures: docs/adr/0008). k is cut to the number of leaves.
        """
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        k = min(k, len(self))
        if len(self) <= FLAT_UP_TO or self._search.fewest < k:
            distances, rows = faiss.knn(vectors, self.centroids, k)
            return self.leaves[rows], distances
        return self._search.nearest(vectors, k)

    def level(self, bits_below: int) -> tuple[Codes, Vectors]:
        """The nodes of one level: packed prefixes (m,), ascending, and the mean of their leaves (m, d).

        `bits_below` is what a prefix drops of the leaf code: 20 gives categories, 12 subcategories, 0 leaves.
        """
        prefixes, first = np.unique(self.leaves >> bits_below, return_index=True)
        counts = np.diff(np.append(first, len(self.leaves)))
        sums = np.add.reduceat(self.centroids, first, axis=0)
        return prefixes, (sums / counts[:, None]).astype(np.float32)

    def to_bytes(self) -> bytes:
        """The codebook as safetensors. Centroids are rounded to 16 bits, as changes of leaves are everywhere."""
        gone = np.array(sorted(self.gone), dtype=np.int64)
        arrays = {"leaves": self.leaves, "centroids": self.centroids.astype(np.float16), "gone": gone}
        metadata = {"epoch": str(self.epoch), "stamp": self.stamp, "fitted_on": str(self.fitted_on)}
        data: bytes = safetensors.save(arrays, metadata=metadata)
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Codebook:
        """The tree that `to_bytes` wrote. Raises ModelError when the bytes are damaged."""
        try:
            arrays = safetensors.load(data)
            header = _metadata(data)
            return cls.of(
                arrays["leaves"],
                arrays["centroids"],
                epoch=int(header["epoch"]),
                stamp=header["stamp"],
                fitted_on=int(header["fitted_on"]),
                gone=arrays["gone"].tolist() if "gone" in arrays else (),
            )
        except (SafetensorError, KeyError, ValueError) as error:
            raise ModelError(f"a codebook is damaged: {error}") from error

    @cached_property
    def _by_prefix(self) -> Mapping[int, Subcategory]:
        return {below.prefix: below for below in self.subcategories}

    @cached_property
    def _first(self) -> list[int]:
        """Where each subcategory starts among the leaves, and at last their number."""
        return [0, *np.cumsum([len(below.leaves) for below in self.subcategories]).tolist()]

    @cached_property
    def _search(self) -> GroupedSearch:
        groups = [Group(below.leaves, below.centroids) for below in self.subcategories]
        return GroupedSearch(groups, np.stack([below.mean for below in self.subcategories]))

    def _empty(self, prefix: int) -> Subcategory:
        none = np.empty((0, self.dimension), dtype=np.float32)
        return Subcategory(prefix, np.empty(0, dtype=np.int64), none)


def _frozen(array: NDArray[Number]) -> NDArray[Number]:
    array.flags.writeable = False
    return array


def _metadata(data: bytes) -> dict[str, str]:
    # The header is JSON behind its length (8 bytes, little endian); the library reads it from files only.
    length = int.from_bytes(data[:8], "little")
    found: dict[str, str] = orjson.loads(data[8 : 8 + length])["__metadata__"]
    return found
