"""The files of the contract: their names and their text, the same on every machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from streams.schemas.asyncapi import asyncapi_document
from streams.schemas.event_schemas import CLOUD_EVENT, EVENT_FILES, cloud_event_schema, event_schema


def schema_files() -> dict[str, str]:
    """File name and text of each file."""
    documents: dict[str, Any] = {file.name: event_schema(file) for file in EVENT_FILES}
    documents[CLOUD_EVENT] = cloud_event_schema()
    documents["asyncapi"] = asyncapi_document()
    return {f"{name}.json": _text(document) for name, document in documents.items()}


def write_schemas(folder: Path) -> None:
    """Write all files, each whole or not at all, and delete those that are no part of the contract any more."""
    folder.mkdir(parents=True, exist_ok=True)
    files = schema_files()
    for name, text in files.items():
        unfinished = folder / f"{name}.new"
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, folder / name)
    for path in folder.glob("*.json"):
        if path.name not in files:
            path.unlink()


def _text(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
