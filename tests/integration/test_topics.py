"""Topics on a real broker: created once, checked always, with words on what to do."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from streams.broker import EmbeddedBroker
from streams.errors import BrokerError, TopicMismatchError
from streams.settings import Settings, load_settings
from streams.topics import check_topics, create_topics, topic_specs
from tests.recovery.waiting import eventually

pytestmark = pytest.mark.integration

Make = Callable[..., Settings]


@pytest.fixture
def make(broker: EmbeddedBroker) -> Make:
    prefix = f"topics-{uuid.uuid4().hex[:8]}."
    return lambda **more: load_settings(
        brokers=broker.bootstrap, **{"prefix": prefix, "partitions": 3, **more}
    )


def set_policy(settings: Settings, topic: str, policy: str) -> None:
    admin = AdminClient({"bootstrap.servers": settings.brokers})
    change = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, settings.topic(topic), incremental_configs=[change])
    admin.incremental_alter_configs([resource])[resource].result(20)
    # A broker tells what it has heard of, and hears of a change a moment after it was confirmed.
    asked = ConfigResource(ResourceType.TOPIC, settings.topic(topic))
    wanted = sorted(policy.split(","))
    eventually(
        lambda: (
            sorted(admin.describe_configs([asked])[asked].result(20)["cleanup.policy"].value.split(","))
            == wanted
        ),
        30,
        what="the policy is known",
    )


def test_topics_are_created_as_they_must_be_and_a_second_time_nothing_happens(make: Make):
    settings = make()
    assert {state.problem is None for state in check_topics(settings)} == {False}
    created: list[str] = []
    states = create_topics(settings, on_created=created.append)
    assert sorted(created) == sorted(spec.name for spec in topic_specs(settings))
    assert {(state.spec.name, state.partitions) for state in states} == {
        (spec.name, spec.partitions) for spec in topic_specs(settings)
    }
    create_topics(settings, on_created=lambda name: pytest.fail(f"{name} was created again"))


def test_the_broker_holds_every_setting_of_a_topic(make: Make):
    settings = make()
    create_topics(settings)
    admin = AdminClient({"bootstrap.servers": settings.brokers})
    for spec in topic_specs(settings):
        resource = ConfigResource(ResourceType.TOPIC, spec.name)
        held = admin.describe_configs([resource])[resource].result(20)
        expected = {"cleanup.policy": spec.cleanup_policy, **spec.config}
        assert {name: held[name].value for name in expected} == expected


def test_several_processes_may_create_them_at_once(make: Make):
    settings = make()
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(create_topics, settings) for _ in range(4)]
    assert all(state.problem is None for answer in answers for state in answer.result())


def test_another_count_of_partitions_is_an_error_that_says_what_to_set(make: Make):
    create_topics(make())
    with pytest.raises(
        TopicMismatchError, match="has 3 partitions, the settings say 4: set TRIEFLOW_PARTITIONS"
    ) as caught:
        create_topics(make(partitions=4))
    # All of them at once, and none whose count is one whatever the settings say.
    assert len(str(caught.value).splitlines()) == sum(spec.partitions == 3 for spec in topic_specs(make()))


@pytest.mark.parametrize(
    ("topic", "policy", "advice"),
    [
        ("documents", "delete", "cleanup.policy=compact"),
        ("assignments", "compact,delete", "compact alone"),
        ("receipts", "compact", "cleanup.policy=delete"),
    ],
)
def test_another_cleanup_policy_is_an_error_that_says_what_to_type(
    make: Make, topic: str, policy: str, advice: str
):
    settings = make()
    create_topics(settings)
    set_policy(settings, topic, policy)
    with pytest.raises(TopicMismatchError, match=advice) as caught:
        create_topics(settings)
    assert str(caught.value).count(settings.prefix) == str(caught.value).count(settings.topic(topic))


def test_a_missing_topic_is_named_with_the_command_that_makes_it(make: Make):
    settings = make()
    admin = AdminClient({"bootstrap.servers": settings.brokers})
    admin.create_topics([NewTopic(settings.topic("moves"), 3)])[settings.topic("moves")].result(20)

    def problems() -> dict[str, str | None]:
        return {state.spec.name: state.problem for state in check_topics(settings)}

    # A broker may answer that it made a topic a moment before it names it.
    eventually(
        lambda: problems()[settings.topic("moves")] is None, 20, what="the topic that is there is named"
    )
    assert "trieflow topics create" in (problems()[settings.topic("documents")] or "")


def test_a_broker_that_does_not_answer_is_told_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("streams.topics._WAIT_S", 0.5)
    with pytest.raises(BrokerError, match="trieflow doctor"):
        check_topics(load_settings(brokers="127.0.0.1:9"))
