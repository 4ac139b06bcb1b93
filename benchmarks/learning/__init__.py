"""Simulated users whose taste is known, and what the system learns from their clicks: `trieflow bench learning`."""

from collections.abc import Sequence
from importlib import import_module

from streams.settings import Settings

PARTS = {
    "--gates": "gates",
    "--ablation": "ablation",
    "--forced": "forced",
    "--spam": "spam",
    "--shift": "shift",
    "--serving": "serving",
}
"""Other measurements over the same world, by the flag that asks for them."""


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run the benchmark; what it needs beside our own packages is imported here, for tests do without."""
    names = [each.partition("=")[0] for each in arguments]
    part = next((module for flag, module in PARTS.items() if flag in names), "measure")
    import_module(f"{__name__}.{part}").main(settings, arguments)
