"""State: what the index knows, on disk (a shard: one RocksDB) and in memory (live index, trie, filters).

All of it is a fold of the `assignments` log: it can be lost and read again. May import `streams` alone;
`models` stands beside it, so centroids and vectors come as arrays.
Read first: `records.py`, `shard.py`, `fold.py`; then `live_index.py`, `generative.py`, `trie.py`, `beam.py`.
"""
