from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from agents.content_store import ABANDONED_AFTER_S, UNFINISHED, ContentStore
from streams.errors import StateError

NAMES = [
    "thumbnails/0a1b2c.webp",
    "picture/open_clip:ViT-B-32/laion2b_s34b@3f/document/0a1b",
    "codebooks/epoch 7?#%25.bin",
    "vectors/Größe/✓",
]


@pytest.fixture(params=["folder", "file URL", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    folder = tmp_path / "with a space" / "content"
    urls = {
        "folder": str(folder),
        "file URL": folder.as_uri(),
        "bucket": f"memory://{uuid.uuid4().hex}/content",
    }
    return ContentStore(urls[request.param])


@pytest.mark.parametrize("name", NAMES)
def test_content_is_found_by_its_name_and_by_its_url(store: ContentStore, name: str):
    assert store.get(name) is None
    assert store.get(store.url(name)) is None
    url = store.put(name, b"content")
    assert url == store.url(name)
    assert store.get(name) == b"content"
    assert store.get(url) == b"content"


def test_names_that_look_alike_are_different_content(store: ContentStore):
    for name in ["a@b", "a%40b", "a/b", "a:b"]:
        store.put(name, name.encode())
    assert {store.get(name) for name in ["a@b", "a%40b", "a/b", "a:b"]} == {b"a@b", b"a%40b", b"a/b", b"a:b"}


def test_putting_twice_keeps_the_last(store: ContentStore):
    store.put("thumbnails/x", b"one")
    assert store.put("thumbnails/x", b"two") == store.url("thumbnails/x")
    assert store.get("thumbnails/x") == b"two"


def test_what_is_deleted_is_gone_by_name_and_by_url_and_was_there_once(store: ContentStore):
    url = store.put("thumbnails/x", b"one")
    store.put("thumbnails/y", b"two")
    assert [store.delete(url), store.delete(url), store.delete("thumbnails/y")] == [True, False, True]
    assert store.get("thumbnails/x") is None
    assert not store.delete("https://elsewhere.example/thumbnails/x")


@pytest.mark.parametrize(
    "name", ["", "/", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", ".unfinished/x", "a/."]
)
def test_a_name_cannot_lead_out_of_the_store(store: ContentStore, name: str):
    for use in (store.get, store.url, lambda name: store.put(name, b"x")):
        with pytest.raises(ValueError, match="not a name"):
            use(name)


def test_a_url_cannot_lead_out_of_the_store_and_a_foreign_one_is_not_in_it(store: ContentStore):
    inside = store.url("x").removesuffix("x")
    for path in ["../x", "%2e%2e/x"]:
        with pytest.raises(ValueError, match="not a name"):
            store.get(inside + path)
    assert store.get("file:///etc/hostname") is None
    assert store.get("s3://elsewhere/x") is None


def test_a_file_url_leads_to_the_file_itself(tmp_path: Path):
    store = ContentStore(tmp_path.as_uri())
    url = store.put("thumbnails/0a1b.webp", b"picture")
    assert url == (tmp_path / "thumbnails" / "0a1b.webp").as_uri()
    assert (tmp_path / "thumbnails" / "0a1b.webp").read_bytes() == b"picture"


def test_a_store_that_cannot_be_written_is_an_infrastructure_error(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    store = ContentStore(str(tmp_path / "file"))
    with pytest.raises(StateError, match="cannot write 'x'"):
        store.put("x", b"content")


def test_readers_see_whole_contents_while_writers_replace_them(tmp_path: Path):
    store = ContentStore(str(tmp_path))
    contents = [bytes([number]) * 1_000_000 for number in range(2)]
    store.put("x", contents[0])

    def write(content: bytes) -> None:
        for _ in range(50):
            store.put("x", content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    seen = []
    while any(writer.is_alive() for writer in writers):
        seen.append(store.get("x") in contents)
    assert seen
    assert all(seen)


WRITER = """
import sys
from agents.content_store import ContentStore
store = ContentStore(sys.argv[1])
while True:
    for number in range(2):
        store.put("x", bytes([number]) * 20_000_000)
        print("put", flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_no_half_content(tmp_path: Path):
    contents = [bytes([number]) * 20_000_000 for number in range(2)]
    for kill in range(5):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.003 * kill)
            writer.kill()
        assert ContentStore(str(tmp_path)).get("x") in contents


def test_what_a_killed_writer_left_is_swept_when_it_is_old(tmp_path: Path):
    ContentStore(str(tmp_path)).put("x", b"content")
    old, young = tmp_path / UNFINISHED / "old", tmp_path / UNFINISHED / "young"
    old.write_bytes(b"ha")
    young.write_bytes(b"ha")
    long_ago = time.time() - ABANDONED_AFTER_S - 60
    os.utime(old, (long_ago, long_ago))
    store = ContentStore(str(tmp_path))
    assert not old.exists()
    assert young.exists()
    assert store.get("x") == b"content"
