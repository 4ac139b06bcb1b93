"""Simulated users whose taste is known, and what the system learns from their clicks: `trieflow bench learning`."""

from collections.abc import Sequence

from streams.settings import Settings


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run the benchmark; what it needs beside our own packages is imported here, for tests do without."""
    if "--gates" in arguments:
        from benchmarks.learning import gates

        gates.main(settings, [each for each in arguments if each != "--gates"])
        return
    from benchmarks.learning.measure import main

    main(settings, arguments)
