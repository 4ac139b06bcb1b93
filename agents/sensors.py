"""What a worker tells about itself: named hooks that do nothing, and their form for Prometheus.

The logic calls hooks and knows no metrics library; another exporter is another subclass. Durations are seconds
throughout, except the stages of a query, which come in milliseconds as they stand in `took_ms` of a result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

# From a step in memory to a fetch that used all its tries.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
COUNTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)


class Sensor:
    """Hooks that do nothing. Called from any thread; a hook must be quick and must not raise."""

    def batch_committed(self, partition: int, documents: int, seconds: float) -> None:
        """All steps of a commit are done: the documents are in the log and in the state."""

    def document_done(self, status: str, seconds: float) -> None:
        """A receipt was written; `status` is the receipt's, the time runs from the arrival of the event."""

    def dead_letter(self, topic: str, code: str) -> None:
        """An event of `topic` went to its dead letters."""

    def query_answered(self, mode: str, stages: Mapping[str, float], hits: int) -> None:
        """A result was written; `stages` are milliseconds by name, `total` among them."""

    def query_failed(self, code: str) -> None:
        """A failed result was written."""

    def log_applied(self, records: int, seconds: float) -> None:
        """Records of `assignments` were applied to a replica."""

    def feedback_taken(self, outcome: str, count: int) -> None:
        """So many impressions and acts of people were counted, noted, or refused and why."""

    def lag(self, topic: str, partition: int, value: int) -> None:
        """So many records of a partition wait for this worker."""

    def freshness(self, seconds: float) -> None:
        """A document became searchable here, so long after its log record was written."""

    def partition_taken(self, partition: int, seconds: float) -> None:
        """A partition was assigned to this worker and is ready, replay included."""

    def partition_lost(self, partition: int) -> None:
        """A partition was handed over or taken away."""

    def in_flight(self, count: int) -> None:
        """So many events were read and are not yet acknowledged."""

    def epoch_active(self, epoch: int) -> None:
        """Answers come from the semantic ids of this epoch."""

    def sampled_recall(self, recall: float) -> None:
        """The generative path finds this share of the true nearest documents, by samples."""

    def encoded(self, kind: str, items: int, seconds: float) -> None:
        """Parts of one kind (`text`, `image`) went through the encoder together."""

    def commit_age(self, seconds: float) -> None:
        """The oldest event that is read and not committed has waited so long."""


HOOKS = tuple(name for name in vars(Sensor) if not name.startswith("_"))


class Sensors(Sensor):
    """Hands every hook on to several sensors."""

    def __init__(self, *sensors: Sensor) -> None:
        for hook in HOOKS:
            setattr(self, hook, _each([getattr(sensor, hook) for sensor in sensors]))


def _each(calls: list[Callable[..., None]]) -> Callable[..., None]:
    def call_each(*values: object, **named: object) -> None:
        for call in calls:
            call(*values, **named)

    return call_each


class PrometheusSensor(Sensor):
    """Counters, gauges and histograms in a registry of their own, so that many can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._lags: set[tuple[str, int]] = set()
        self._make_indexing()
        self._make_searching()
        self._make_worker()

    def _make_indexing(self) -> None:
        self._documents = self._counter("documents", "Receipts written", "status")
        self._document_seconds = self._histogram("document_seconds", "Arrival of an event to its receipt")
        self._dead_letters = self._counter("dead_letters", "Events sent to dead letters", "topic", "code")
        self._committed = self._counter("committed_documents", "Documents committed", "partition")
        self._commit_seconds = self._histogram("commit_seconds", "Duration of a commit")
        self._commit_documents = self._histogram("commit_documents", "Documents of a commit", buckets=COUNTS)
        self._commit_age = self._gauge("commit_age_seconds", "Age of the oldest event not committed")
        self._encoded = self._counter("encoded_parts", "Parts encoded", "kind")
        self._encode_seconds = self._histogram("encode_seconds", "Duration of one encoder run", "kind")

    def _make_searching(self) -> None:
        self._queries = self._counter("queries", "Queries answered", "mode")
        self._failures = self._counter("query_failures", "Queries that failed", "code")
        self._stages = self._histogram("query_stage_seconds", "Duration of a query by stage", "stage")
        self._hits = self._histogram("query_hits", "Hits of a result", buckets=COUNTS)
        self._applied = self._counter("log_records_applied", "Log records applied")
        self._apply_seconds = self._histogram("log_apply_seconds", "Duration of applying log records")
        self._freshness = self._histogram("searchable_age_seconds", "Log record of a document to searchable")
        self._epoch = self._gauge("epoch_active", "Epoch of the semantic ids that answers come from")
        self._recall = self._gauge("sampled_recall", "Recall@10 of the generative path against exact search")

        self._feedback = self._counter("feedback", "Impressions and feedback taken in", "outcome")

    def _make_worker(self) -> None:
        self._lag = self._gauge("lag_records", "Records that wait for this worker", "topic", "partition")
        self._held = self._gauge("partition_held", "1 while this worker holds the partition", "partition")
        self._takeover_seconds = self._histogram("partition_takeover_seconds", "Assignment to ready")
        self._in_flight = self._gauge("in_flight_events", "Events read and not yet acknowledged")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"trieflow_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"trieflow_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS
    ) -> Histogram:
        return Histogram(f"trieflow_{name}", text, labels, buckets=buckets, registry=self.registry)

    def batch_committed(self, partition: int, documents: int, seconds: float) -> None:
        self._committed.labels(partition).inc(documents)
        self._commit_documents.observe(documents)
        self._commit_seconds.observe(seconds)

    def document_done(self, status: str, seconds: float) -> None:
        self._documents.labels(status).inc()
        self._document_seconds.observe(seconds)

    def dead_letter(self, topic: str, code: str) -> None:
        self._dead_letters.labels(topic, code).inc()

    def query_answered(self, mode: str, stages: Mapping[str, float], hits: int) -> None:
        self._queries.labels(mode).inc()
        self._hits.observe(hits)
        for stage, milliseconds in stages.items():
            self._stages.labels(stage).observe(milliseconds / 1_000)

    def query_failed(self, code: str) -> None:
        self._failures.labels(code).inc()

    def log_applied(self, records: int, seconds: float) -> None:
        self._applied.inc(records)
        self._apply_seconds.observe(seconds)

    def feedback_taken(self, outcome: str, count: int) -> None:
        self._feedback.labels(outcome).inc(count)

    def lag(self, topic: str, partition: int, value: int) -> None:
        self._lags.add((topic, partition))
        self._lag.labels(topic, partition).set(value)

    def freshness(self, seconds: float) -> None:
        self._freshness.observe(seconds)

    def partition_taken(self, partition: int, seconds: float) -> None:
        self._held.labels(partition).set(1)
        self._takeover_seconds.observe(seconds)

    def partition_lost(self, partition: int) -> None:
        """Forgets the partition's lag too: its new owner reports it, and ours would stand still for ever."""
        self._held.labels(partition).set(0)
        for topic, number in [known for known in tuple(self._lags) if known[1] == partition]:
            self._lags.discard((topic, number))
            self._lag.remove(topic, number)

    def in_flight(self, count: int) -> None:
        self._in_flight.set(count)

    def epoch_active(self, epoch: int) -> None:
        self._epoch.set(epoch)

    def sampled_recall(self, recall: float) -> None:
        self._recall.set(recall)

    def encoded(self, kind: str, items: int, seconds: float) -> None:
        self._encoded.labels(kind).inc(items)
        self._encode_seconds.labels(kind).observe(seconds)

    def commit_age(self, seconds: float) -> None:
        self._commit_age.set(seconds)
