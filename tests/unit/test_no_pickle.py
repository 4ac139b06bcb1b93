from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ["streams", "state", "models", "agents", "trieflow", "benchmarks", "examples", "tests"]
# Modules that unpickle, and calls that do so in secret.
FORBIDDEN = re.compile(
    r"\b(?:import|from)\s+(?:c?pickle|_pickle|dill|cloudpickle|joblib|shelve|marshal)\b"
    r"|allow_pickle\s*=\s*True|weights_only\s*=\s*False|\btorch\.load\((?![^)]*weights_only=True)"
)


def offences(text: str) -> list[str]:
    return [match.group() for match in FORBIDDEN.finditer(text)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_is_pickled_or_unpickled_in(folder: str):
    sources = [path for path in (ROOT / folder).rglob("*.py") if path != Path(__file__)]
    found = {str(path.relative_to(ROOT)): offences(path.read_text(encoding="utf-8")) for path in sources}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        *["import pickle", "from pickle import loads", "import joblib", "import shelve"],
        *["np.load(path, allow_pickle=True)", "torch.load(path)", "torch.load(path, weights_only=False)"],
    ],
)
def test_the_search_itself_finds(line: str):
    assert offences(line)
