"""The documents of leaves, compiled: which leaves one stands in, and how those of some leaves score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from state.compiled import Scalar, compiled, observe
from state.lists import COUNT_BITS, COUNT_MASK, Arrays, append, find, has_room, remove_at
from state.vector_rows import QueryArrays, RowArrays, score_slots

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]

ORTHOGONALITY = np.float32(1.0)
"""Weight (lambda) of the residual's parallel part in the choice of the second leaf."""


@compiled
def choose_second(
    centroids: NDArray[np.int8],
    centroid_steps: Floats,
    numbers: Numbers,
    near: Numbers,
    geometry: Floats,
    counts: Numbers,
    vectors: Floats,
    seconds: Numbers,
) -> None:
    """Of leaves near x the c' with the least |x-c'|² + lambda (r·(x-c'))² / |r|², r = x - c from the first leaf c.

    near, geometry: leaves (n, k) and x·c' - |c'|²/2; counts (n,) of them. vectors: x, (n, d). |x|², the same for
    all c', is left out of what is compared. A first leaf without a centroid counts as one at 0.
    """
    residual = np.empty(vectors.shape[1], dtype=np.float32)
    for i in range(len(numbers)):
        own, step = numbers[i], centroid_steps[numbers[i]]
        if np.isnan(step):
            step = np.float32(0.0)
        square, along = np.float32(1e-9), np.float32(0.0)
        for j in range(len(residual)):
            residual[j] = vectors[i, j] - step * centroids[own, j]
            square += residual[j] * residual[j]
            along += residual[j] * vectors[i, j]
        best, seconds[i] = np.float32(np.inf), -1
        for k in range(counts[i]):
            other = near[i, k]
            if other == own:
                continue
            to_other = np.float32(0.0)
            for j in range(len(residual)):
                to_other += residual[j] * np.float32(centroids[other, j])
            parallel = along - centroid_steps[other] * to_other
            loss = ORTHOGONALITY * parallel * parallel / square - 2 * geometry[i, k]
            if loss < best:
                best, seconds[i] = loss, other


@compiled
def post(
    postings: Arrays,
    slots: Numbers,
    firsts: Numbers,
    seconds: Numbers,
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    sizes: Numbers,
    came: Numbers,
    leaving: NDArray[np.int64],
    start: Scalar,
) -> tuple[Scalar, Scalar, Scalar]:
    """Post slots where they belong, while there is room.

    Returns where it stopped, how many lists got a first entry (`came`), and how many old postings are to be
    taken out (`leaving`, as list and entry).
    """
    came_in, left = 0, 0
    for i in range(start, len(slots)):
        if not has_room(postings, 2):
            return i, came_in, left
        slot = slots[i]
        for copy in range(2):
            new = firsts[i] if copy == 0 else seconds[i]
            old = np.int64(first[slot]) if copy == 0 else np.int64(second[slot])
            if new == old:
                continue
            entry = slot << 1 | copy
            if new >= 0 and (old < 0 or find(postings, new, entry, 0) < 0):
                if postings.extents[new] & COUNT_MASK == 0:
                    came[came_in] = new
                    came_in += 1
                append(postings, new, entry)
            if old >= 0:
                leaving[left, 0], leaving[left, 1] = old, entry
                left += 1
            if copy == 0:
                first[slot] = new
                if new >= 0:
                    sizes[new] += 1
                if old >= 0:
                    sizes[old] -= 1
            else:
                second[slot] = new
    return len(slots), came_in, left


@compiled
def take_out(postings: Arrays, number: Scalar, entry: Scalar) -> None:
    position = find(postings, number, entry, 0)
    if position >= 0:
        remove_at(postings, number, position)


@compiled
def scan(
    extents: Numbers,
    pool: Numbers,
    numbers: Numbers,
    leaves: Scalar,
    rows: RowArrays,
    query: QueryArrays,
    allowed: Mask,
    seen: NDArray[np.uint8],
    members: Scalar,
    slots: Numbers,
    scores: Floats,
) -> tuple[Scalar, Scalar, Scalar]:
    """Score the documents of leaves into a heap of the best: (how many are in it, documents, leaves)."""
    members_found, opened = 0, 0
    held, total = np.empty(leaves, dtype=np.int64), 0
    for i in range(leaves):
        held[i] = observe(extents, numbers[i]) if numbers[i] < len(extents) else np.int64(0)
        total += held[i] & COUNT_MASK
    waiting = np.empty(total, dtype=np.int64)
    while opened < leaves and members_found < members:
        offset = held[opened] >> COUNT_BITS
        for i in range(offset, offset + (held[opened] & COUNT_MASK)):
            slot = pool[i] >> 1
            if slot >= 8 * len(seen) or seen[slot >> 3] >> (slot & 7) & 1:
                continue
            seen[slot >> 3] |= np.uint8(1 << (slot & 7))
            if len(allowed) == 0 or (slot < len(allowed) and allowed[slot]):
                waiting[members_found] = slot
                members_found += 1
        opened += 1
    seen[:] = 0
    # All at once: a call for each leaf would cost as much as its documents.
    values = np.empty(members_found, dtype=np.float32)
    score_slots(rows, query, waiting, values, members_found)
    found, scored = 0, 0
    for i in range(members_found):
        if not np.isnan(values[i]):
            scored += 1
            if found < len(slots) or values[i] > scores[0]:
                found = keep_best(slots, scores, found, waiting[i], values[i])
    return found, scored, opened


@compiled
def share_in_leaf(
    extents: Numbers,
    pool: Numbers,
    first: NDArray[np.int32],
    numbers: Numbers,
    slots: Numbers,
    rows: RowArrays,
    query: QueryArrays,
    shares: Floats,
) -> None:
    """Softmax of the scores of those whose id is in leaf `numbers[i]`, at `slots[i]`, into `shares`."""
    for i in range(len(slots)):
        shares[i] = 0.0
        held = np.int64(0)
        if 0 <= numbers[i] < len(extents):
            held = observe(extents, numbers[i])
        offset, count = held >> COUNT_BITS, 0
        members = np.empty(held & COUNT_MASK, dtype=np.int64)
        for j in range(offset, offset + len(members)):
            slot = pool[j] >> 1
            if pool[j] & 1 == 0 and slot < len(first) and first[slot] == numbers[i]:
                members[count] = slot
                count += 1
        scores = np.empty(count, dtype=np.float32)
        score_slots(rows, query, members, scores, count)
        best = np.float32(-np.inf)
        for j in range(count):
            if not np.isnan(scores[j]):
                best = max(best, scores[j])
        total = np.float32(0.0)
        for j in range(count):
            weight = np.float32(0.0) if np.isnan(scores[j]) else np.exp(scores[j] - best)
            total += weight
            if members[j] == slots[i]:
                shares[i] = weight
        if total > 0:
            shares[i] /= total


@compiled
def keep_best(slots: Numbers, scores: Floats, found: Scalar, slot: Scalar, score: Scalar) -> Scalar:
    """Put into a heap whose first is the worst, in place of it when full; returns how many are in it."""
    if found == len(slots):
        if score <= scores[0]:
            return found
        at = 0
        while True:
            child = 2 * at + 1
            if child >= found:
                break
            if child + 1 < found and scores[child + 1] < scores[child]:
                child += 1
            if scores[child] >= score:
                break
            slots[at], scores[at] = slots[child], scores[child]
            at = child
        slots[at], scores[at] = slot, score
        return found
    at = found
    while at > 0 and scores[(at - 1) // 2] > score:
        slots[at], scores[at] = slots[(at - 1) // 2], scores[(at - 1) // 2]
        at = (at - 1) // 2
    slots[at], scores[at] = slot, score
    return found + 1
