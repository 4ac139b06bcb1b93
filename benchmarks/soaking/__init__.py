"""Parts of `trieflow bench soak`: a system that is killed all along, its publisher and its judges.

They may import everything. Read first: `account.py` (what must have become of everything), `log_fold.py` (what
the log says, read by code of its own), `agreement.py` (a shard against that), `live.py` (the memory of searchers).
"""
