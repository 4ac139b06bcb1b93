"""`python -m streams.schemas [FOLDER]`: write the contract, `docs/schemas` by default."""

from __future__ import annotations

import sys
from pathlib import Path

from streams.schemas.files import schema_files, write_schemas

FOLDER = Path("docs/schemas")

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    write_schemas(folder)
    print(f"{len(schema_files())} files in {folder}")
