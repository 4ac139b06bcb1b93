"""Following `click-memory`: what clicks taught, for the searches of this process."""

from __future__ import annotations

from agents.following import Follower
from state.clicks.memory import ClickMemory
from streams.events.click_memory import SUMMARY_KEY, MemorySummary, RememberedClicks
from streams.records import Record
from streams.settings import Settings


class ClickLog(Follower):
    """Keeps `memory` as the topic says. `offset` is that of the last record that is in it, -1 without one."""

    def __init__(self, settings: Settings, memory: ClickMemory) -> None:
        super().__init__(settings, "click-memory")
        self.memory = memory
        self.offset = -1

    def take(self, record: Record) -> None:
        key = (record.key or b"").decode()
        if record.value is None:
            self.memory.take(key, None)
        elif key == SUMMARY_KEY:
            self.memory.take(key, MemorySummary.model_validate_json(record.value))
        else:
            self.memory.take(key, RememberedClicks.model_validate_json(record.value))
        self.offset = record.offset
