"""The text network of an open_clip model, on as many tokens as a text has.

These models look only backwards and take what they say of a text from its last token. The padding behind it, 65 of
77 tokens of a short query, changes nothing; left out, such a query takes a ninth of the time. Networks of another
kind (which look forwards too, or bring a tokeniser of their own) get their whole context.
"""

from __future__ import annotations

import torch
from open_clip.model import CLIP
from open_clip.transformer import text_global_pool


class TextNetwork(torch.nn.Module):  # type: ignore[misc]
    """Tokens (n, length) to vectors (n, d). Any length up to the context, where `looks_back`."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.looks_back = (
            isinstance(network, CLIP)
            and network.attn_mask is not None
            and network.text_pool_type == "argmax"  # the last token has the highest number of all
            and not isinstance(network.text_projection, torch.nn.Linear)
        )

    def cut(self, tokens: torch.Tensor) -> torch.Tensor:
        """Without the padding that all these texts have."""
        return tokens[:, : int(tokens.argmax(dim=-1).max()) + 1] if self.looks_back else tokens

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        network = self.network
        if not self.looks_back:
            encoded: torch.Tensor = network.encode_text(tokens)
            return encoded
        length, kind = tokens.shape[1], network.transformer.get_cast_dtype()
        x = network.token_embedding(tokens).to(kind) + network.positional_embedding[:length].to(kind)
        x = network.transformer(x, attn_mask=network.attn_mask[:length, :length])
        x = text_global_pool(network.ln_final(x), tokens, network.text_pool_type)
        return x if network.text_projection is None else x @ network.text_projection
