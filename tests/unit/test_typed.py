"""What is printed to be typed next has to work in the shell that reads it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from trieflow.typed import typed_command


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a program in its environment, from which that is called."""
    program = tmp_path / ".venv" / "bin" / "trieflow"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(program), "up"])
    monkeypatch.setenv("PATH", "")
    return program


def test_a_program_off_the_path_is_named_by_the_way_to_it(checkout: Path) -> None:
    assert typed_command({}) == ".venv/bin/trieflow"


def test_a_program_on_the_path_is_named_as_it_is(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout.parent))
    assert typed_command({}) == "trieflow"


def test_another_program_of_that_name_on_the_path_is_not_meant(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / "trieflow"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    assert typed_command({}) == ".venv/bin/trieflow"


def test_flags_that_name_the_system_are_repeated_and_others_not(checkout: Path) -> None:
    line = typed_command({"data": Path("my data"), "prefix": "a.", "encoder": "hash"})
    assert shlex.split(line)[1:] == ["--data", "my data", "--prefix", "a."]
