"""The command line without a broker: help, options, exit codes, output."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time

import orjson
import pytest
from typer.testing import CliRunner

from trieflow.cli import app

COMMANDS = [
    "up", "down", "publish", "delete", "search", "click", "ids tree", "status", "topics create", "topics show",
    "topics check", "doctor", "config", "replay dlq", "epochs list", "epochs rollback", "forget", "demo", "worker",
    "bench",
]  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Type in a command, in an empty folder and without settings from around."""
    for name in list(os.environ):
        if name.startswith("TRIEFLOW_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def type_in(line: str, **keywords):
        return CliRunner().invoke(app, line.split(), **keywords)

    return type_in


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(run, command):
    done = run(f"{command} --help")
    assert done.exit_code == 0
    assert "Usage:" in done.stdout
    assert "Example:" in done.stdout
    assert command.split()[-1] in done.stdout


def test_help_lists_every_command(run):
    shown = run("--help").stdout
    assert [name for name in COMMANDS if name.split()[0] not in shown] == []


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "search --mode psychic x",
        "search --filter {x x",
        "search --filter [1] x",
        "search --weights one x",
        "search --read-after 7 x",
        "search boots OR NOT",
        "ids tree boots",
        "ids tree 3.17.402.8",
        "ids tree --depth 4",
        "worker gardener",
        "up --searchers 0",
        "publish",
        "replay dlq --limit 0",
        "forget",
        "forget --user anna --document d",
        "--partitions none config",
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(run, line):
    done = run(line)
    assert done.exit_code == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "line",
    [
        "status",
        "search boots",
        "publish x.png",
        "topics check",
        "delete a",
        "replay dlq",
        "click q d",
        "epochs",
        "epochs rollback",
        "forget --user anna",
    ],
)
def test_without_a_system_commands_exit_with_1_and_say_how_to_start_one(run, line):
    done = run(line)
    assert done.exit_code == 1
    assert "trieflow up" in done.stderr
    assert done.stdout == ""


def test_wrong_settings_exit_with_2_and_name_the_fault(run, monkeypatch):
    monkeypatch.setenv("TRIEFLOW_PARTITIONS", "many")
    done = run("config")
    assert done.exit_code == 2
    assert "partitions" in done.stderr


@pytest.mark.parametrize(
    "line", ["--data elsewhere config", "config --data elsewhere", "config --data=elsewhere"]
)
def test_global_options_stand_before_or_behind_the_command(run, line):
    values = orjson.loads(run(f"{line} --json").stdout)
    assert values["data"] == {"value": "elsewhere", "origin": "flag"}


def test_what_follows_two_dashes_is_no_option(run):
    done = run("delete --dry-run -- --data")
    assert done.stdout == "would delete --data\n"


def test_config_tells_where_each_value_came_from(run, monkeypatch, tmp_path):
    (tmp_path / "trieflow.toml").write_text('prefix = "shop."\npartitions = 3\n[search]\nbeam = 5\n')
    monkeypatch.setenv("TRIEFLOW_PARTITIONS", "4")
    monkeypatch.setenv("TRIEFLOW_KAFKA__SASL_PASSWORD", "secret-word")
    done = run("config --encoder hash --json")
    values = orjson.loads(done.stdout)
    assert values["encoder"] == {"value": "hash", "origin": "flag"}
    assert values["partitions"] == {"value": "4", "origin": "environment"}
    assert values["prefix"] == {"value": "shop.", "origin": "trieflow.toml"}
    assert values["search.beam"]["origin"] == "trieflow.toml"
    assert values["worker"]["origin"] == "default"
    assert "secret-word" not in done.stdout


def test_outside_a_terminal_a_table_is_lines_with_tabs(run):
    lines = run("config").stdout.splitlines()
    assert lines[0].split("\t") == ["setting", "value", "origin"]
    assert ["partitions", "8", "default"] in [line.split("\t") for line in lines]


def test_deleting_several_asks_first_and_a_no_deletes_nothing(run):
    done = run("delete a b", input="n\n")
    assert done.exit_code == 1
    assert "Delete 2 documents?" in done.output


def test_doctor_finds_what_is_wrong_and_exits_with_1(run, tmp_path, monkeypatch):
    monkeypatch.setattr("trieflow.cluster.ASK_TIMEOUT_S", 0.2)
    done = run("doctor --json --encoder open_clip:tiny/none --brokers 127.0.0.1:1")
    findings = {finding["what"]: finding for finding in orjson.loads(done.stdout)}
    assert done.exit_code == 1
    assert findings["Kafka"]["verdict"] == "bad"
    assert findings["package names"]["verdict"] == "good"
    assert findings["data folder"]["verdict"] == "good"
    assert not (tmp_path / ".trieflow").exists()


def test_doctor_is_content_before_the_first_start(run):
    done = run("doctor --json")
    findings = {finding["what"]: finding["verdict"] for finding in orjson.loads(done.stdout)}
    assert done.exit_code == 0, done.stdout
    assert findings["Kafka"] == "note"
    assert findings["encoder lite"] == "good"


def test_an_unknown_benchmark_is_a_clear_error(run):
    done = run("bench nonsense")
    assert done.exit_code == 2
    assert "nonsense" in done.stderr


def test_help_behind_a_benchmark_is_its_own(run):
    done = run("bench trie --help")
    assert done.exit_code == 0
    assert "--ids" in done.stdout


def test_a_benchmark_without_its_packages_says_what_to_install(run, monkeypatch):
    def needs_more(settings, arguments):
        importlib.import_module("a_package_that_nobody_has")

    monkeypatch.setattr("benchmarks.path.main", needs_more)
    done = run("bench path")
    assert done.exit_code == 2
    assert "a_package_that_nobody_has" in done.stderr
    assert "requirements/bench.txt" in done.stderr.replace("\n", "")


def test_a_tied_worker_ends_when_its_parent_lets_go():
    code = "import time; from trieflow.supervisor import end_with_parent; end_with_parent(); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        time.sleep(0.1)
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(30) == 1
