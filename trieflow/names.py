"""Whose are our package names? `agents`, `models` and `state` are common words; another package may own them.

Checked before any heavy import, because the wrong `agents` would be imported with our name and fail somewhere
in its depths, or not fail at all.
"""

from __future__ import annotations

from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from streams.errors import TrieflowError

NAMES = ("agents", "models", "state", "streams", "trieflow")
DISTRIBUTION = "trieflow"
_REMEDY = "Install trieflow into an environment of its own (`python -m venv`), or uninstall that package"


class NameTakenError(TrieflowError):
    """Another package owns one of our names. Install trieflow into an environment of its own."""


def names_taken() -> list[str]:
    """Return a line for each of our names that is not ours alone; an empty list when all is well."""
    owners = packages_distributions()
    tree = Path(__file__).resolve().parent.parent
    problems = []
    for name in NAMES:
        strangers = sorted(set(owners.get(name, [])) - {DISTRIBUTION})
        if strangers:
            problems.append(f"the package {', '.join(strangers)} also installs {name!r}")
        place = _place(name)
        if place != tree / name:
            problems.append(f"{name!r} is imported from {place}, not from {tree / name}")
    return problems


def check_names() -> None:
    """Raises NameTakenError when one of our names is not ours alone."""
    problems = names_taken()
    if problems:
        raise NameTakenError("\n".join([*problems, _REMEDY]))


def _place(name: str) -> Path | None:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).resolve().parent
