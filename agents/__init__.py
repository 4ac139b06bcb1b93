"""Floor 3, the workers: what runs between the topics.

Indexer, searcher and curator, the runtime that they share, and what each needs beside state and models: fetching,
the content store, health and sensors. May import `models`, `state` and `streams`; never `trieflow` above.

Read first: `commit.py` (the seven steps of a document), `searcher.py` (a query), then `runtime.py`.
"""
