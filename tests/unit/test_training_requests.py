"""When a training is due."""

from __future__ import annotations

from agents.training_requests import due
from state.clicks.ledger_rows import LedgerState
from streams.settings import TrainingSettings

SETTINGS = TrainingSettings(first_clicks=100, every_clicks=50)


def runs(clicks: list[int]) -> list[str]:
    """Names of the runs that are due as clicks come in."""
    state, found = LedgerState(), []
    for accepted in clicks:
        state.accepted = accepted
        run = due(state, SETTINGS)
        if run is not None:
            found.append(run[0])
    return found


def test_first_at_so_many_clicks_then_after_each_so_many_more():
    assert runs(list(range(260))) == ["clicks-100", "clicks-150", "clicks-200", "clicks-250"]


def test_the_names_do_not_hang_on_how_clicks_came_in():
    assert set(runs([0, 99, 103, 149, 158, 255])) <= set(runs(list(range(260))))
    assert runs([1_000]) == ["clicks-1000"]


def test_by_schedule_only_after_the_first_clicks_and_some_hours():
    settings = TrainingSettings(first_clicks=100, every_clicks=10_000, every_h=24)
    state = LedgerState(accepted=50, newest=0.0)
    assert due(state, settings) is None
    state.accepted, state.newest = 100, 1_000.0
    assert due(state, settings) == ("clicks-100", "clicks")
    state.accepted, state.newest = 150, 1_000.0 + 23 * 3_600
    assert due(state, settings) is None
    state.newest += 2 * 3_600
    run = due(state, settings)
    assert run is not None
    assert run[1] == "schedule"
    assert due(state, settings) is None


def test_by_documents_only_after_the_first_clicks_and_so_many_more_documents():
    settings = TrainingSettings(first_clicks=100, every_clicks=10_000, every_documents=500)
    state = LedgerState(accepted=50)
    assert due(state, settings, 9_000) is None
    state.accepted = 100
    assert due(state, settings, 9_000) == ("clicks-100", "clicks")
    assert due(state, settings, 9_499) is None
    assert due(state, settings, 9_500) == ("documents-9500", "documents")
    assert due(state, settings, 9_500) is None
    assert due(state, TrainingSettings(first_clicks=100, every_clicks=10_000), 99_000) is None


def test_any_training_begins_the_count_of_documents_anew():
    settings = TrainingSettings(first_clicks=100, every_clicks=50, every_documents=500)
    state = LedgerState(accepted=150, trained_clicks=100, trained_documents=1_000)
    assert due(state, settings, 1_400) == ("clicks-150", "clicks")
    assert due(state, settings, 1_600) is None
    assert LedgerState.decode(state.encode()).trained_documents == 1_400
