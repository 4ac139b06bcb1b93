"""Floor 1, the ground: the contracts of trieflow.

What crosses a process border stands here: events, topics, headers, codecs, settings, dead letters, Kafka
clients, and the embedded broker. Imports nothing else of ours.

Read first: `events/documents.py`, then `topics.py`, `headers.py`, `settings.py`.
"""
