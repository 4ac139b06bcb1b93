"""Settings: what wins over what, faults told together, secrets told never."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from streams.errors import SettingsError
from streams.settings import Settings, explain_settings, load_settings, setting_paths

SECRET = "open-sesame"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder and no settings from around."""
    for name in [name for name in os.environ if name.upper().startswith("TRIEFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(text: str, path: str = "trieflow.toml") -> None:
    Path(path).write_text(text)


def fault(**flags: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(**flags)
    return str(caught.value)


def test_nothing_has_to_be_set():
    assert load_settings() == Settings.model_construct()


def test_flags_win_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch):
    write('encoder = "a"\npartitions = 1\nprefix = "file."\n[search]\nbeam = 4\nleaves = 5\n')
    monkeypatch.setenv("TRIEFLOW_ENCODER", "b")
    monkeypatch.setenv("TRIEFLOW_PARTITIONS", "2")
    monkeypatch.setenv("TRIEFLOW_SEARCH__BEAM", "6")
    settings = load_settings(encoder="c", partitions=None)
    assert (settings.encoder, settings.partitions, settings.prefix) == ("c", 2, "file.")
    assert (settings.search.beam, settings.search.leaves, settings.search.batch) == (6, 5, 32)


def test_another_file_can_be_named_and_must_be_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRIEFLOW_CONFIG", "other.toml")
    assert "other.toml" in fault()
    write("partitions = 3", "other.toml")
    write("partitions = 4")
    assert load_settings().partitions == 3


def test_every_fault_is_told_at_once_by_its_name(monkeypatch: pytest.MonkeyPatch):
    write("partitions = 0\nnonsense = 1\n[kafka]\nsession_timeout_s = 1\n")
    monkeypatch.setenv("TRIEFLOW_GRACE_S", "soon")
    message = fault(prefix="a/b")
    names = ("partitions", "nonsense", "kafka.session_timeout_s", "grace_s", "prefix")
    assert [name for name in names if f"\n  {name}: " not in message] == []
    assert "(given: 'soon')" in message


@pytest.mark.parametrize("name", ["TRIEFLOW_PARTITONS", "TRIEFLOW_SERCH__BEAM"])
def test_a_mistyped_name_in_the_environment_is_a_fault(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "3")
    assert name in fault()


def test_names_in_the_environment_that_steer_tests_are_no_fault(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRIEFLOW_CRASH_AT", "5-6")
    load_settings()


@pytest.mark.parametrize("text", ["partitions = = 3", 'prefix = "a'])
def test_a_file_that_is_no_toml_is_a_fault_of_settings(text: str):
    write(text)
    assert "trieflow.toml" in fault()


def test_a_file_that_is_no_text_is_a_fault_of_settings():
    Path("trieflow.toml").write_bytes(b'prefix = "\xff"')
    assert "trieflow.toml" in fault()


def test_a_list_in_the_environment_is_json(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRIEFLOW_CONTENT__ALLOWED_ROOTS", '["/pictures", "/more"]')
    assert load_settings().content.allowed_roots == (Path("/pictures"), Path("/more"))
    monkeypatch.setenv("TRIEFLOW_CONTENT__ALLOWED_ROOTS", "/pictures")
    assert "JSON" in fault()


@pytest.mark.parametrize(
    "text",
    [
        f'[kafka]\nsasl_password = ["{SECRET}"]',
        f'[kafka]\nsasl_pasword = "{SECRET}"',
        f'[privacy]\nuser_hash_key = ["{SECRET}"]',
        f'kafka = "{SECRET}"',
        f'user_hash_key = "{SECRET}"',
    ],
)
def test_no_fault_shows_what_may_be_a_secret(text: str):
    write(text)
    assert SECRET not in fault()


def test_a_secret_is_never_printed():
    write(f'[kafka]\nsasl_password = "{SECRET}"\n[privacy]\nuser_hash_key = "{SECRET}"')
    settings = load_settings()
    assert settings.kafka.sasl_password is not None
    assert settings.kafka.sasl_password.get_secret_value() == SECRET
    assert SECRET not in repr(settings) + str(settings) + str(explain_settings(settings, {}))


def test_explaining_names_every_setting_with_its_value_and_origin(monkeypatch: pytest.MonkeyPatch):
    write("partitions = 3\n[search]\nbeam = 4\nleaves = 5\n")
    monkeypatch.setenv("TRIEFLOW_SEARCH__BEAM", "6")
    flags = {"prefix": "p.", "encoder": None}
    explained = {
        name: (value, origin) for name, value, origin in explain_settings(load_settings(**flags), flags)
    }
    assert set(explained) == set(setting_paths(Settings))
    assert explained["prefix"] == ("p.", "flag")
    assert explained["search.beam"] == ("6", "environment")
    assert explained["search.leaves"] == ("5", "trieflow.toml")
    assert explained["encoder"] == ("lite", "default")


def test_settings_do_not_change():
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.partitions = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.search.beam = 3  # type: ignore[misc]


def test_topics_folders_and_store_follow_from_prefix_data_and_worker(tmp_path: Path):
    settings = load_settings(prefix="shop.", data=tmp_path / "data", worker="two")
    assert settings.topic("documents") == "shop.documents"
    assert settings.role_folder("indexer") == tmp_path / "data" / "indexer-two"
    assert settings.content_store == (tmp_path / "data" / "content").as_uri()
    assert load_settings(content={"store": "s3://bucket/x"}).content_store == "s3://bucket/x"
