from __future__ import annotations

import inspect

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agents.sensors import HOOKS, PrometheusSensor, Sensor, Sensors

# One call of each hook, and a sample that Prometheus must then show.
CALLS = {
    "batch_committed": ((3, 64, 0.02), "trieflow_committed_documents_total", {"partition": "3"}, 64),
    "document_done": (("indexed", 0.1), "trieflow_documents_total", {"status": "indexed"}, 1),
    "dead_letter": (
        ("documents", "not_json"),
        "trieflow_dead_letters_total",
        {"topic": "documents", "code": "not_json"},
        1,
    ),
    "query_answered": (
        ("dense", {"encode": 8.0, "total": 12.5}, 10),
        "trieflow_query_stage_seconds_sum",
        {"stage": "total"},
        0.0125,
    ),
    "query_failed": (("expired",), "trieflow_query_failures_total", {"code": "expired"}, 1),
    "log_applied": ((500, 0.2), "trieflow_log_records_applied_total", {}, 500),
    "feedback_taken": (("counted", 3), "trieflow_feedback_total", {"outcome": "counted"}, 3),
    "lag": (("documents", 2, 17), "trieflow_lag_records", {"topic": "documents", "partition": "2"}, 17),
    "freshness": ((0.05,), "trieflow_searchable_age_seconds_sum", {}, 0.05),
    "partition_taken": ((2, 1.5), "trieflow_partition_held", {"partition": "2"}, 1),
    "partition_lost": ((2,), "trieflow_partition_held", {"partition": "2"}, 0),
    "in_flight": ((12,), "trieflow_in_flight_events", {}, 12),
    "epoch_active": ((4,), "trieflow_epoch_active", {}, 4),
    "sampled_recall": ((0.9,), "trieflow_sampled_recall", {}, 0.9),
    "encoded": (("image", 32, 0.4), "trieflow_encoded_parts_total", {"kind": "image"}, 32),
    "commit_age": ((2.5,), "trieflow_commit_age_seconds", {}, 2.5),
}


class Recorder(Sensor):
    """Keeps the names of the hooks that were called."""

    def __init__(self) -> None:
        self.called: list[tuple[str, tuple[object, ...]]] = []
        for hook in HOOKS:
            setattr(self, hook, lambda *values, hook=hook: self.called.append((hook, values)))


def test_every_hook_has_a_call_in_this_test():
    assert set(CALLS) == set(HOOKS)


@pytest.mark.parametrize("hook", CALLS)
def test_the_plain_sensor_does_nothing_for_any_hook(hook: str):
    assert getattr(Sensor(), hook)(*CALLS[hook][0]) is None


@pytest.mark.parametrize("hook", CALLS)
def test_prometheus_shows_what_a_hook_was_told(hook: str):
    values, name, labels, expected = CALLS[hook]
    sensor = PrometheusSensor()
    getattr(sensor, hook)(*values)
    assert sensor.registry.get_sample_value(name, labels) == pytest.approx(expected)


@pytest.mark.parametrize("hook", HOOKS)
def test_prometheus_keeps_the_signature_of_the_hook(hook: str):
    assert hook in vars(PrometheusSensor)
    assert inspect.signature(getattr(PrometheusSensor, hook)) == inspect.signature(getattr(Sensor, hook))


def test_several_sensors_all_hear_every_hook():
    first, second = Recorder(), Recorder()
    both = Sensors(first, second)
    for hook, (values, *_) in CALLS.items():
        getattr(both, hook)(*values)
    assert first.called == second.called == [(hook, values) for hook, (values, *_) in CALLS.items()]


def test_the_lag_of_a_lost_partition_is_forgotten_and_other_lags_stay():
    sensor = PrometheusSensor()
    for partition in (1, 2):
        sensor.lag("documents", partition, 5)
    sensor.partition_lost(1)
    shown = {
        sample.labels["partition"]
        for family in sensor.registry.collect()
        for sample in family.samples
        if sample.name == "trieflow_lag_records"
    }
    assert shown == {"2"}


def test_metrics_are_named_as_prometheus_asks_and_sensors_share_nothing():
    sensor, other = PrometheusSensor(), PrometheusSensor()
    for hook, (values, *_) in CALLS.items():
        getattr(sensor, hook)(*values)
    families = list(text_string_to_metric_families(generate_latest(sensor.registry).decode()))
    assert all(family.name.startswith(("trieflow_", "process_")) for family in families)
    assert all(family.documentation for family in families)
    assert other.registry.get_sample_value("trieflow_in_flight_events") == 0
