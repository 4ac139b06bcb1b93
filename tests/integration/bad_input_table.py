# ruff: noqa: E501 (one row, one line)
"""The table of bad input: what comes, and what has to come of it. `test_bad_input.py` plays it.

Read a row as: name, value (or what makes it from the address of a web site), outcome; then, where they matter,
headers, key, and what was sent to the same key before. Whatever the row, the worker lives, nothing is lost, and
the good event right after it, in the same partition, is served.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from models.encoders.hash import HashEncoder
from tests import pictures

Value = bytes | None | Callable[[str], bytes]
Headers = Sequence[tuple[str, bytes | None]]

NEW_KEY = b"<a new key>"
MIB = 1024 * 1024
STAMP = HashEncoder().description.stamp
STRUCTURED = ("content-type", b"application/cloudevents+json")


@dataclass(frozen=True)
class Thumbnail:
    """What the thumbnail of an accepted picture must look like: its size, and the colour at a place."""

    size: tuple[int, int]
    place: tuple[int, int]
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Outcome:
    """`status` of the receipt (for queries `failed` or `answered`), error, and whether a dead letter is kept."""

    status: str
    code: str | None = None
    field: str | None = None
    dead_letter: bool = False
    thumbnail: Thumbnail | None = None


def rejected(code: str, field: str | None = None) -> Outcome:
    return Outcome("rejected", code, field, dead_letter=True)


def ignored(code: str) -> Outcome:
    return Outcome("ignored", code)


def taken(status: str = "indexed", thumbnail: Thumbnail | None = None) -> Outcome:
    return Outcome(status, thumbnail=thumbnail)


def refused_by_kafka(name: str) -> Outcome:
    """The broker does not take it: the publisher has the error in hand, nothing reaches us."""
    return Outcome("refused", name)


def failed(code: str, field: str | None = None, *, dead_letter: bool = True) -> Outcome:
    return Outcome("failed", code, field, dead_letter)


ANSWERED = Outcome("answered")


@dataclass(frozen=True)
class Case:
    name: str
    value: Value
    outcome: Outcome
    headers: Headers | Callable[[str], Headers] = ()
    key: bytes | None = NEW_KEY
    before: tuple[bytes | None, ...] = ()
    wrong_partition: bool = False


def json(**body: Any) -> bytes:
    return orjson.dumps(body)


def title(**more: Any) -> bytes:
    return json(title="red boots", **more)


def picture(data: bytes) -> bytes:
    return json(images=[{"bytes": base64.b64encode(data).decode()}])


def fetched(path: str) -> Callable[[str], bytes]:
    return lambda site: json(images=[{"url": site + path}])


def linked(url: str) -> bytes:
    return json(images=[{"url": url}])


def vector(**fields: Any) -> bytes:
    return json(vectors=[{"stamp": STAMP, **fields}])


def event(**attributes: Any) -> bytes:
    return json(**{"specversion": "1.0", "id": "1", "source": "/shop", **attributes})


def halves(values: Sequence[float]) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f2").tobytes()).decode()


_NUMBERS = [0.125] * 64
_PUBLISHED, _DELETED = "trieflow.document.published.v1", "trieflow.document.deleted.v1"
_UPRIGHT = Thumbnail((40, 20), (5, 10), (255, 0, 0))
_TURNED = Thumbnail((20, 40), (10, 5), (255, 0, 0))
_GREY = Thumbnail((40, 20), (35, 10), (255, 255, 255))

BODIES = [
    Case("bytes that are no JSON", b"\x89\x00\xffrubbish", rejected("not_json")),
    Case("JSON that is cut off", b'{"title": "red bo', rejected("not_json")),
    Case("an empty value", b"", rejected("not_json")),
    Case("two JSON objects", b'{"title": "a"}{"title": "b"}', rejected("not_json")),
    Case("invalid UTF-8 in a text", b'{"title": "red\xe9"}', rejected("not_json")),
    Case("a byte order mark", b'\xef\xbb\xbf{"title": "red"}', rejected("not_json")),
    Case("UTF-16", '{"title": "red"}'.encode("utf-16"), rejected("not_json")),
    Case("a lone surrogate", b'{"title": "\\ud800"}', rejected("not_json")),
    Case("a raw control character", b'{"title": "a\x00b"}', rejected("not_json")),
    Case("NaN", b'{"title": "a", "fields": {"price": NaN}}', rejected("not_json")),
    Case("infinity", b'{"title": "a", "fields": {"price": Infinity}}', rejected("not_json")),
    Case("a number over all bounds", b'{"title": "a", "fields": {"price": 1e400}}', rejected("not_json")),
    Case("infinity as a text", json(vectors=[{"stamp": STAMP, "values": ["inf"] * 64}]), rejected("schema", "vectors.0.values.0")),
    Case("a list", b'[{"title": "red"}]', rejected("schema")),
    Case("a text", b'"red boots"', rejected("schema")),
    Case("the word null", b"null", rejected("schema")),
    Case("a hundred levels of lists", b'{"title": "a", "x": ' + b"[" * 100 + b"]" * 100 + b"}", rejected("too_deep")),
    Case("a million brackets", b"[" * MIB, rejected("too_deep")),
    Case("a hundred brackets inside a text", title(text="[{" * 100), taken()),
    Case("4 MiB and a bit", json(title="a" * (4 * MIB)), rejected("too_large")),
    Case("5 MiB", json(title="a", x=base64.b64encode(np.random.default_rng(1).bytes(4 * MIB)).decode()), refused_by_kafka("MSG_SIZE_TOO_LARGE")),
    Case("24 MiB of blanks that travel as a few KiB", b" " * (24 * MIB), rejected("too_large")),
    Case("the same name twice", b'{"title": "blue", "title": "red"}', taken()),
    Case("a NUL in a text", title(text="a\u0000b"), taken()),
    Case("unknown names", title(colour="red", nested={"a": [1]}), taken()),
]  # fmt: skip

FIELDS = [
    Case("a number as title", json(title=3), rejected("schema", "title")),
    Case("a list as text", json(text=["a"]), rejected("schema", "text")),
    Case("images that are no list", title(images="boot.png"), rejected("schema", "images")),
    Case("a title of 10,001 characters", json(title="a" * 10_001), rejected("schema", "title")),
    Case("a text of 1,000,001 characters", json(text="a" * 1_000_001), rejected("schema", "text")),
    Case("a text of a million characters", json(text="\U0001f97e\U0001f97e a boot " * 99_999), taken()),
    Case("a text of half a million lines", json(text="a\n" * 500_000), taken()),
    Case("a field of 3 MiB", title(fields={"note": "a" * 3 * MIB}), rejected("schema", "fields.note")),
    Case("a field of 100,000 numbers", title(fields={"sizes": list(range(100_000))}), rejected("schema", "fields.sizes")),
    Case("numbers that grow when they are written out", b'{"title": "a", "fields": {' + b",".join(b'"f%d": [%s]' % (n, b",".join([b"-1e15"] * 1_024)) for n in range(256)) + b"}}", rejected("too_large")),
    Case("a field that is an object", title(fields={"price": {"eur": 3}}), rejected("schema", "fields.price")),
    Case("257 fields", title(fields={f"field-{n}": n for n in range(257)}), rejected("schema", "fields")),
    Case("a field without a name", title(fields={"": 1}), rejected("schema", "fields..[key]")),
    Case("a field name of 129 characters", title(fields={"a" * 129: 1}), rejected("schema", f"fields.{'a' * 129}.[key]")),
    Case("a field with the name of a built-in one", title(fields={"tags": "x", "modality": "y"}), taken()),
    Case("a whole number of 30 digits", b'{"title": "a", "fields": {"n": ' + b"9" * 30 + b"}}", taken()),
    Case("257 tags", title(tags=[str(n) for n in range(257)]), rejected("schema", "tags")),
    Case("an empty tag", title(tags=[""]), rejected("schema", "tags.0")),
    Case("a date that is none", title(published_at="yesterday"), rejected("schema", "published_at")),
    Case("the first moment of the calendar", title(published_at="0001-01-01T00:00:00+14:00"), taken()),
    Case("the last moment of the calendar", title(published_at="9999-12-31T23:59:59-14:00"), taken()),
    Case("an empty document", b"{}", rejected("empty_document")),
    Case("a document of blanks", json(title=" ", text="\n\t"), rejected("empty_document")),
    Case("video", title(video="https://example.org/a.mp4"), rejected("unsupported_modality", "video")),
    Case("audio", json(audio="https://example.org/a.mp3"), rejected("unsupported_modality", "audio")),
    Case("a negative version", title(version=-1), rejected("schema", "version")),
    Case("a version of 2**63", title(version=2**63), rejected("schema", "version")),
    Case("a version that is a word", title(version="newest"), rejected("schema", "version")),
]  # fmt: skip

KEYS = [
    Case("no key", title(), refused_by_kafka("INVALID_RECORD"), key=None),
    Case("an empty key", title(), rejected("bad_key"), key=b""),
    Case("a key that is not UTF-8", title(), rejected("bad_key"), key=b"\xff\xfe\xfd"),
    Case("a reserved key", title(), rejected("bad_key"), key=b"\x00epoch_complete/1/0"),
    Case("a key of 4,097 bytes", title(), rejected("bad_key"), key=b"k" * 4_097),
    Case("a key of 6 MiB that travels as a few KiB", title(), rejected("bad_key"), key=b"k" * (6 * MIB)),
    Case("a key of 4,096 bytes", title(), taken(), key=b"k" * 4_096),
    Case("a key with a NUL inside", title(), taken(), key=b"boots\x00size"),
    Case("a key of blanks", title(), taken(), key=b"   "),
    Case("a key in the wrong partition", title(), rejected("wrong_partition"), wrong_partition=True),
    Case("a delete in the wrong partition", None, rejected("wrong_partition"), wrong_partition=True),
]  # fmt: skip

VERSIONS = [
    Case("a delete of an unknown document", None, ignored("unknown_document")),
    Case("a delete of a deleted document", None, ignored("unknown_document"), before=(title(), None)),
    Case("a delete with an empty key", None, rejected("bad_key"), key=b""),
    Case("an older version", title(version=4), ignored("stale_version"), before=(json(title="a", version=5),)),
    Case("an older version after a delete", title(version=4), ignored("stale_version"), before=(json(title="a", version=5), None)),
    Case("an older version in a delete", None, ignored("stale_version"), headers=[("version", b"4")], before=(title(version=5),)),
    Case("the same version again", title(version=5), taken("updated"), before=(json(title="a", version=5),)),
    Case("the same document again", title(), taken("unchanged"), before=(title(),)),
    Case("a delete with a version that is no number", None, rejected("schema", "version"), headers=[("version", b"new")], before=(title(),)),
    Case("a delete with a version of exotic digits", None, rejected("schema", "version"), headers=[("version", "²".encode())], before=(title(),)),
    Case("a delete with a version of 5,000 digits", None, rejected("schema", "version"), headers=[("version", b"9" * 5_000)], before=(title(),)),
    Case("a delete with a version of 2**64", None, rejected("schema", "version"), headers=[("version", str(2**64).encode())], before=(title(),)),
    Case("a delete with a negative version", None, rejected("schema", "version"), headers=[("version", b"-1")], before=(title(),)),
]  # fmt: skip

HEADERS = [
    Case("an unknown ce_type", title(), rejected("unknown_type"), headers=[("ce_type", b"shop.article.v1")]),
    Case("the ce_type of another topic", title(), rejected("unknown_type"), headers=[("ce_type", b"trieflow.query.asked.v1")]),
    Case("a ce_type that is not UTF-8", title(), rejected("unknown_type"), headers=[("ce_type", b"\xff\xfe")]),
    Case("headers with null values", title(), taken(), headers=[("ce_type", None), ("traceparent", None), ("content-type", None)]),
    Case("headers with empty values", title(), taken(), headers=[("ce_type", b""), ("content-type", b"")]),
    Case("the same header twice", title(), taken(), headers=[("ce_type", _PUBLISHED.encode()), ("ce_type", b"x")]),
    Case("a header of 1 MiB that would be passed on", title(), taken(), headers=[("traceparent", b"0" * MIB)]),
    Case("an attempt count that is no number", b"{", rejected("not_json"), headers=[("x-attempts", b"9" * 5_000)]),
    Case("a header of 3 MiB on a bad event", b"{" + b" " * MIB, rejected("not_json"), headers=[("note", b"0" * 3 * MIB)]),
    Case("a structured event of the wrong type", event(type="shop.article.v1", data={"title": "a"}), rejected("unknown_type"), headers=[STRUCTURED]),
    Case("a structured event without a type", event(data={"title": "a"}), rejected("schema", "type"), headers=[STRUCTURED]),
    Case("a structured event of another version", event(type=_PUBLISHED, specversion="0.3", data={"title": "a"}), rejected("schema", "specversion"), headers=[STRUCTURED]),
    Case("a structured event whose data is forgotten", event(type=_PUBLISHED, title="a"), rejected("schema", "data"), headers=[STRUCTURED], before=(title(),)),
    Case("a structured event whose data is a text", event(type=_PUBLISHED, data="{}"), rejected("schema"), headers=[STRUCTURED]),
    Case("a structured event whose data is wrong", event(type=_PUBLISHED, data={"title": 3}), rejected("schema", "title"), headers=[STRUCTURED]),
    Case("a structured event whose base64 is wrong", event(type=_PUBLISHED, data_base64="§§"), rejected("schema", "data_base64"), headers=[STRUCTURED]),
    Case("a structured event in base64", event(type=_PUBLISHED, data_base64=base64.b64encode(title()).decode()), taken(), headers=[STRUCTURED]),
    Case("a structured event that is no JSON", b"<event/>", rejected("not_json"), headers=[STRUCTURED]),
    Case("a structured delete with a body", event(type=_DELETED, data={}), taken("deleted"), headers=[STRUCTURED], before=(title(),)),
    Case("a batch of structured events", orjson.dumps([]), rejected("schema"), headers=[("content-type", b"application/cloudevents-batch+json")]),
]  # fmt: skip

PICTURES = [
    Case("a picture that is a text", picture(b"hello, I am a picture"), rejected("undecodable_image", "images.0")),
    Case("a picture of no bytes", picture(b""), rejected("undecodable_image", "images.0")),
    Case("a truncated JPEG", picture(pictures.noise("JPEG")[:2_000]), rejected("undecodable_image", "images.0")),
    Case("a truncated PNG", picture(pictures.noise("PNG")[:6_000]), rejected("undecodable_image", "images.0")),
    Case("a truncated WEBP", picture(pictures.noise("WEBP")[:2_000]), rejected("undecodable_image", "images.0")),
    Case("a decompression bomb", picture(pictures.bomb()), rejected("image_too_large", "images.0")),
    Case("an animation of 1,001 frames", picture(pictures.endless_animation(1_001)), rejected("image_too_large", "images.0")),
    Case("SVG", picture(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), rejected("unsupported_format", "images.0")),
    Case("PDF", picture(b"%PDF-1.7 " + b" " * 64), rejected("unsupported_format", "images.0")),
    Case("a video as a picture", picture(b"\0\0\0\x20ftypisom" + b" " * 64), rejected("unsupported_format", "images.0")),
    Case("base64 with holes", json(images=[{"bytes": "iVBORw0KGgo§"}]), rejected("schema", "images.0.bytes")),
    Case("base64 without its end", json(images=[{"bytes": "iVBORw0KGg"}]), rejected("schema", "images.0.bytes")),
    Case("base64 as a data URL", json(images=[{"bytes": "data:image/png;base64,iVBORw0KGgo="}]), rejected("schema", "images.0.bytes")),
    Case("2 MB inline", picture(bytes(2_000_000)), rejected("too_large", "images.0.bytes")),
    Case("bytes and a URL", json(images=[{"url": "https://example.org/a", "bytes": "aaaa"}]), rejected("schema", "images.0")),
    Case("neither bytes nor a URL", json(images=[{"alt": "a boot"}]), rejected("schema", "images.0")),
    Case("17 pictures", json(images=[{"url": "https://example.org"}] * 17), rejected("schema", "images")),
    Case("one bad picture among good ones", json(images=[{"bytes": base64.b64encode(b).decode()} for b in (pictures.png(), b"no")]), rejected("undecodable_image", "images.1")),
    Case("an animated GIF", picture(pictures.animation("GIF")), taken(thumbnail=_UPRIGHT)),
    Case("an animated WEBP", picture(pictures.animation("WEBP")), taken(thumbnail=_UPRIGHT)),
    Case("a CMYK JPEG", picture(pictures.saved(pictures.two_halves("CMYK"), "JPEG", quality=95)), taken(thumbnail=_UPRIGHT)),
    Case("a 16-bit PNG", picture(pictures.sixteen_bit_png()), taken(thumbnail=_GREY)),
    Case("a JPEG that lies on its side", picture(pictures.rotated_jpeg()), taken(thumbnail=_TURNED)),
    Case("a transparent PNG", picture(pictures.saved(pictures.two_halves("RGBA"), "PNG")), taken(thumbnail=_UPRIGHT)),
    Case("a palette PNG", picture(pictures.saved(pictures.two_halves("P"), "PNG")), taken(thumbnail=_UPRIGHT)),
    Case("a picture of one pixel", picture(pictures.saved(pictures.two_halves(size=(1, 1)), "PNG")), taken()),
    Case("a picture as thin as a thread", picture(pictures.saved(pictures.two_halves(size=(20_000, 1)), "PNG")), taken()),
]  # fmt: skip

ADDRESSES = [
    Case("a URL to loopback", fetched("/good"), rejected("unsupported_format", "images.0.url")),
    *(
        Case(f"the address {url}", linked(url), rejected("forbidden_address", "images.0.url"))
        for url in (
            "https://127.0.0.1/a.png", "https://localhost/a.png", "https://[::1]/a.png", "https://0.0.0.0/a.png",
            "https://169.254.169.254/latest/meta-data", "https://[fe80::1]/a.png", "https://10.0.0.7/a.png",
            "https://172.16.0.1/a.png", "https://192.168.1.1/a.png", "https://[fd00::1]/a.png",
            "https://[::ffff:127.0.0.1]/a.png", "https://2130706433/a.png", "https://0x7f000001/a.png",
            "https://127.1/a.png", "https://224.0.0.1/a.png", "https://user:secret@example.org/a.png",
            "https:///a.png", f"https://{'a' * 70}.org/a.png", "file:///etc/passwd",
            "file://server/share/a.png",
        )
    ),
    *(
        Case(f"the scheme of {url[:20]}", linked(url), rejected("unsupported_format", "images.0.url"))
        for url in ("http://example.org/a.png", "ftp://example.org/a.png", "data:image/png;base64,iVBORw0KGgo=",
                    "javascript:alert(1)", "boot.png", "", "zip::s3://a/b")
    ),
    Case("a URL of 8,193 characters", linked("https://example.org/" + "a" * 8_173), rejected("schema", "images.0.url")),
]  # fmt: skip

VECTORS = [
    Case("a ready vector", vector(values=_NUMBERS), taken()),
    Case("a ready vector in base64", vector(data=halves(_NUMBERS)), taken()),
    Case("a vector of zeros", vector(values=[0] * 64), taken()),
    Case("a vector of another encoder", json(vectors=[{"stamp": "other@1", "values": _NUMBERS}]), rejected("bad_stamp", "vectors.0.stamp")),
    Case("a vector of another length", vector(values=[0.1] * 63), rejected("schema", "vectors.0")),
    Case("a vector with NaN", vector(data=halves([float("nan")] * 64)), rejected("schema", "vectors.0")),
    Case("a vector beyond half precision", vector(values=[1e30] * 64), rejected("schema", "vectors.0")),
    Case("a vector of half a number", vector(data=base64.b64encode(bytes(127)).decode()), rejected("schema", "vectors.0.data")),
    Case("a vector that is no base64", vector(data="§"), rejected("schema", "vectors.0.data")),
    Case("a vector in both forms", vector(data=halves(_NUMBERS), values=_NUMBERS), rejected("schema", "vectors.0")),
    Case("a vector of an unknown kind", vector(kind="sound", values=_NUMBERS), rejected("schema", "vectors.0.kind")),
    Case("raw features alone", vector(kind="raw", values=[0.1] * 80), rejected("schema", "vectors")),
]  # fmt: skip

DOCUMENTS = [*BODIES, *FIELDS, *KEYS, *VERSIONS, *HEADERS, *PICTURES, *ADDRESSES, *VECTORS]
"""For an indexer with the default policy."""

FETCHED = [
    Case("a picture by URL", fetched("/good"), taken(thumbnail=_UPRIGHT)),
    Case("a picture behind a redirect", fetched("/redirect?to=/good"), taken(thumbnail=_UPRIGHT)),
    Case("a picture that comes slowly, but comes", fetched("/slow-but-good"), taken(thumbnail=_UPRIGHT)),
    Case("a redirect to a file", fetched("/redirect?to=file:///etc/passwd"), rejected("unsupported_format", "images.0.url")),
    Case("a redirect to a disguised address", fetched("/redirect?to=http://2130706433/"), rejected("forbidden_address", "images.0.url")),
    Case("a redirect to itself", fetched("/redirect?to=/redirect"), rejected("unreachable", "images.0.url")),
    Case("an endless body", fetched("/endless"), rejected("too_large", "images.0.url")),
    Case("a body that is larger than it says", fetched("/liar"), rejected("undecodable_image", "images.0")),
    Case("a body that unpacks to gigabytes", fetched("/gzip-bomb"), rejected("too_large", "images.0.url")),
    Case("a body that dribbles", fetched("/dribble"), rejected("timeout", "images.0.url")),
    Case("a server that says nothing", fetched("/silent"), rejected("timeout", "images.0.url")),
    Case("a body that breaks off", fetched("/cut"), rejected("unreachable", "images.0.url")),
    Case("status 404", fetched("/nothing-here"), rejected("unreachable", "images.0.url")),
    Case("status 500, again and again", fetched("/error"), rejected("unreachable", "images.0.url")),
    Case("a page in place of a picture", fetched("/page"), rejected("undecodable_image", "images.0")),
    Case("a closed port", linked("http://127.0.0.1:1/a.png"), rejected("unreachable", "images.0.url")),
]  # fmt: skip
"""For an indexer that may fetch from private addresses, with a short time limit."""


def text(**more: Any) -> bytes:
    return json(text="red boots", **more)


def parts(*several: dict[str, Any], **more: Any) -> bytes:
    return json(parts=list(several), **more)


def deadline_in(seconds: float) -> Callable[[str], Headers]:
    return lambda prefix: [("deadline", str(int((time.time() + seconds) * 1_000)).encode())]


def replying_to(name: str) -> Callable[[str], Headers]:
    return lambda prefix: [("reply-to", name.format(prefix=prefix).encode())]


def nested_filter(levels: int) -> dict[str, Any]:
    return {"a": 1} if levels == 0 else {"not": [nested_filter(levels - 1)]}


_BOOTS = {"text": "boots"}

QUERIES = [
    Case("a query that is no JSON", b"red boots", failed("not_json")),
    Case("a query without a value", None, failed("not_json")),
    Case("an empty query", b"{}", failed("schema", "parts")),
    Case("a query without parts", json(parts=[]), failed("schema", "parts")),
    Case("17 parts", parts(*[_BOOTS] * 17), failed("schema", "parts")),
    Case("a part of nothing", parts({"weight": 1}), failed("schema", "parts.0")),
    Case("a part of two kinds", parts({"text": "a", "document_id": "b"}), failed("schema", "parts.0")),
    Case("an empty text", json(text=""), failed("schema", "parts.0.text")),
    Case("a text of 10,001 characters to search for", json(text="a" * 10_001), failed("schema", "parts.0.text")),
    Case("a query nested too deep", b'{"text": "a", "filter": ' + b'{"not":[' * 20 + b"]}" * 20 + b"}", failed("too_deep")),
    Case("a query of 24 MiB that travels as a few KiB", b" " * (24 * MIB), failed("too_large")),
    Case("negative weights alone", parts(_BOOTS | {"weight": -1}), failed("schema")),
    Case("weights of nothing", parts(_BOOTS | {"weight": 0}), failed("schema")),
    Case("nothing but what to leave out", parts(_BOOTS | {"role": "not"}), failed("schema")),
    Case("an unknown role", parts(_BOOTS | {"role": "xor"}), failed("schema", "parts.0.role")),
    Case("a weight below 0 on what to leave out", parts(_BOOTS, _BOOTS | {"role": "not", "weight": -1}), failed("schema", "parts.1")),
    Case("one thing to find in every role", parts(_BOOTS, _BOOTS | {"role": "or"}, _BOOTS | {"role": "not"}), ANSWERED),
    Case("parts and branches at once", json(text="boots", browse={}), failed("schema", "parts")),
    Case("branches below an id that is none", json(browse={"prefix": "16"}), failed("schema", "browse.prefix")),
    Case("branches below a text", json(browse={"prefix": "boots"}), failed("schema", "browse.prefix")),
    Case("branches of no depth", json(browse={"depth": 0}), failed("schema", "browse.depth")),
    Case("branches under a bad filter", json(browse={}, filter={"price": None}), failed("bad_filter", "filter.price")),
    Case("the branches of the root", json(browse={"depth": 3}), ANSWERED),
    Case("an endless weight", b'{"parts": [{"text": "a", "weight": 1e400}]}', failed("not_json")),
    Case("a weight of a thousand", parts(_BOOTS | {"weight": 1_000}), failed("schema", "parts.0.weight")),
    Case("top_k of 0", text(top_k=0), failed("schema", "top_k")),
    Case("top_k of 1,001", text(top_k=1_001), failed("schema", "top_k")),
    Case("an unknown mode", text(mode="magic"), failed("schema", "mode")),
    Case("words of a query that has none", parts({"document_id": "stays"}, mode="lexical"), failed("schema", "mode")),
    Case("a filter that is a list", text(filter=[]), failed("schema", "filter")),
    Case("an empty filter", text(filter={}), ANSWERED),
    Case("a filter with an unknown operator", text(filter={"price": {"above": 3}}), failed("bad_filter", "filter.price")),
    Case("a filter of two names", text(filter={"a": 1, "b": 2}), failed("bad_filter", "filter")),
    Case("a filter with a null", text(filter={"price": None}), failed("bad_filter", "filter.price")),
    Case("a filter on a date that is none", text(filter={"published_at": {"gte": "soon"}}), failed("bad_filter", "filter.published_at.gte")),
    Case("a filter on the first moment of the calendar", text(filter={"published_at": {"gte": "0001-01-01T00:00:00+14:00"}}), ANSWERED),
    Case("a filter on an id that is none", text(filter={"id_prefix": "16.x"}), failed("bad_filter", "filter.id_prefix")),
    Case("a filter on an id out of range", text(filter={"id_prefix": "99.999"}), failed("bad_filter", "filter.id_prefix")),
    Case("a filter of 1,001 values", text(filter={"n": {"in": list(range(1_001))}}), failed("bad_filter", "filter.n.in")),
    Case("a filter nested 14 deep", text(filter=nested_filter(14)), ANSWERED),
    Case("a filter nested 16 deep", text(filter=nested_filter(16)), failed("too_deep")),
    Case("read_after that is a number", text(read_after=3), failed("schema", "read_after")),
    Case("read_after without an offset", text(read_after=[{"partition": 0}]), failed("schema", "read_after.0.offset")),
    Case("read_after in a partition that is none", text(read_after=[{"partition": 99, "offset": 0}]), failed("schema", "read_after")),
    Case("read_after in a negative partition", text(read_after=[{"partition": -1, "offset": 0}]), failed("schema", "read_after.0.partition")),
    Case("read_after in the far future", text(read_after=[{"partition": 0, "offset": 10**15}]), failed("not_yet", dead_letter=False)),
    Case("like a document that is not there", parts({"document_id": "nobody"}), failed("unknown_document", dead_letter=False)),
    Case("like a control record", parts({"document_id": "\x00epoch_complete/1/0"}), failed("unknown_document", dead_letter=False)),
    Case("another model", text(model_version="better@2"), failed("incompatible_model", "model_version", dead_letter=False)),
    Case("a picture to search by that is none", parts({"image": {"bytes": "aGVsbG8="}}), failed("undecodable_image", "parts.0.image")),
    Case("a picture to search by at a private address", parts({"image": {"url": "https://10.0.0.7/a.png"}}), failed("forbidden_address", "parts.0.image.url")),
    Case("a query key that is missing", text(), failed("bad_key"), key=None),
    Case("a query key of 6 MiB", text(), failed("bad_key"), key=b"k" * (6 * MIB)),
    Case("a query key that is empty", text(), failed("bad_key"), key=b""),
    Case("a query key that is not UTF-8", text(), failed("bad_key"), key=b"\xff\xfe"),
    Case("a query of another type", text(), failed("unknown_type"), headers=[("ce_type", b"trieflow.document.published.v1")]),
    Case("a structured query of another type", event(type="shop.v1", data={"text": "a"}), failed("unknown_type"), headers=[STRUCTURED]),
    Case("a structured query without data", event(type="trieflow.query.asked.v1"), failed("schema", "data"), headers=[STRUCTURED]),
    Case("a structured query of nothing", event(type="trieflow.query.asked.v1", data=None), failed("schema"), headers=[STRUCTURED]),
    Case("a structured query", event(type="trieflow.query.asked.v1", data={"text": "a"}), ANSWERED, headers=[STRUCTURED]),
    Case("a deadline that has passed", text(), failed("expired", dead_letter=False), headers=deadline_in(-1)),
    Case("a deadline of long ago", text(), failed("expired", dead_letter=False), headers=[("deadline", b"-5")]),
    Case("a deadline that is no number", text(), failed("schema", "deadline"), headers=[("deadline", b"tomorrow")]),
    Case("a deadline with a fraction", text(), failed("schema", "deadline"), headers=[("deadline", b"1e99")]),
    Case("a deadline of 400 digits", text(), failed("schema", "deadline"), headers=[("deadline", b"9" * 400)]),
    Case("a deadline of 5,000 digits", text(), failed("schema", "deadline"), headers=[("deadline", b"9" * 5_000)]),
    Case("a deadline in a thousand years", text(), ANSWERED, headers=[("deadline", b"33000000000000")]),
    Case("an empty deadline", text(), ANSWERED, headers=[("deadline", b"")]),
    Case("query headers with null values", text(), ANSWERED, headers=[("deadline", None), ("reply-to", None), ("ce_type", None)]),
    Case("a reply-to that is missing", text(), failed("bad_reply_to", "reply-to"), headers=replying_to("{prefix}results.nobody")),
    Case("a reply-to that is forbidden", text(), failed("bad_reply_to", "reply-to"), headers=replying_to("{prefix}documents")),
    Case("a reply-to elsewhere", text(), failed("bad_reply_to", "reply-to"), headers=replying_to("__consumer_offsets")),
    Case("a reply-to that is no name", text(), failed("bad_reply_to", "reply-to"), headers=replying_to("{prefix}results.a b/c")),
    Case("a reply-to with a NUL", text(), failed("bad_reply_to", "reply-to"), headers=replying_to("{prefix}results.a\x00b")),
    Case("a reply-to of 300 characters", text(), failed("bad_reply_to", "reply-to"), headers=replying_to("{prefix}results." + "a" * 300)),
    Case("a reply-to with nothing behind the dot", text(), failed("bad_reply_to", "reply-to"), headers=replying_to("{prefix}results.")),
    Case("a reply topic that takes no answer of this size", text(top_k=1_000), failed("bad_reply_to", "reply-to"), headers=replying_to("{prefix}results.narrow")),
    Case("a bad query with a reply-to that is missing", b"{", failed("bad_reply_to", "reply-to"), headers=replying_to("{prefix}results.nobody")),
]  # fmt: skip


def every_name() -> list[str]:
    """The names of all rows: each must be there once."""
    return [case.name for case in (*DOCUMENTS, *FETCHED, *QUERIES)]
