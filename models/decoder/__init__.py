"""The decoder: p(id | query), level by level, for the children of live nodes only.

`decoder` serves (numpy, ONNX Runtime, no torch) and `scores` is the arithmetic in plain arrays; `pairs`, `network`,
`losses`, `training`, `checkpoint` and `weight` distil a decoder from what the index holds and import torch.
May import `streams`; never `state`: arrays pass between them. Read `decoder.py` first.
"""
