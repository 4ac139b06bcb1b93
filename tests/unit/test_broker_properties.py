from __future__ import annotations

from streams.broker.properties import MAX_MESSAGE_BYTES, server_properties
from streams.clients import MESSAGE_LIMIT


def parsed(**changes: int | str) -> dict[str, str]:
    arguments = {"log_dir": "log", "port": 21001, "controller_port": 21002} | changes
    lines = server_properties(**arguments).splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    assert len(settings) == len(lines), "a setting stands twice"
    return settings


def test_every_listener_is_on_loopback():
    settings = parsed()
    addresses = [*settings["listeners"].split(","), settings["advertised.listeners"]]
    assert addresses == [
        "PLAINTEXT://127.0.0.1:21001",
        "CONTROLLER://127.0.0.1:21002",
        "PLAINTEXT://127.0.0.1:21001",
    ]


def test_the_only_voter_is_the_node_itself():
    settings = parsed()
    assert settings["controller.quorum.voters"] == f"{settings['node.id']}@127.0.0.1:21002"


def test_one_node_carries_every_internal_topic():
    settings = parsed()
    copies = {name: value for name, value in settings.items() if name.endswith((".factor", ".min.isr"))}
    assert len(copies) == 5
    assert set(copies.values()) == {"1"}


def test_a_topic_is_never_made_by_asking_for_it():
    assert parsed()["auto.create.topics.enable"] == "false"


def test_the_broker_takes_whatever_our_producers_may_send():
    assert MAX_MESSAGE_BYTES >= MESSAGE_LIMIT
    assert parsed()["message.max.bytes"] == parsed()["replica.fetch.max.bytes"] == str(MAX_MESSAGE_BYTES)


def test_the_log_folder_is_the_one_asked_for():
    assert parsed(log_dir="log.new")["log.dirs"] == "log.new"
