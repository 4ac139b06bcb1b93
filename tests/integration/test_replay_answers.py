"""Old answers are made again from the logs, while documents, clicks and trees went on changing."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import orjson
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from typer.testing import CliRunner

from agents.model_log import FOLDER, FUSION_FILE
from models.adapter.adapter import QueryAdapter
from models.bundles import Bundle, BundleStore, Manifest
from models.encoders.registry import describe_encoder
from models.ranking.ranker import Ranker
from models.ranking.weights import Authority, Freshness, Ranking
from state.fusion import FusionWeights, MeasureWeight
from streams.broker import EmbeddedBroker
from streams.clients import client_config
from streams.events.impressions import Impression
from streams.events.models import ADAPTER_MODEL, QUERY_MODEL, ActiveModel, AdapterRollout
from streams.events.queries import Result
from tests.pictures import png
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from trieflow.cli import app
from trieflow.old_answers import Advance, GoneError, NoHitsError
from trieflow.replayed_answers import ReplayedAnswer, replay_answer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

COLOURS = ("red", "blue", "green", "white")
THINGS = ("boots", "sandals", "hat", "coat", "scarf")
WAIT_S = 60.0
BEGAN = datetime.now(UTC)


def documents(count: int, *, start: int = 0) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for number in range(start, start + count):
        colour, thing = COLOURS[number % 4], THINGS[number % 5]
        body: dict[str, Any] = {
            "title": f"{colour} {thing} number{number}",
            "fields": {"colour": colour, "price": number},
            "published_at": (BEGAN - timedelta(minutes=number)).isoformat(),
        }
        if number % 7 == 0:
            body["images"] = [{"bytes": base64.b64encode(png()).decode()}]
        found.append((f"doc-{number}", body))
    return found


def publish(system: System, bodies: Sequence[tuple[str, dict[str, Any] | None]]) -> None:
    """Publish and wait until words are found too."""
    read_after = []

    def took(receipt: Any) -> None:
        assert receipt.status != "rejected", receipt.error
        read_after.extend(receipt.read_after or ())

    system.client.publish_many(bodies, on_receipt=took)
    latest = {each.partition: each for each in sorted(read_after, key=lambda each: each.offset)}
    wanted = list(latest.values())
    eventually(
        lambda: (
            (found := system.client.search("boots", read_after=wanted, learn=False)).hits and not found.behind
        ),
        WAIT_S,
        what="all paths have the documents",
    )


def ask(system: System, question: Any = None, **options: Any) -> Result:
    found = system.client.search(question, timeout=20, **options)
    assert found.hits, found
    return found


def remembered(answer: Result) -> bool:
    return any("click_memory" in (hit.parts or {}) for hit in answer.hits or ())


def quiet(what: str, total: int | None) -> AbstractContextManager[Advance]:
    return nullcontext(lambda: None)


def replayed(system: System, answer: Result) -> ReplayedAnswer:
    return replay_answer(system.settings, answer.query_id, progress=quiet)


def assert_agrees(system: System, answer: Result, *, exact: bool = False) -> None:
    again = replayed(system, answer)
    assert again.verdict == "agrees", (again.notes, [hit for hit in again.hits if hit.agreement != "same"])
    shown = [hit.document_id for hit in answer.hits or ()]
    # What scores like the last one may come in its place, and is told beside it.
    assert [hit.document_id for hit in again.hits if hit.document_id in shown] == shown
    if exact:
        assert {hit.agreement for hit in again.hits} == {"same"}, again


def command(system: System, line: str) -> Any:
    settings = system.settings
    flags = {
        "--brokers": settings.brokers,
        "--prefix": settings.prefix,
        "--partitions": settings.partitions,
        "--data": settings.data,
        "--encoder": "hash",
    }
    given = [str(word) for flag in flags.items() for word in flag]
    return CliRunner().invoke(app, [*given, *line.split()])


@pytest.fixture(scope="module")
def system(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("replays")
    with System(broker.bootstrap, folder, learning__shuffled_share="0.5") as running:
        for worker in [running.start(role) for role in ("indexer", "searcher", "learner")]:
            worker.wait_ready()
        yield running


@pytest.fixture(scope="module")
def early(system: System) -> dict[str, Result]:
    """Answers of all kinds, and then much else happens."""
    publish(system, documents(80))
    found = {
        "words": ask(system, "red boots", explain=True),
        "filter": ask(system, "coat", filter={"price": {"lte": 30}}),
        "alternatives": ask(system, {"parts": [{"text": "hat"}, {"text": "blue", "role": "not"}]}),
        "like": ask(system, {"document_id": "doc-3"}),
        "picture": ask(system, image=png()),
        "lexical": ask(system, "number17", mode="lexical"),
        "probe": ask(system, "white scarf", learn=False),
        "limited": ask(system, "green", top_k=3, mode="dense"),
    }
    taught = ask(system, "zibbelquark", session_id="s-1", user_id="anna")
    second = ask(system, "blue sandals", session_id="s-1", user_id="anna", previous_query_id=taught.query_id)
    system.client.click(second.query_id, (second.hits or [])[4].document_id)
    system.client.click(found["words"].query_id, (found["words"].hits or [])[3].document_id)
    eventually(
        lambda: remembered(ask(system, "zibbelquark", learn=False, explain=True)),
        WAIT_S,
        what="the searcher has read what was learned",
    )
    found["taught word"] = ask(system, "zibbelquark", explain=True)
    found["taught query"] = ask(system, "red boots", explain=True)
    found["taught probe"] = ask(system, "zibbelquark", learn=False, explain=True)
    for number in range(8):
        found[f"shuffled {number}"] = ask(system, "blue hat", session_id=f"chance-{number}")
    publish(system, [(name, {"title": "something else altogether"}) for name in ("doc-0", "doc-3", "doc-20")])
    publish(system, [("doc-17", None), ("doc-4", None), *documents(40, start=80)])
    last = ask(system, "blue sandals number90", session_id="s-2")
    system.client.click(last.query_id, (last.hits or [])[1].document_id)
    ask(system, "green coat")
    return found


def test_answers_of_all_kinds_are_the_same_again(system: System, early: dict[str, Result]) -> None:
    for name in ("words", "filter", "alternatives", "lexical", "probe"):
        assert_agrees(system, early[name])
    for name in ("like", "picture", "limited"):
        assert_agrees(system, early[name], exact=True)


def test_what_clicks_did_to_an_answer_is_in_it_again(system: System, early: dict[str, Result]) -> None:
    assert remembered(early["taught word"]), "else this would prove nothing"
    for name in ("taught word", "taught query", "taught probe"):
        assert_agrees(system, early[name])


def test_chance_puts_neighbours_in_the_same_order_again(system: System, early: dict[str, Result]) -> None:
    lists = [early[f"shuffled {number}"] for number in range(8)]
    orders = {tuple(hit.document_id for hit in answer.hits or ()) for answer in lists}
    assert len(orders) > 1, "else this would prove nothing"
    for answer in lists[:4]:
        assert_agrees(system, answer)


def personal(answer: Result, colour: str) -> float:
    """What the history of who asked did to documents of a colour, at most."""
    parts = [hit.parts or {} for hit in answer.hits or () if (hit.title or "").startswith(colour)]
    return max((each.get("personal", 0.0) for each in parts), default=0.0)


def test_what_people_chose_before_parts_their_lists_is_made_again_and_goes_when_they_are_forgotten(
    system: System, early: dict[str, Result]
) -> None:
    likes = {"carla": "red", "dora": "blue"}
    for user, colour in likes.items():
        for number in range(3):
            answer = ask(system, f"{colour} boots", user_id=user, session_id=f"{user}-{number}", mode="dense")
            fitting = [hit for hit in answer.hits or () if (hit.title or "").startswith(colour)]
            system.client.click(answer.query_id, fitting[number].document_id)

    def boots(user: str | None, **more: Any) -> Result:
        return ask(system, "boots", user_id=user, explain=True, mode="dense", top_k=20, **more)

    def history(answer: Result) -> list[str]:
        records = system.records("impressions")
        (found,) = [record for record in records if record.key == answer.query_id.encode()]
        return Impression.model_validate_json(found.value or b"").history

    for user, colour in likes.items():
        eventually(
            lambda u=user, c=colour: personal(boots(u, learn=False), c) > 0,
            WAIT_S,
            what=f"searchers know what {user} chose",
        )
    eventually(lambda: len(history(boots("dora"))) == 3, WAIT_S, what="all that dora chose is known")
    lists = {user: boots(user) for user in likes}
    assert personal(lists["carla"], "red") > personal(lists["carla"], "blue")
    assert personal(lists["dora"], "blue") > personal(lists["dora"], "red")
    orders = {tuple(hit.document_id for hit in boots(user, learn=False).hits or ()) for user in likes}
    assert len(orders) == 2
    for user in likes:
        assert_agrees(system, lists[user], exact=True)
    probe = replayed(system, boots("dora", learn=False))
    assert probe.verdict == "agrees" or any("chosen before" in note for note in probe.notes)

    def scores(answer: Result) -> dict[str, float]:
        return {hit.document_id: hit.score for hit in answer.hits or ()}

    nobody = scores(boots(None, learn=False))
    assert scores(boots("carla", learn=False, personal=False)) == nobody
    assert scores(boots("carla", learn=False)) != nobody
    forgotten = command(system, "forget --user carla --yes --json")
    assert forgotten.exit_code == 0, forgotten.output
    eventually(
        lambda: scores(boots("carla", learn=False)) == scores(boots(None, learn=False)),
        WAIT_S,
        what="carla is answered as nobody is",
    )
    assert_agrees(system, lists["carla"])


def test_an_answer_of_now_is_another_one_and_the_old_one_is_the_old_one(
    system: System, early: dict[str, Result]
) -> None:
    now = ask(system, "red boots", explain=True)
    assert [hit.score for hit in now.hits or ()] != [hit.score for hit in early["words"].hits or ()]
    assert_agrees(system, now)


def test_the_command_tells_by_its_exit_code_and_leaves_nothing_behind(
    system: System, early: dict[str, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    query = early["words"].query_id
    told = command(system, f"replay answers --query {query} --json")
    assert told.exit_code == 0, told.output
    body = orjson.loads(told.stdout)
    assert (body["verdict"], body["query_id"]) == ("agrees", query)
    assert {hit["agreement"] for hit in body["hits"]} <= {"same", "close"}
    shown = command(system, f"replay answers --query {query}")
    assert shown.exit_code == 0
    assert "the same answer again" in shown.output
    assert list(tmp_path.iterdir()) == []


def test_a_query_that_nobody_asked_is_told_with_what_is_kept(system: System) -> None:
    told = command(system, "replay answers --query nobody-asked --json")
    assert told.exit_code == 4
    assert "retention.queries_h" in orjson.loads(told.stdout)["reason"]


def test_a_failure_has_no_hits_to_compare(system: System) -> None:
    failed = system.client.search({"document_id": "never-published"})
    assert failed.error is not None
    with pytest.raises(NoHitsError, match="unknown_document"):
        replayed(system, failed)


def test_another_encoder_is_named(system: System, early: dict[str, Result]) -> None:
    other = system.settings.model_copy(update={"encoder": "hash:32"})
    with pytest.raises(GoneError, match="--encoder"):
        replay_answer(other, early["words"].query_id, progress=quiet)


def test_answers_that_were_given_while_documents_came_in_name_both_positions_or_agree(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    with System(broker.bootstrap, tmp_path, indexer__batch="4") as system:
        for worker in [system.start(role) for role in ("indexer", "searcher")]:
            worker.wait_ready()
        publish(system, documents(40))
        coming = Thread(target=publish, args=(system, documents(400, start=40)))
        coming.start()
        answers = []
        while coming.is_alive() and len(answers) < 200:
            answers.append(ask(system, "red boots", mode="dense", top_k=20))
        coming.join()
        still = [answer for answer in answers if answer.fresh_until is None]
        moving = [answer for answer in answers if answer.fresh_until is not None]
        fresh = {str(answer.fresh_to) for answer in answers}
        assert len(fresh) > 3, "else nothing came in between"
        for answer in still[:: max(1, len(still) // 6)]:
            assert_agrees(system, answer, exact=True)
        for answer in moving[:4]:
            again = replayed(system, answer)
            assert again.verdict == "agrees" or any("came in during" in note for note in again.notes)


# -- trees, the graph, bundles -------------------------------------------------------------------------------


def test_the_tree_the_graph_and_the_bundle_of_then_count_again(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    small = {"index__ids_from": "32", "index__exact_up_to": "48", "search__generation": "geometry"}
    with System(broker.bootstrap, tmp_path, **small) as system:
        for worker in [system.start(role) for role in ("indexer", "searcher", "curator")]:
            worker.wait_ready()
        publish(system, documents(120))
        eventually(
            lambda: ask(system, "hat", learn=False, mode="generative").mode == "generative",
            WAIT_S,
            what="a tree serves",
        )
        activate(system, "doubled", words=40.0)
        eventually(
            lambda: ask(system, "hat", learn=False).bundle == "query@doubled", WAIT_S, what="it serves"
        )
        fine_rank(system, "fine")
        eventually(
            lambda: "adapter@fine" in (ask(system, "hat", learn=False).models or ()), WAIT_S, what="it serves"
        )
        answers = [
            ask(system, "red hat", mode="generative"),
            ask(system, "blue coat", mode="dense"),
            ask(system, "white boots", explain=True),
            ask(system, "white boots", learn=False),
        ]
        assert {answer.bundle for answer in answers} == {"query@doubled"}
        parts = [hit.parts or {} for hit in answers[2].hits or ()]
        assert all(each["freshness"] > 0 and each["authority"] >= 0 for each in parts)
        activate(system, "halved", words=10.0)
        eventually(lambda: ask(system, "hat", learn=False).bundle == "query@halved", WAIT_S, what="it serves")
        publish(system, [*documents(150, start=120), ("doc-5", None), ("doc-6", {"title": "white boots"})])
        for answer in answers:
            assert_agrees(system, answer)
        (system.data / "content" / FOLDER / "query@doubled").rename(tmp_path / "elsewhere")
        with pytest.raises(GoneError, match="query@doubled"):
            replayed(system, answers[0])


def fine_rank(system: System, version: str) -> None:
    """An adapter that moves nothing, with weights by which an answer of a minute ago is another one now."""
    settings, described = system.settings, describe_encoder(system.settings.encoder)
    shapes = ((1, described.dimension), (1,), (described.dimension, 1))
    adapter = QueryAdapter(*(np.zeros(shape, dtype=np.float32) for shape in shapes))
    ranking = Ranking(
        freshness=Freshness(weight=5.0, half_life_d=1 / 24),
        authority=Authority(weight=1.0, field="price", quantiles=(0.0, 50.0, 100.0)),
    )
    manifest = Manifest(name=ADAPTER_MODEL, version=version, encoder_stamp=described.stamp)
    store = BundleStore(f"{settings.content_store}/{FOLDER}")
    store.write(Bundle.of(manifest, Ranker(adapter, ranking).to_files()))
    event = AdapterRollout(active=version, since=datetime.now(UTC))
    system.producer.produce(settings.topic("models"), key=ADAPTER_MODEL.encode(), value=event.to_json())
    assert system.producer.flush(30) == 0


def activate(system: System, version: str, *, words: float) -> None:
    settings = system.settings
    stamp = describe_encoder(settings.encoder).stamp
    weights = FusionWeights(lexical=MeasureWeight(weight=words, power=2.0, missing="nothing"))
    bundle = Bundle.of(
        Manifest(name=QUERY_MODEL, version=version, encoder_stamp=stamp),
        {FUSION_FILE: weights.model_dump_json().encode()},
    )
    BundleStore(f"{settings.content_store}/{FOLDER}").write(bundle)
    event = ActiveModel(active=version, since=datetime.now(UTC))
    system.producer.produce(settings.topic("models"), key=QUERY_MODEL.encode(), value=event.to_json())
    assert system.producer.flush(30) == 0


# -- what is compacted away --------------------------------------------------------------------------------


def compact_quickly(system: System, name: str) -> None:
    admin = AdminClient(client_config(system.settings))
    wanted = {"segment.ms": "200", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "200"}
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in wanted.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, system.settings.topic(name), incremental_configs=entries)
    for done in admin.incremental_alter_configs([resource]).values():
        done.result()


def offsets_of(system: System, name: str, key: str) -> list[int]:
    system._read[name].clear()
    return [record.offset for record in system.records(name) if record.key == key.encode()]


def test_what_is_compacted_away_or_past_retention_is_named_and_other_answers_agree(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    with System(broker.bootstrap, tmp_path) as system:
        for worker in [system.start(role) for role in ("indexer", "searcher")]:
            worker.wait_ready()
        publish(system, documents(30))
        lost = ask(system, "number17", top_k=5, mode="dense")
        other = ask(system, "number4 number9", top_k=2, mode="dense")
        changed = (lost.hits or [])[0].document_id
        assert changed not in [hit.document_id for hit in other.hits or ()]
        first = offsets_of(system, "assignments", changed)
        compact_quickly(system, "assignments")
        publish(system, [(changed, {"title": "something else"}), *documents(4, start=40)])
        for number in range(60, 200):  # segments are closed by what comes after them
            publish(system, documents(2, start=number * 2))
            if first[0] not in offsets_of(system, "assignments", changed):
                break
            time.sleep(0.5)
        again = replayed(system, lost)
        assert again.verdict == "incomplete"
        (hit,) = [hit for hit in again.hits if hit.agreement == "absent"]
        assert hit.document_id == changed
        assert "compacted away" in (hit.reason or "")
        assert again.unknown["documents"] >= 1
        told = command(system, f"replay answers --query {lost.query_id}")
        assert told.exit_code == 4
        assert "compacted away" in told.output
        assert_agrees(system, other, exact=True)
        delete_up_to(system, "queries", other.query_id)
        with pytest.raises(GoneError, match="`queries` does not hold"):
            replayed(system, other)


def delete_up_to(system: System, name: str, key: str) -> None:
    """As retention does, of the partition of a key."""
    (record,) = [record for record in system.records(name) if record.key == key.encode()]
    place = TopicPartition(record.topic, record.partition, record.offset + 1)
    admin = AdminClient(client_config(system.settings))  # its futures never end once it is gone
    for done in admin.delete_records([place], request_timeout=30).values():
        done.result(60)
