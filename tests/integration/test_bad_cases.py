"""What goes wrong with real searches stands in the report: by kind, with what people clicked instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from streams.broker import EmbeddedBroker
from streams.events.documents import Receipt
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from trieflow.bad_cases import BadCaseReport, read_report
from trieflow.cli import app

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

WAIT_S = 60.0


@pytest.fixture(scope="module")
def system(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("bad-cases")
    with System(broker.bootstrap, folder, privacy__log_query_text="true") as running:
        for worker in [running.start(role) for role in ("indexer", "searcher", "learner")]:
            worker.wait_ready()
        receipts: list[Receipt] = []
        bodies = [(f"boot-{n}", {"title": f"red boots {n}", "fields": {"n": n}}) for n in range(20)]
        running.client.publish_many(bodies, on_receipt=receipts.append)
        for receipt in receipts:
            running.client.search("boots", read_after=receipt, learn=False)
        yield running


def report(system: System, **more: Any) -> BadCaseReport:
    return read_report(
        system.settings, days=1, progress=lambda what, total: nullcontext(lambda: None), **more
    )


def run(system: System, line: str) -> Any:
    settings = system.settings
    flags = ["--brokers", settings.brokers, "--prefix", settings.prefix, "--partitions", settings.partitions]
    return CliRunner().invoke(app, [*map(str, flags), *line.split()])


def test_a_rephrased_query_is_reported_with_what_was_clicked_instead(system: System, tmp_path: Path) -> None:
    client = system.client
    first = client.search("zibbelquark", session_id="s-1", user_id="anna")
    second = client.search("red boots", session_id="s-1", user_id="anna", previous_query_id=first.query_id)
    wanted = (second.hits or [])[1].document_id
    client.click(second.query_id, wanted)
    eventually(lambda: any(q.clicked for q in report(system).queries), WAIT_S, what="the click is known")
    (query,) = [query for query in report(system).queries if query.text == "zibbelquark"]
    assert query.query_id == first.query_id
    assert query.clicked == {wanted: 1}
    assert query.rephrased == ["red boots"]
    told = run(system, f"report bad-cases --json --html {tmp_path / 'report.html'}")
    assert told.exit_code == 0, told.output
    body = orjson.loads(told.stdout)
    assert body["counts"]["no_click_rephrased"] == 1
    assert "zibbelquark" in (tmp_path / "report.html").read_text()
    assert "zibbelquark" in run(system, "report bad-cases").stdout
    assert orjson.loads(run(system, "report bad-cases --days 0 --json").stdout)["counts"] == {}
    client.click(first.query_id, (first.hits or [])[0].document_id)
    eventually(
        lambda: "no_click_rephrased" not in report(system).counts, WAIT_S, what="the case is withdrawn"
    )
    assert not any("anna" in str(record.value) for record in system.records("bad-cases"))
    assert not any("s-1" in str(record.value) for record in system.records("bad-cases"))


def test_an_empty_answer_is_reported(system: System) -> None:
    empty = system.client.search("boots", filter={"n": {"gte": 1_000}})
    assert empty.hits == []
    eventually(lambda: report(system).counts.get("no_hits") == 1, WAIT_S, what="it is told")


def test_the_worst_of_many_queries_are_reported_and_searches_say_so(system: System) -> None:
    for number in range(90):
        system.client.search(f"red boots {number % 20}", session_id=f"many-{number}", mode="dense")
    strange = system.client.search("qqqqq wwwww", mode="dense")
    assert strange.low_confidence
    probe = system.client.search("qqqqq wwwww", mode="dense", learn=False)
    assert probe.low_confidence is None, "a probe is not compared"
    eventually(
        lambda: any(query.query_id == strange.query_id for query in report(system).queries),
        WAIT_S,
        what="it is told",
    )
