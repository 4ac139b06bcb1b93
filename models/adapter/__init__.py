"""The adapter: what clicks taught about queries, as a small network that moves their vectors.

`adapter.py` is all that serving needs, in numpy; `training.py` learns it in torch.
"""
