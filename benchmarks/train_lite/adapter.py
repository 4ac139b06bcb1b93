"""Trains the adapter: a contrastive loss between drawings and their names in 16 languages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from benchmarks.train_lite.class_texts import centred_class_texts, first_class_names
from benchmarks.train_lite.names import LANGUAGES
from benchmarks.train_lite.prepared import SEED, Prepared
from benchmarks.train_lite.progress import tracked
from models.encoders.base import unit_rows
from models.encoders.lite_head import TEXT_DIMENSION, LiteHead, adapter_input
from models.encoders.lite_network import NetworkOutputs

STEPS = 700
BATCH = 256
HIDDEN = 768
BANK_ROWS = 2_000
_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 0.05
_NOISE = 0.5
_TAG_SHARE = 0.35
_SAME_TEXT = 0.95
_SCALE_START, _SCALE_CAP = 20.0, 60.0
_LANGUAGE_WEIGHTS = np.array([5.0 if language == "en" else 1.0 for language in LANGUAGES])


def train(prepared: Prepared, rows: Sequence[int], *, seed: int = SEED) -> LiteHead:
    """The head trained on the drawings `rows`; the same rows and seed give the same weights on one machine."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    outputs = _selected(prepared.outputs, rows)
    texts = _Texts(prepared, rows)
    inputs = adapter_input(outputs)
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-4
    network = _fit(torch.from_numpy((inputs - mean) / scale), texts, np.random.default_rng(seed))
    first, last = network[1], network[4]
    return LiteHead(
        text_mean=texts.mean,
        class_texts=centred_class_texts(texts.mean),
        bank=texts.bank(seed),
        input_mean=mean,
        input_scale=scale,
        hidden_weight=first.weight.detach().numpy(),
        hidden_bias=first.bias.detach().numpy(),
        output_weight=last.weight.detach().numpy(),
        output_bias=last.bias.detach().numpy(),
    )


class _Texts:
    """The centred texts of the drawings trained on, and a draw of one text for each."""

    def __init__(self, prepared: Prepared, rows: Sequence[int]) -> None:
        drawings = [prepared.drawings[row] for row in rows]
        self._names = sorted({drawing.name for drawing in drawings})
        english = np.stack([prepared.texts[name] for name in self._names])
        self._class_names = first_class_names()
        self.mean: NDArray[np.float32] = np.concatenate([english, self._class_names]).mean(axis=0)
        self._english = unit_rows(english - self.mean)
        self.name_index = np.array([self._names.index(drawing.name) for drawing in drawings])
        # Column 0 is the tags where there are any, the others the languages; English stands in for what is missing.
        table = [
            [drawing.tags or drawing.name, *(drawing.names.get(code, drawing.name) for code in LANGUAGES)]
            for drawing in drawings
        ]
        flat = np.stack([prepared.texts[text] for texts in table for text in texts])
        self._table = unit_rows(flat - self.mean).reshape(len(drawings), len(LANGUAGES) + 1, TEXT_DIMENSION)

    def draw(self, chosen: NDArray[np.int64], random: np.random.Generator) -> torch.Tensor:
        """(batch, 512): tags with .35, else the name in a random language, English five times as often."""
        shares = _LANGUAGE_WEIGHTS / _LANGUAGE_WEIGHTS.sum()
        columns = 1 + random.choice(len(LANGUAGES), len(chosen), p=shares)
        columns[random.random(len(chosen)) < _TAG_SHARE] = 0
        return torch.from_numpy(self._table[chosen, columns])

    def bank(self, seed: int) -> NDArray[np.float32]:
        """A fixed draw of names and class names, against which hubs are measured."""
        everything = np.concatenate([self._english, unit_rows(self._class_names - self.mean)])
        count = min(BANK_ROWS, len(everything))
        chosen = np.random.default_rng(seed).choice(len(everything), count, replace=False)
        return everything[np.sort(chosen)]


def _fit(inputs: torch.Tensor, texts: _Texts, random: np.random.Generator) -> torch.nn.Sequential:
    network = torch.nn.Sequential(
        torch.nn.Dropout(0.1),
        torch.nn.Linear(inputs.shape[1], HIDDEN),
        torch.nn.GELU(approximate="tanh"),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(HIDDEN, TEXT_DIMENSION),
    )
    scale = torch.nn.Parameter(torch.tensor(_SCALE_START).log())
    optimiser = torch.optim.AdamW(
        [*network.parameters(), scale], lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=STEPS)
    for _ in tracked(range(STEPS), total=STEPS, label="training"):
        chosen = random.choice(len(inputs), BATCH, replace=False)
        noisy = inputs[chosen] + _NOISE * torch.randn(BATCH, inputs.shape[1])
        drawn = texts.draw(chosen, random)
        loss = _contrast(
            functional.normalize(network(noisy)),
            drawn,
            same=torch.from_numpy(texts.name_index[chosen]),
            scale=scale.exp().clamp(max=_SCALE_CAP),
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def _contrast(
    pictures: torch.Tensor, texts: torch.Tensor, *, same: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Symmetric InfoNCE; pairs of one name, and of texts that say the same, share the target."""
    alike = (same[:, None] == same[None, :]) | (texts @ texts.T > _SAME_TEXT)
    target = alike.float() / alike.float().sum(dim=1, keepdim=True)
    logits = scale * pictures @ texts.T
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def _selected(outputs: NetworkOutputs, rows: Sequence[int]) -> NetworkOutputs:
    chosen = np.asarray(rows)
    return NetworkOutputs(outputs.features[chosen], outputs.logits[chosen], outputs.middle[chosen])
