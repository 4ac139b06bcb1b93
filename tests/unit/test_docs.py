"""The documentation says what the code does: names, defaults, commands and links are compared."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter, Gauge, Histogram
from pydantic import BaseModel

from agents.sensors import PrometheusSensor
from streams.dead_letters import ATTEMPTS, ERROR_HEADER_PREFIX, STAGE, TRUNCATED
from streams.errors import ERROR_CODES
from streams.events import (
    assignments,
    bad_cases,
    base,
    codebooks,
    documents,
    forgetting,
    impressions,
    models,
    profiles,
    queries,
    training,
)
from streams.headers import ACCEPTED_TYPES, REPLY_TO
from streams.settings import MIB, Section, Settings, load_settings, setting_paths
from streams.topics import topic_specs
from tests.unit.command_line import parses
from trieflow.reference import PAGE, page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *(ROOT / "deploy").glob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
    ]
)
EVENTS = sorted(
    {
        model
        for module in (
            assignments,
            bad_cases,
            base,
            codebooks,
            documents,
            forgetting,
            impressions,
            models,
            profiles,
            queries,
            training,
        )
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == module.__name__
    }
    - {base.Event, base.LogPosition},
    key=lambda model: model.__name__,
)
each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


# -- every page ------------------------------------------------------------------------------------------


@each_page
def test_every_link_leads_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        assert there.is_relative_to(ROOT), target
        if anchor:
            assert anchor in set(_anchors(there.read_text())), target


@each_page
def test_every_command_that_is_shown_is_one(path):
    for line in _commands(path.read_text()):
        assert parses(line), " ".join(line)


@each_page
def test_every_make_target_that_is_shown_is_one(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.MULTILINE)
    assert set(shown) <= targets


@each_page
def test_every_setting_in_the_environment_that_is_named_exists(path):
    known = {"TRIEFLOW_" + name.upper().replace(".", "__") for name in setting_paths(Settings)}
    known |= {"TRIEFLOW_CONFIG", "TRIEFLOW_CRASH_AT"}
    named = set(re.findall(r"TRIEFLOW_[A-Z0-9_]+[A-Z0-9]", path.read_text()))
    assert named <= known


@each_page
def test_every_python_snippet_is_python_and_imports_what_exists(path):
    for code in _blocks(path.read_text(), "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module or "")
                assert all(hasattr(module, name.name) for name in node.names)


@each_page
def test_every_json_snippet_that_is_a_query_is_one(path):
    for text in _blocks(path.read_text(), "json"):
        queries.Query.model_validate_json(text)


def test_every_settings_file_that_is_shown_is_taken(tmp_path, monkeypatch):
    shown = [text for path in PAGES for text in _blocks(path.read_text(), "toml")]
    assert shown
    for text in shown:
        tomllib.loads(text)
        (tmp_path / "trieflow.toml").write_text(text)
        monkeypatch.setenv("TRIEFLOW_CONFIG", str(tmp_path / "trieflow.toml"))
        load_settings()


def test_the_readme_shows_a_whole_example():
    shown = {code.strip() for code in _blocks((ROOT / "README.md").read_text(), "python")}
    assert (ROOT / "examples" / "publish.py").read_text().strip() in shown


# -- reference -------------------------------------------------------------------------------------------


def test_the_page_of_commands_is_what_the_commands_say():
    assert PAGE.read_text() == page(), "run `make docs`"


def test_every_setting_stands_in_its_page_with_its_default():
    rows = {cells[0].strip("`"): cells for cells in _rows(REFERENCE / "settings.md")}
    defaults = dict(_defaults())
    assert set(rows) == set(defaults)
    for name, default in defaults.items():
        _, environment, shown, meaning = rows[name]
        assert environment == f"`TRIEFLOW_{name.upper().replace('.', '__')}`"
        assert shown == default, name
        assert meaning, name


def test_every_error_code_stands_in_its_page():
    assert {cells[0].strip("`") for cells in _rows(REFERENCE / "errors.md")} == set(ERROR_CODES)


def test_every_metric_stands_in_its_page_with_type_and_labels():
    shown = {
        cells[0].strip("`"): (cells[1], tuple(re.findall(r"`(\w+)`", cells[2])))
        for cells in _rows(REFERENCE / "metrics.md")
        if cells[0].startswith("`trieflow_")
    }
    assert shown == dict(_metrics())


def test_every_health_page_stands_in_its_page():
    text = (REFERENCE / "metrics.md").read_text()
    assert all(f"| `{name}` |" in text for name in ("/live", "/ready", "/status", "/metrics"))


def test_every_topic_stands_in_its_page_as_it_is_created():
    settings = Settings()
    rows = {cells[0].strip("`"): cells for cells in _rows(REFERENCE / "topics.md") if len(cells) == 7}
    specs = {spec.name.removeprefix(settings.prefix): spec for spec in topic_specs(settings)}
    assert set(rows) == set(specs)
    for name, spec in specs.items():
        _, partitions, cleanup, kept, largest, *_ = rows[name]
        assert int(partitions.replace("P", str(settings.partitions))) == spec.partitions, name
        assert cleanup == spec.cleanup_policy, name
        assert _hours(kept, settings) == spec.config.get("retention.ms"), name
        assert _bytes(largest) == int(spec.config["max.message.bytes"]), name


@pytest.mark.parametrize("model", EVENTS, ids=lambda model: model.__name__)
def test_every_field_of_an_event_stands_in_its_section(model):
    text = (REFERENCE / "events.md").read_text()
    section = re.search(rf"^### {model.__name__}\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    assert section, model.__name__
    shown = [row.strip("`") for row in re.findall(r"^\| (`[^|]+`) \|", section[1], re.MULTILINE)]
    fields = [name for name in shown if name not in documents.ReceiptStatus.__args__]
    assert sorted(fields) == sorted(model.model_fields)


def test_every_status_of_a_receipt_is_explained():
    text = (REFERENCE / "events.md").read_text()
    assert all(f"| `{status}` |" in text for status in documents.ReceiptStatus.__args__)


def test_every_header_and_type_stands_in_the_page_of_events():
    text = (REFERENCE / "events.md").read_text()
    types = {kind for kinds in ACCEPTED_TYPES.values() for kind in kinds}
    errors = {
        ERROR_HEADER_PREFIX + name
        for name in ("topic", "partition", "offset", "exception", "message", "stacktrace")
    }
    for name in types | errors | {ATTEMPTS, STAGE, TRUNCATED, REPLY_TO}:
        assert f"`{name}`" in text, name


# -- architecture ----------------------------------------------------------------------------------------


def test_the_architecture_names_every_module_and_none_that_is_not_there():
    text = (DOCS / "architecture.md").read_text()
    named = set(re.findall(r"`((?:streams|state|models|agents|trieflow|benchmarks)/[\w/]*\.py)`", text))
    there = {
        str(path.relative_to(ROOT))
        for folder in ("streams", "state", "models", "agents", "trieflow")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert there - named == set()


def test_every_package_says_what_it_holds():
    for name in ("streams", "state", "models", "agents", "trieflow"):
        for path in (ROOT / name).rglob("__init__.py"):
            assert ast.get_docstring(ast.parse(path.read_text())), path


# -- reading pages ---------------------------------------------------------------------------------------


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def _commands(text: str) -> Iterator[list[str]]:
    """Arguments of each `trieflow …` in shell blocks and in inline code; not of placeholders."""
    lines = [line for block in _blocks(text, "sh") for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    for line in lines:
        found = re.match(r"(?:export |[A-Z_]+=\S+ |[\w-]+ \| )*(?:\S*/)?trieflow (.+)", line)
        if found is None or re.search(r"\bCOMMAND\b|\bROLE\b|\[OPTIONS\]", line):
            continue
        words = shlex.split(found[1], comments=True)
        ends = [n for n, word in enumerate(words) if word in ("|", "&&")]
        yield words[: ends[0]] if ends else words


def _anchors(text: str) -> Iterator[str]:
    for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _rows(path: Path) -> list[list[str]]:
    """Cells of each row of a table whose first cell is code."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def _defaults() -> Iterator[tuple[str, str]]:
    for name in setting_paths(Settings):
        section, _, inner = name.rpartition(".")
        model: Any = Settings.model_fields[section].annotation if section else Settings
        assert not section or issubclass(model, Section)
        yield name, _shown(model.model_fields[inner].default)


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "`[]`" if value == () else f"`{value}`"


def _metrics() -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    kinds = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
    for collector in vars(PrometheusSensor()).values():
        if type(collector) in kinds:
            yield collector._name, (kinds[type(collector)], tuple(collector._labelnames))


def _hours(kept: str, settings: Settings) -> str | None:
    if kept == "newest of each key":
        return None
    setting = re.fullmatch(r"`retention\.(\w+)`", kept)
    hours = getattr(settings.retention, setting[1]) if setting else float(kept.removesuffix(" hours"))
    return str(int(hours * 3_600_000))


def _bytes(largest: str) -> int:
    whole, _, more = largest.partition(" + ")
    return int(whole.removesuffix(" MiB")) * MIB + (int(more.removesuffix(" KiB")) * 1024 if more else 0)
