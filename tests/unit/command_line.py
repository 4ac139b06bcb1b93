"""Whether a command line is one that `trieflow` takes, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer.main

from trieflow.cli import app
from trieflow.commands.running import ROLES


def parses(arguments: Sequence[str]) -> bool:
    """True when commands, options, arguments and roles are known and complete. Raises what the parser raises."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("trieflow", list(arguments))
    while hasattr(command, "commands"):
        words = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, words)
        context = command.make_context(name, rest, parent=context)
    return command.name != "worker" or context.params["role"] in ROLES
