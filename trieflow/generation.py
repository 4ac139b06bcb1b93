"""The live trie for anybody's generative retriever: a logits processor for transformers' `generate`.

The ids that a model can generate are those in the trie at that moment: an id that was inserted a moment ago can
come out of the next step, one that was deleted cannot. Works with beam search and sampling, on any device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from state.trie import LiveTrie

if TYPE_CHECKING:
    import torch

Numbers = NDArray[np.int64]


class LiveTrieLogitsProcessor:
    """Sets the score of every token to -inf that continues to no live id.

    trie: ids as rows of codes. first_tokens: for each level, the token of its code 0; code c is that token + c.
    end_token: what must follow a whole id; also all that may follow a path whose last id was deleted meanwhile,
    which then is no id of the trie: check what comes out by `in trie`. prompt: tokens at the beginning of each row
    that are no part of the id (1, the start token, for encoder-decoder models; the prompt's length for others).

    Compare transformers' `PrefixConstrainedLogitsProcessor`, which calls Python for each beam and every step
    (GENRE, De Cao et al., ICLR 2021). Raises ValueError when the trie and `first_tokens` differ in depth.
    """

    def __init__(
        self, trie: LiveTrie, *, first_tokens: Sequence[int], end_token: int, prompt: int = 1
    ) -> None:
        if len(first_tokens) != trie.depth:
            raise ValueError(f"the trie has {trie.depth} levels, first_tokens has {len(first_tokens)}")
        self._trie = trie
        self._first_tokens = np.asarray(first_tokens, dtype=np.int64)
        self._end_token = end_token
        self._prompt = prompt

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """input_ids: (beams, tokens so far); scores: (beams, vocabulary). Returns new scores of the same shape."""
        import torch

        paths = input_ids[:, self._prompt :].cpu().numpy()
        allowed = [self._allowed(path) for path in paths]
        rows = np.repeat(np.arange(len(allowed)), [len(tokens) for tokens in allowed])
        at = (
            torch.from_numpy(rows).to(scores.device),
            torch.from_numpy(np.concatenate(allowed)).to(scores.device),
        )
        masked = torch.full_like(scores, float("-inf"))
        masked[at] = scores[at]
        return masked

    def _allowed(self, path: Numbers) -> Numbers:
        """The tokens that may follow a path."""
        level = len(path)
        if level < self._trie.depth:
            codes, _ = self._trie.children((path - self._first_tokens[:level]).tolist())
            if len(codes):
                tokens: Numbers = codes + self._first_tokens[level]
                return tokens
        return np.array([self._end_token], dtype=np.int64)
