"""The live trie under `generate` of a real transformers model, and the programs that the documentation shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, LogitsProcessorList, T5Config, T5ForConditionalGeneration

from state.trie import LiveTrie
from trieflow.generation import LiveTrieLogitsProcessor

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
LEVELS, FIRST_TOKENS, END = (4, 5, 6), (2, 6, 11), 1


@pytest.fixture(scope="module")
def model() -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=17, d_model=16, d_ff=32, d_kv=8, num_layers=1, num_heads=2,
        pad_token_id=0, eos_token_id=END, decoder_start_token_id=0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def generated(model: T5ForConditionalGeneration, trie: LiveTrie, **options: object) -> list[tuple[int, ...]]:
    processor = LiveTrieLogitsProcessor(trie, first_tokens=FIRST_TOKENS, end_token=END)
    tokens = model.generate(
        torch.tensor([[3, 7, END]]),
        generation_config=GenerationConfig(
            max_new_tokens=4, decoder_start_token_id=0, pad_token_id=0, eos_token_id=END, **options
        ),
        logits_processor=LogitsProcessorList([processor]),
    )
    return [tuple(row) for row in (tokens[:, 1:4].numpy() - np.array(FIRST_TOKENS)).tolist()]


def trie_of(count: int) -> LiveTrie:
    random = np.random.default_rng(0)
    trie = LiveTrie(LEVELS)
    trie.insert(np.stack([random.integers(0, size, count) for size in LEVELS], axis=1))
    return trie


@pytest.mark.parametrize(
    "options", [{"num_beams": 4, "num_return_sequences": 4}, {"do_sample": True, "num_return_sequences": 20}]
)
def test_whatever_is_generated_is_a_live_id(
    model: T5ForConditionalGeneration, options: dict[str, object]
) -> None:
    trie = trie_of(30)
    found = generated(model, trie, **options)
    assert found
    assert all(each in trie for each in found)


def test_beams_find_every_id_when_there_are_as_many(model: T5ForConditionalGeneration) -> None:
    trie = trie_of(6)
    found = generated(model, trie, num_beams=len(trie) + 2, num_return_sequences=len(trie))
    assert {each for each in found if each in trie} == {tuple(row) for row in trie.items()[0].tolist()}


def test_an_id_comes_and_goes_between_two_calls(model: T5ForConditionalGeneration) -> None:
    trie = trie_of(30)
    best = generated(model, trie, num_beams=3)[0]
    trie.delete(np.array(best))
    assert generated(model, trie, num_beams=3)[0] != best
    trie.insert(np.array(best))
    assert generated(model, trie, num_beams=3)[0] == best


def test_a_path_whose_last_id_was_deleted_on_the_way_can_only_end(model: T5ForConditionalGeneration) -> None:
    trie = LiveTrie(LEVELS)
    trie.insert(np.array([1, 2, 3]))
    processor = LiveTrieLogitsProcessor(trie, first_tokens=FIRST_TOKENS, end_token=END)
    trie.delete(np.array([1, 2, 3]))
    scores = processor(torch.tensor([[0, 3, 8]]), torch.zeros(1, 17))
    assert torch.isfinite(scores).nonzero().tolist() == [[0, END]]


def test_a_trie_of_another_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="3 levels"):
        LiveTrieLogitsProcessor(trie_of(3), first_tokens=(2, 6), end_token=END)


@pytest.mark.parametrize("program", ["examples/library/generate_live_ids.py", "docs/how-to/live-trie.md"])
def test_what_the_documentation_shows_runs(program: str, tmp_path: Path) -> None:
    path = ROOT / program
    if path.suffix == ".md":
        shown = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        path = tmp_path / "shown.py"
        path.write_text("\n".join(shown), encoding="utf-8")
    subprocess.run(
        [sys.executable, str(path)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=True, timeout=120
    )
