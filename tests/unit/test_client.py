"""What the client makes of what it is given, before anything is sent."""

from __future__ import annotations

import base64
import io
import subprocess
import sys

import pytest
from PIL import Image

import trieflow
from streams.errors import BrokerError, DataError
from streams.events.base import LogPosition, SourceAddress
from streams.events.documents import Receipt
from streams.events.queries import Query, QueryPart
from streams.settings import load_settings
from trieflow.client import Client
from trieflow.pictures import fitted
from trieflow.questions import build_query

LIMIT = 256 * 1024


def picture(side: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    """A picture of noise, which does not compress."""
    packed = io.BytesIO()
    Image.effect_noise((side, side), 80).convert(mode).save(packed, kind)
    return packed.getvalue()


def test_a_text_becomes_one_part_of_weight_one():
    query = build_query("red boots", {}, inline_limit=LIMIT)
    assert query.parts == [QueryPart(text="red boots", weight=1.0)]


def test_weights_go_to_texts_then_picture_then_document():
    query = build_query(
        ["boots", "leather"],
        {"image": "https://example.org/a.png", "like": "boot-1", "weights": [1, -0.5, 2, 0.25]},
        inline_limit=LIMIT,
    )
    kinds = [(part.text or part.document_id or part.image.url, part.weight) for part in query.parts]
    assert kinds == [("boots", 1), ("leather", -0.5), ("https://example.org/a.png", 2), ("boot-1", 0.25)]


def test_a_wrong_number_of_weights_is_refused():
    with pytest.raises(DataError, match="1 weights for 2 parts"):
        build_query(["boots", "leather"], {"weights": [1]}, inline_limit=LIMIT)


def test_the_shorthand_of_the_contract_is_understood_with_further_parts():
    query = build_query({"text": "boots", "top_k": 3}, {"like": "boot-1"}, inline_limit=LIMIT)
    assert [part.text or part.document_id for part in query.parts] == ["boots", "boot-1"]
    assert query.top_k == 3


def test_options_replace_the_fields_of_a_whole_query():
    query = build_query(Query(parts=[QueryPart(text="a")], top_k=3), {"top_k": 5}, inline_limit=LIMIT)
    assert query.top_k == 5


def test_read_after_takes_the_positions_of_a_receipt():
    receipt = Receipt(
        document_id="a",
        status="indexed",
        read_after=[LogPosition(partition=2, offset=17)],
        source=SourceAddress(partition=2, offset=5),
        took_ms=1,
    )
    query = build_query("boots", {"read_after": receipt}, inline_limit=LIMIT)
    assert query.read_after == [LogPosition(partition=2, offset=17)]


@pytest.mark.parametrize(
    ("question", "options"),
    [
        (None, {}),
        ("", {}),
        ([], {}),
        ("a", {"top_k": 0}),
        ("a", {"weights": [-1]}),
        ("a", {"mode": "psychic"}),
    ],
)
def test_a_question_against_the_schema_is_refused_before_it_is_sent(question, options):
    with pytest.raises(DataError) as refused:
        build_query(question, options, inline_limit=LIMIT)
    assert refused.value.code == "schema"


def test_a_small_picture_travels_as_it_is():
    content = picture(32)
    query = build_query(None, {"image": content}, inline_limit=LIMIT)
    assert base64.b64decode(query.parts[0].image.bytes) == content


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_a_large_picture_is_made_to_fit(mode):
    content = picture(900, "TIFF" if mode == "CMYK" else "PNG", mode)
    assert len(content) > LIMIT
    small = fitted(content, LIMIT)
    assert len(small) <= LIMIT
    with Image.open(io.BytesIO(small)) as opened:
        assert opened.format == "WEBP"
        assert max(opened.size) >= 256


def test_bytes_too_large_to_inline_that_are_no_picture_are_refused():
    with pytest.raises(DataError) as refused:
        fitted(b"no picture" * LIMIT, LIMIT)
    assert refused.value.code == "undecodable_image"


def test_a_client_without_a_broker_says_what_to_do(monkeypatch):
    monkeypatch.delenv("TRIEFLOW_BROKERS", raising=False)
    with pytest.raises(BrokerError, match="trieflow up"):
        Client(load_settings())


def test_the_public_names_are_sorted_and_there():
    assert trieflow.__all__ == sorted(trieflow.__all__)
    assert all(getattr(trieflow, name).__name__ == name for name in trieflow.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = trieflow.nothing


@pytest.mark.parametrize("module", ["trieflow.client", "trieflow.cli"])
def test_neither_client_nor_command_line_loads_a_model_or_a_worker(module):
    heavy = "torch onnxruntime faust open_clip faiss numba agents models state"
    code = f"import sys, {module}; sys.exit(','.join(set('{heavy}'.split()) & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
