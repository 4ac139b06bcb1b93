"""Simulated users whose taste is known, and what the system learns from their clicks: `trieflow bench learning`."""

from collections.abc import Sequence

from streams.settings import Settings

PARTS = {"--gates": "gates", "--ablation": "ablation", "--forced": "forced"}
"""By the flag that asks for it, the module that runs it."""


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run the benchmark; what it needs beside our own packages is imported here, for tests do without."""
    from importlib import import_module

    part = next((each for each in PARTS if each in arguments), None)
    module = import_module(f"{__name__}.{PARTS[part] if part else 'measure'}")
    module.main(settings, [each for each in arguments if each != part])
