"""The events, one file a topic family. Field names are the contract (see `docs/schemas/`).

Strict on what we write, tolerant on what we read: unknown fields are ignored, so that an additive change
never breaks a consumer. Read first: `base.py`, then `documents.py`.
"""
