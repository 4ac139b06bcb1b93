"""The beam over the tree of meanings, compiled: nodes are scored below live parents only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.compiled import Scalar, compiled, inlined, observe
from state.lists import COUNT_BITS, COUNT_MASK
from state.trie import VALUE_BITS, VALUE_MASK, TrieArrays, child
from state.vector_rows import product, quantise

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

LEAF_LEVELS = 3


class LevelArrays(NamedTuple):
    """Nodes of one level by number: category, packed subcategory, number of the leaf."""

    centroids: NDArray[np.int8]
    steps: Floats
    """NaN where there is no centroid."""
    biases: Floats
    """Half the squared length: subtracted, an inner product orders by distance."""
    embeddings: Floats
    """Of the decoder, (nodes, h); h is 0 without one."""
    offsets: Floats
    """Of the decoder; NaN for nodes born after its training."""


class Tree(NamedTuple):
    """What the compiled functions work on."""

    categories: LevelArrays
    subcategories: LevelArrays
    leaves: LevelArrays


SHARPNESS = 20.0
"""Inner products times this are the logits of geometry: its spread among siblings is a few hundredths."""


class Learned(NamedTuple):
    """A decoder's view of queries: heads (n, levels, h), the weight of its log-probabilities, and by what inner
    products are multiplied to be the logits of nodes that it does not know."""

    heads: Floats
    weight: float
    sharpness: float = SHARPNESS


@compiled
def put_centroids(level: LevelArrays, numbers: Numbers, centroids: Floats) -> None:
    fine = np.empty(centroids.shape[1], dtype=np.int8)
    for i in range(len(numbers)):
        square = np.float32(0.0)
        for value in centroids[i]:
            square += value * value
        level.biases[numbers[i]] = square / np.float32(2.0)
        step = quantise(centroids[i], level.centroids[numbers[i]], fine)
        level.steps[numbers[i]] = step


@inlined
def _geometry(
    level: LevelArrays, number: Scalar, whole: NDArray[np.int16], query: Scalar, step: Scalar, bias: Scalar
) -> Scalar:
    """NaN where there is no centroid."""
    found = level.steps[number] * step * product(level.centroids, number, whole, query)
    return found - bias * level.biases[number]


@inlined
def _logit(level: LevelArrays, number: Scalar, head: Floats) -> Scalar:
    """NaN where the decoder knows nothing."""
    total = level.offsets[number]
    for j in range(len(head)):
        total += level.embeddings[number, j] * head[j]
    return total


@compiled
def _to_log_probabilities(logits: Floats, geometry: Floats, sharpness: Scalar, count: Scalar) -> None:
    """Log-softmax over siblings, in place. One that is younger than the decoder (NaN) takes its share by geometry,
    the others share what is left."""
    known, all_of_them = np.float32(-np.inf), np.float32(-np.inf)
    for i in range(count):
        if not np.isnan(logits[i]):
            known = max(known, logits[i])
        all_of_them = max(all_of_them, geometry[i])
    of_logits, of_geometry, younger = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for i in range(count):
        share = np.exp(sharpness * (geometry[i] - all_of_them))
        of_geometry += share
        if np.isnan(logits[i]):
            younger += share
        else:
            of_logits += np.exp(logits[i] - known)
    left = np.log(max(np.float32(1.0) - younger / of_geometry, np.float32(1e-30)))
    for i in range(count):
        if np.isnan(logits[i]):
            logits[i] = sharpness * (geometry[i] - all_of_them) - np.log(of_geometry)
        else:
            logits[i] = left + logits[i] - known - np.log(of_logits)


@compiled
def _children(
    extents: Numbers,
    pool: Numbers,
    node: Scalar,
    path: Scalar,
    shift: Scalar,
    is_leaf: Scalar,
    level: LevelArrays,
    above: Scalar,
    whole: NDArray[np.int16],
    query: Scalar,
    step: Scalar,
    bias: Scalar,
    head: Floats,
    sharpness: Scalar,
    entries: Numbers,
    geometry: Floats,
    learned: Floats,
) -> Scalar:
    """Score the children of one node into `entries`, `geometry` and `learned`; returns how many there are."""
    extent = observe(extents, node)
    offset, count = extent >> COUNT_BITS, min(extent & COUNT_MASK, len(entries))
    for i in range(count):
        entry = pool[offset + i]
        entries[i] = entry
        number = entry & VALUE_MASK if is_leaf else path << shift | entry >> VALUE_BITS
        if number >= len(level.steps):  # younger than this view of the tree
            geometry[i], learned[i] = above, np.nan
            continue
        found = _geometry(level, number, whole, query, step, bias)
        geometry[i] = above if np.isnan(found) else found
        learned[i] = _logit(level, number, head) if len(head) else np.float32(0.0)
    if len(head):
        _to_log_probabilities(learned, geometry, sharpness, count)
    return count


@compiled
def leaf_log_probabilities(
    trie: TrieArrays,
    leaves: Numbers,
    tree: Tree,
    whole: NDArray[np.int16],
    step: Scalar,
    heads: Floats,
    sharpness: Scalar,
    logs: Floats,
) -> None:
    """The log-probability of each code of each leaf among its siblings, into `logs`."""
    for i in range(len(leaves)):
        logs[i, :] = -np.inf
        node = 0
        for level in range(LEAF_LEVELS):
            if node < 0:
                break
            path = leaves[i, 0] if level == 1 else 0
            logs[i, level] = _among_siblings(
                trie, node, path, leaves[i, level], level, tree[level], whole, step, heads, sharpness
            )
            if level < LEAF_LEVELS - 1:
                node = child(trie, node, leaves[i, level])


@compiled
def _among_siblings(
    trie: TrieArrays,
    node: Scalar,
    path: Scalar,
    code: Scalar,
    level: Scalar,
    nodes: LevelArrays,
    whole: NDArray[np.int16],
    step: Scalar,
    heads: Floats,
    sharpness: Scalar,
) -> Scalar:
    """The log-probability of one child of `node`; -inf when it is not there."""
    entries = np.empty(4096, dtype=np.int64)
    geometry, learned = np.empty(4096, dtype=np.float32), np.empty(4096, dtype=np.float32)
    head = heads[0, level] if len(heads) else np.empty(0, dtype=np.float32)
    count = _children(
        trie.children.extents, trie.children.pool, node, path, 8, level == LEAF_LEVELS - 1, nodes, np.float32(0),
        whole, 0, step, np.float32(0), head, sharpness, entries, geometry, learned,
    )  # fmt: skip
    if len(head) == 0:
        learned[:count] = np.nan
        _to_log_probabilities(learned, geometry, sharpness, count)
    for i in range(count):
        if entries[i] >> VALUE_BITS == code:
            return learned[i]
    return np.float32(-np.inf)


@inlined
def _may(mask: NDArray[np.bool_], number: Scalar) -> Scalar:
    """An empty mask lets all through; what is younger than a mask is not let through."""
    return len(mask) == 0 or (number < len(mask) and mask[number])


@compiled
def route(
    extents: Numbers,
    pool: Numbers,
    tree: Tree,
    whole: NDArray[np.int16],
    steps: Floats,
    bias: Scalar,
    heads: Floats,
    weight: Scalar,
    sharpness: Scalar,
    beam: Scalar,
    may_open: NDArray[np.bool_],
    may_enter: NDArray[np.bool_],
    numbers: Numbers,
    leaves: Numbers,
    geometry: Floats,
    learned: Floats,
    counts: Numbers,
) -> None:
    entries = np.empty(4096, dtype=np.int64)
    found, logs = np.empty(4096, dtype=np.float32), np.empty(4096, dtype=np.float32)
    top = np.empty(16, dtype=np.int64)
    top_found, top_logs = np.empty(16, dtype=np.float32), np.empty(16, dtype=np.float32)
    branches, branch_paths = np.empty(beam, dtype=np.int64), np.empty(beam, dtype=np.int64)
    branch_found, branch_logs = np.empty(beam, dtype=np.float32), np.empty(beam, dtype=np.float32)
    branch_scores = np.empty(beam, dtype=np.float32)
    none = np.empty(0, dtype=np.float32)
    k = numbers.shape[1]
    scores = np.empty(k, dtype=np.float32)
    for i in range(len(whole)):
        step = steps[i]
        above = np.float32(0.0)
        head = heads[i, 0] if len(heads) else none
        categories = _children(
            extents, pool, 0, 0, 0, False, tree.categories, above, whole, i, step, bias, head, sharpness,
            top, top_found, top_logs,
        )  # fmt: skip
        kept = 0
        head = heads[i, 1] if len(heads) else none
        for c in range(categories):
            category = top[c] >> VALUE_BITS
            node = top[c] & VALUE_MASK
            count = _children(
                extents, pool, node, category, 8, False, tree.subcategories, top_found[c],
                whole, i, step, bias, head, sharpness, entries, found, logs,
            )  # fmt: skip
            for j in range(count):
                if not _may(may_enter, category << 8 | entries[j] >> VALUE_BITS):
                    continue
                log = top_logs[c] + logs[j]
                score = found[j] + weight * log
                if kept == beam and score <= branch_scores[beam - 1]:
                    continue
                place = min(kept, beam - 1)
                kept = min(kept + 1, beam)
                while place > 0 and score > branch_scores[place - 1]:
                    branches[place], branch_paths[place] = branches[place - 1], branch_paths[place - 1]
                    branch_found[place], branch_logs[place] = branch_found[place - 1], branch_logs[place - 1]
                    branch_scores[place] = branch_scores[place - 1]
                    place -= 1
                branches[place] = entries[j] & VALUE_MASK
                branch_paths[place] = category << 8 | entries[j] >> VALUE_BITS
                branch_found[place], branch_logs[place], branch_scores[place] = found[j], log, score
        head = heads[i, 2] if len(heads) else none
        total = 0
        for b in range(kept):
            count = _children(
                extents, pool, branches[b], 0, 0, True, tree.leaves, branch_found[b],
                whole, i, step, bias, head, sharpness, entries, found, logs,
            )  # fmt: skip
            for j in range(count):
                if not _may(may_open, entries[j] & VALUE_MASK):
                    continue
                log = branch_logs[b] + logs[j]
                score = found[j] + weight * log
                if total == k and score <= scores[k - 1]:
                    continue
                place = min(total, k - 1)
                total = min(total + 1, k)
                while place > 0 and score > scores[place - 1]:
                    numbers[i, place], leaves[i, place] = numbers[i, place - 1], leaves[i, place - 1]
                    geometry[i, place], learned[i, place] = geometry[i, place - 1], learned[i, place - 1]
                    scores[place] = scores[place - 1]
                    place -= 1
                numbers[i, place] = entries[j] & VALUE_MASK
                leaves[i, place] = branch_paths[b] << 12 | entries[j] >> VALUE_BITS
                geometry[i, place], learned[i, place], scores[place] = found[j], log, score
        counts[i] = total
