"""Fetches and unpacks the packages that hold the drawings and their names, by npm and apt-get; done once."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import structlog

# Pinned: other versions hold other drawings, and the weights would differ.
NPM_PACKAGES = (
    "emoji-datasource-google@16.0.0",  # Noto Emoji pictures: Apache-2.0
    "emoji-datasource-twitter@16.0.0",  # Twemoji pictures: CC BY 4.0
    "fluentui-emoji@1.3.0",  # Fluent Emoji, flat and modern: MIT
    "emojibase-data@17.0.0",  # names and tags in many languages: MIT
)
DEBIAN_PACKAGE = "openclipart-svg"  # Open Clip Art Library: public domain

_log = structlog.get_logger()


def fetch(cache: Path) -> Path:
    """The folder of the unpacked packages; what is there already is not fetched again."""
    root = cache / "packages"
    root.mkdir(parents=True, exist_ok=True)
    for package in NPM_PACKAGES:
        _once(root / package.split("@")[0], _fetch_npm, package)
    _once(root / DEBIAN_PACKAGE, _fetch_debian, DEBIAN_PACKAGE)
    return root


def _once(target: Path, fetch_into: Callable[[str, Path], None], package: str) -> None:
    """Unpack beside the target and rename, so that a stopped run leaves no half package."""
    if target.exists():
        return
    _log.info("fetching", package=package)
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    fetch_into(package, unfinished)
    unfinished.rename(target)


def _fetch_npm(package: str, folder: Path) -> None:
    subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    archive = next(folder.glob("*.tgz"))
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()


def _fetch_debian(package: str, folder: Path) -> None:
    subprocess.run(["apt-get", "download", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    archive = next(folder.glob("*.deb"))
    subprocess.run(["dpkg-deb", "-x", archive.name, "."], cwd=folder, check=True)
    archive.unlink()
