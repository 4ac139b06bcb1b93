"""Our package names are common words; the check must notice a stranger."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trieflow import names


def test_here_all_names_are_ours():
    assert names.names_taken() == []
    names.check_names()


def test_another_distribution_that_owns_a_name_is_named(monkeypatch):
    monkeypatch.setattr(names, "packages_distributions", lambda: {"agents": ["openai-agents", "trieflow"]})
    with pytest.raises(names.NameTakenError, match=r"openai-agents also installs 'agents'(.|\n)*venv"):
        names.check_names()


def test_a_package_that_would_be_imported_instead_of_ours_is_found(tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("raise SystemExit('the stranger was imported')")
    code = "from trieflow.names import names_taken; print(names_taken())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert f"'agents' is imported from {tmp_path / 'agents'}" in done.stdout
