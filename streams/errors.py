"""The errors of trieflow.

    TrieflowError
    ├── DataError            one bad message: dead letter and receipt, the stream goes on
    ├── SettingsError        wrong settings, all faults together: mend them and start again
    ├── BrokerError          Kafka cannot be started or reached: see `trieflow doctor`
    │   └── TopicMismatchError   a topic exists with other settings: the message says what to do
    ├── FencedError          another process owns this partition now: exit, it goes on there
    ├── StateError           a RocksDB shard cannot be opened or is of another schema
    ├── ModelError           weights missing, damaged or of another stamp
    └── GateError            figures that no gate can judge by: the candidate is not served

Data errors never escape an agent; all others end the process, and the supervisor starts it again.
"""

from __future__ import annotations

from typing import Literal, get_args

ErrorCode = Literal[
    "not_json", "schema", "too_large", "too_deep", "wrong_partition", "bad_key", "empty_document",
    "unsupported_modality", "unsupported_format", "undecodable_image", "image_too_large", "unreachable",
    "forbidden_address", "timeout", "bad_stamp", "stale_version", "unknown_document", "expired", "not_yet",
    "bad_filter", "bad_reply_to", "incompatible_model", "unknown_type", "internal",
]  # fmt: skip
ERROR_CODES: tuple[str, ...] = get_args(ErrorCode)


class TrieflowError(Exception):
    """The root of all errors of this project."""


class DataError(TrieflowError):
    """One bad message. It becomes a receipt or failed result and a dead letter; the stream goes on."""

    def __init__(self, code: ErrorCode, message: str, *, field: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code: ErrorCode = code
        self.message = message
        self.field = field


class SettingsError(TrieflowError):
    """Wrong settings. The message lists every fault; mend them and start again."""


class BrokerError(TrieflowError):
    """Kafka cannot be started or reached. Run `trieflow doctor`."""


class TopicMismatchError(BrokerError):
    """A topic exists with a partition count or policy that we cannot use; the message says what to do."""


class FencedError(TrieflowError):
    """Another process owns this partition now. Exit; nothing is lost, it goes on there."""


class StateError(TrieflowError):
    """A shard cannot be opened. Its folder may be deleted: it is rebuilt from the log."""


class ModelError(TrieflowError):
    """Weights or codebooks are missing, damaged or of another encoder stamp."""


class GateError(TrieflowError):
    """Figures that no gate can judge by: `field` names those to mend. Until then the candidate is not served."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
