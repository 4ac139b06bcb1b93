"""`python -m trieflow` is the command line."""

from __future__ import annotations

from trieflow.cli import main

if __name__ == "__main__":
    main()
