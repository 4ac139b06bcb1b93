"""Generate ids with any model of transformers, under a trie that changes between two calls.

    python examples/library/generate_live_ids.py

The model here is a tiny T5 with random weights: it knows nothing, and yet cannot say an id that does not exist.
"""

import numpy as np
import torch
from transformers import LogitsProcessorList, T5Config, T5ForConditionalGeneration

from state.beam import decode
from state.trie import LiveTrie
from trieflow.generation import LiveTrieLogitsProcessor

LEVELS = (16, 64, 256)
PAD, END = 0, 1
FIRST_TOKENS = (2, 2 + 16, 2 + 16 + 64)
VOCABULARY = 2 + sum(LEVELS)


def tiny_model() -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY, d_model=32, d_ff=64, d_kv=16, num_layers=1, num_heads=2,
        pad_token_id=PAD, eos_token_id=END, decoder_start_token_id=PAD,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def generate(model: T5ForConditionalGeneration, trie: LiveTrie, *, beams: int) -> list[tuple[int, ...]]:
    processor = LiveTrieLogitsProcessor(trie, first_tokens=FIRST_TOKENS, end_token=END)
    query = torch.tensor([[5, 9, 12, END]])
    tokens = model.generate(
        query, num_beams=beams, num_return_sequences=beams, max_new_tokens=len(LEVELS) + 1,
        logits_processor=LogitsProcessorList([processor]),
    )  # fmt: skip
    rows = tokens[:, 1 : 1 + len(LEVELS)].numpy() - np.array(FIRST_TOKENS)
    return [tuple(row) for row in rows.tolist()]


def main() -> None:
    random = np.random.default_rng(0)
    trie = LiveTrie(LEVELS)
    trie.insert(np.stack([random.integers(0, size, 1_000) for size in LEVELS], axis=1))
    model = tiny_model()

    best = generate(model, trie, beams=4)
    print(f"{len(trie)} ids; generated {best}")
    assert all(each in trie for each in best)

    trie.delete(np.array(best))
    again = generate(model, trie, beams=4)
    print(f"these were deleted; generated {again}")
    assert not set(best) & set(again)

    trie.insert(np.array(best[0]))
    assert best[0] in generate(model, trie, beams=4)
    print(f"{best[0]} was inserted again, and is generated again")

    # Without a model: log-probabilities in, ids out, all levels in one compiled call.
    tables = [np.log(random.dirichlet(np.ones(size), size=2)).astype(np.float32) for size in LEVELS]
    found = decode(trie, tables, beam=3)
    print(f"two queries by arrays alone: {found.codes.tolist()}")


if __name__ == "__main__":
    main()
