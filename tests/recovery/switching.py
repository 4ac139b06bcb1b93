"""Which epoch is active, and whether everybody serves it."""

from __future__ import annotations

from streams.events.codebooks import ACTIVE_KEY, ActiveEpoch
from tests.recovery.invariants import assert_nothing_lost, everything, latest_assignments
from tests.recovery.system import System
from tests.recovery.waiting import eventually

SWITCH_S = 90.0


def active_epoch(system: System) -> int:
    """What the log says last; 0 before the first switch."""
    said = [record.value for record in system.records("codebooks") if record.key == ACTIVE_KEY.encode()]
    return ActiveEpoch.model_validate_json(said[-1] or b"").epoch if said else 0


def assert_one_id_each(system: System, *, epoch: int) -> None:
    """The log, and then the searcher, have exactly one id of the epoch for each live document."""
    truth = assert_nothing_lost(system)
    assigned = {key: assignment.id_in(epoch) for key, assignment in latest_assignments(system).items()}
    assert None not in assigned.values()
    assert len(set(assigned.values())) == len(truth.live)

    def serves_it() -> bool:
        return {key: hit.semantic_id for key, hit in everything(system).items()} == assigned

    eventually(serves_it, SWITCH_S, what=f"the searcher serves epoch {epoch}")
