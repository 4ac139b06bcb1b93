"""From paths to documents."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from streams.errors import DataError
from streams.events.base import ErrorDetail, SourceAddress
from streams.events.documents import Receipt
from trieflow.publish import Item, PictureStyle, Refused, Summary, count_of, items_of
from trieflow.replies import RecordAddress


@pytest.fixture
def folder(tmp_path):
    for name in ["a/red_boot-1.png", "b.JPG", ".hidden/c.png", "notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        packed = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(packed, "PNG")
        (tmp_path / name).write_bytes(packed.getvalue())
    return tmp_path


def items(*paths, **style):
    return list(items_of([str(path) for path in paths], PictureStyle(**style)))


def test_a_folder_gives_its_pictures_with_their_paths_as_ids(folder):
    found = items(folder)
    assert [item.document_id for item in found] == ["a/red_boot-1.png", "b.JPG"]
    content = base64.b64decode(found[0].document.images[0].bytes)
    assert content == (folder / "a/red_boot-1.png").read_bytes()
    assert found[0].document.title is None
    assert count_of([str(folder)]) == 2


def test_titles_are_made_from_file_names_when_asked(folder):
    assert [item.document.title for item in items(folder, titles=True)] == ["red boot 1", "b"]


def test_by_url_sends_no_bytes(folder):
    image = items(folder / "b.JPG", by_url=True)[0].document.images[0]
    assert image.bytes is None
    assert image.url == (folder / "b.JPG").as_uri()


def test_a_picture_over_the_limit_is_sent_smaller(tmp_path):
    Image.effect_noise((600, 600), 80).save(tmp_path / "large.png")
    image = items(tmp_path, inline_limit=20_000)[0].document.images[0]
    assert len(base64.b64decode(image.bytes)) <= 20_000


def test_what_cannot_be_read_is_refused_and_the_rest_goes_on(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture" * 1_000)
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    refused, good = items(tmp_path, inline_limit=1_000)
    assert isinstance(refused, Refused)
    assert refused.error.code == "undecodable_image"
    assert isinstance(good, Item)


def test_json_lines_are_documents_with_an_id(tmp_path):
    lines = [
        b'{"id": "a", "title": "Red", "new_field": 1}',
        b"",
        b'{"title": "no id"}',
        b'{"id": 3, "title": "a number"}',
        b'{"id": "b"}',
        b"not json",
        b'{"id": "c", "title": 3}',
        b'{"id": "d", "video": "x", "title": "y"}',
    ]
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = items(path)
    assert [item.document_id for item in found if isinstance(item, Item)] == ["a"]
    codes = [item.error.code for item in found if isinstance(item, Refused)]
    assert codes == ["bad_key", "bad_key", "empty_document", "not_json", "schema", "unsupported_modality"]
    assert [item.where.rsplit(" ", 1)[1] for item in found if isinstance(item, Refused)] == list("345678")
    assert count_of([str(path)]) == 7


def test_standard_input_has_no_known_length_and_a_missing_path_is_an_error(tmp_path):
    assert count_of(["-", str(tmp_path)]) is None
    with pytest.raises(DataError, match="no file or folder"):
        items(tmp_path / "missing.png")


def test_a_summary_counts_statuses_errors_and_places():
    summary = Summary()
    for offset, status in enumerate(["indexed", "rejected", "unchanged"]):
        error = ErrorDetail(code="schema", message="wrong") if status == "rejected" else None
        source = SourceAddress(partition=1, offset=offset + 5)
        summary.add_receipt(
            Receipt(document_id=f"d{offset}", status=status, source=source, error=error, took_ms=1),
            "documents",
        )
    summary.add_refused(Refused("x.png", DataError("unreachable", "gone")))
    summary.add_written(RecordAddress("documents", 0, 3))
    assert summary.failed == 2
    assert summary.errors == ["d1: schema: wrong", "x.png: unreachable: gone"]
    assert summary.written == {("documents", 1): (3, 5, 7), ("documents", 0): (1, 3, 3)}
