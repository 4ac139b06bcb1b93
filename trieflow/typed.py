"""What a person has to type to reach the same system again."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NAMING_FLAGS = ("data", "prefix")


def typed_command(flags: Mapping[str, Any]) -> str:
    """This program as the shell finds it, with those of the global flags that name the system."""
    named = [word for name in _NAMING_FLAGS if name in flags for word in (f"--{name}", str(flags[name]))]
    return " ".join([_program(), *map(shlex.quote, named)])


def _program() -> str:
    called = Path(sys.argv[0])
    if called.name != "trieflow" or not called.exists():
        return "trieflow"
    found = shutil.which("trieflow")
    if found is not None and os.path.samefile(found, called):
        return "trieflow"
    # In a checkout it stands in an environment that is not on the path of the shell.
    return shlex.quote(min(os.path.relpath(called), str(called.absolute()), key=len))
