"""Simulated users whose taste is known, and what the system learns from their clicks: `trieflow bench learning`."""

from collections.abc import Sequence
from importlib import import_module

from streams.settings import Settings

PARTS = {
    "--gates": "benchmarks.learning.gates",
    "--spam": "benchmarks.learning.spam",
    "--shift": "benchmarks.learning.shift",
    "--serving": "benchmarks.learning.serving",
}
"""Other measurements over the same world, by the flag that asks for them."""


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run the benchmark; what it needs beside our own packages is imported here, for tests do without."""
    names = [each.partition("=")[0] for each in arguments]
    asked_for = next(
        (module for flag, module in PARTS.items() if flag in names), "benchmarks.learning.measure"
    )
    import_module(asked_for).main(settings, arguments)
