"""Fine-ranking: what is added to relevance, as far as clicks say that people want it.

`weights.py` is all that serving needs; `learning.py` learns the weights from lists with clicks, and needs scipy.
"""
