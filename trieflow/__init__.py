"""The door: the client, the command line, and what they are made of. May import every floor below.

`from trieflow import Client` publishes, searches and clicks through Kafka; `trieflow --help` is the command
line. Neither loads a model: torch, ONNX Runtime and Faust are imported by `trieflow worker` alone.

Read first: `client.py` (what crosses the topics), then `cli.py`, `up.py`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trieflow.client import Client
    from trieflow.replies import NoAnswerError, Pending, RecordAddress

__all__ = ["Client", "NoAnswerError", "Pending", "RecordAddress"]

_HOME = {
    "Client": "trieflow.client",
    "NoAnswerError": "trieflow.replies",
    "Pending": "trieflow.replies",
    "RecordAddress": "trieflow.replies",
}


def __getattr__(name: str) -> object:
    # Late, so that `trieflow --help` answers before a Kafka client is loaded.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
