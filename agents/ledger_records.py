"""What a batch of the learner tells: the records of `click-memory`, `profiles` and `bad-cases` that it changes."""

from __future__ import annotations

from agents.outbox import Outgoing
from state.clicks.ledger import Ledger
from state.clicks.profiles import profile_event
from streams.events.click_memory import SUMMARY_KEY
from streams.headers import TYPES, cloud_event
from streams.settings import Settings

SOURCE = "trieflow/learner"


def ledger_records(ledger: Ledger, settings: Settings) -> list[Outgoing]:
    """All of them; made again from the same rows and events, they say the same."""
    return [*_memory(ledger, settings), *_profiles(ledger, settings), *_bad_cases(ledger, settings)]


def _memory(ledger: Ledger, settings: Settings) -> list[Outgoing]:
    """Before the first click or hide there is nothing to tell."""
    if not (ledger.state.accepted or ledger.state.hidden):
        return []
    topic = settings.topic("click-memory")
    headers = cloud_event(event_type=TYPES["click-memory"], source=SOURCE)
    records = [
        Outgoing(topic, key.encode(), None if known is None else known.event().to_json(), headers, 0)
        for key, known in ledger.touched.items()
        if known is None or known.documents
    ]
    summary = ledger.summary()
    if summary is not None:
        records.append(Outgoing(topic, SUMMARY_KEY.encode(), summary.to_json(), headers, 0))
    return records


def _profiles(ledger: Ledger, settings: Settings) -> list[Outgoing]:
    """A null value where nothing is kept of a user any more."""
    topic = settings.topic("profiles")
    headers = cloud_event(event_type=TYPES["profiles"], source=SOURCE)
    return [
        Outgoing(topic, person.encode(), profile_event(chosen).to_json() if chosen else None, headers, 0)
        for person, chosen in ledger.profiles.touched.items()
    ]


def _bad_cases(ledger: Ledger, settings: Settings) -> list[Outgoing]:
    """Queries that went wrong; told twice, a case has the same id."""
    topic = settings.topic("bad-cases")
    return [
        Outgoing(
            topic,
            (case.query_id or "").encode(),
            case.to_json(),
            cloud_event(event_type=TYPES["bad-cases"], source=SOURCE, event_id=event_id),
        )
        for event_id, case in ledger.bad_cases.told.items()
    ]
