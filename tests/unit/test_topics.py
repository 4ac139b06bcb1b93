"""Topics as they must be, for any settings."""

from __future__ import annotations

import pytest

from streams.codec import MAX_MESSAGE
from streams.dead_letters import VERBATIM_LIMIT
from streams.headers import TYPES
from streams.settings import load_settings
from streams.topics import DLQ, TopicSpec, topic_specs


def specs(**settings: object) -> dict[str, TopicSpec]:
    made = load_settings(**{"prefix": "shop.", "partitions": 3, **settings})
    return {spec.name.removeprefix("shop."): spec for spec in topic_specs(made)}


READ = ("documents", "moves", "queries", "impressions", "feedback", "forget")


def test_every_event_has_its_topic_and_what_is_read_its_dead_letters():
    assert set(specs()) == {*TYPES, *(name + DLQ for name in READ)}
    assert all(spec.name.startswith("shop.") for spec in topic_specs(load_settings(prefix="shop.")))


def test_keyed_topics_have_the_same_partitions_and_the_others_one():
    counts = {name: spec.partitions for name, spec in specs(partitions=5).items()}
    single = {name for name, count in counts.items() if count == 1}
    assert single == {"codebooks", "models", "training", "click-memory", "profiles", "user-salts"} | {
        name for name in counts if name.endswith(DLQ)
    }
    assert {count for name, count in counts.items() if name not in single} == {5}


def test_what_is_the_latest_truth_is_compacted_and_the_rest_is_not():
    compacted = {name for name, spec in specs().items() if spec.cleanup_policy == "compact"}
    assert compacted == {
        "documents",
        "assignments",
        "codebooks",
        "models",
        "click-memory",
        "profiles",
        "user-salts",
    }


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("receipts_h", ["receipts"]),
        ("queries_h", ["queries", "results"]),
        ("impressions_h", ["impressions", "feedback"]),
        ("bad_cases_h", ["bad-cases"]),
        ("dead_letters_h", [name + DLQ for name in READ]),
    ],
)
def test_retention_is_set_in_hours_and_written_in_milliseconds(setting: str, names: list[str]):
    set_so = specs(retention={setting: 1.5})
    assert [set_so[name].config["retention.ms"] for name in names] == ["5400000"] * len(names)


def test_compacted_topics_keep_their_tombstones_for_as_long_as_a_worker_may_sleep():
    for name, spec in specs(retention={"tombstones_h": 2}).items():
        assert spec.config.get("delete.retention.ms") == ("7200000" if spec.compacted else None), name


def test_a_dead_letter_topic_takes_what_its_topic_takes():
    made = specs()
    limits = {name: int(spec.config["max.message.bytes"]) for name, spec in made.items()}
    for name in READ:
        assert limits[name + DLQ] > limits[name]
        assert limits[name + DLQ] > VERBATIM_LIMIT
    assert limits["documents"] > MAX_MESSAGE
