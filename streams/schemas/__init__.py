"""The contract for strangers, made from the events: JSON Schemas and one AsyncAPI document in `docs/schemas`.

Imports `streams` alone. Read first: `event_schemas.py`, then `examples.py`, `asyncapi.py`. Write the files by
`python -m streams.schemas`; a test compares them, so that a change of the contract shows in its diff.
"""
