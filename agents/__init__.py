"""Floor 3, the workers: what runs between the topics.

Indexer and searcher, and what each worker needs beside its state and models: content fetching, the content
store, health and sensors. May import `models`, `state` and `streams`; never `trieflow` (the door above).

Read first: `fetching.py` (how the outside world is let in), then `health.py` and `sensors.py` (how a worker
is watched).
"""
