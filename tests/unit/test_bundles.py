"""Bundles: whole or not at all, for the right encoder, and a decoder only for the right tree."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
import structlog

from models.bundles import MANIFEST_FILE, Bundle, BundleStore, GateResult, Manifest
from streams.errors import ModelError
from tests.decoders import STAMP, random_decoder, random_leaves

LEAVES = random_leaves(np.random.default_rng(2), count=40)


@pytest.fixture
def bundle() -> Bundle:
    manifest = Manifest(
        name="clicks",
        version="7",
        parent="clicks@6",
        encoder_stamp=STAMP,
        codebook_epoch=3,
        training_window={"feedback": {0: (10, 250), 3: (0, 99)}},
        gates={"guard": GateResult(passed=True, figures={"ndcg_change": -0.002})},
        weights={"adapter": {"strength": 0.3}},
    )
    return Bundle.of(manifest, random_decoder(LEAVES).to_files() | {"adapter.safetensors": b"\x00\x01"})


@pytest.fixture(params=["folder", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {
        "folder": str(tmp_path / "models"),
        "file": (tmp_path / "mod els").as_uri(),
        "memory": f"memory://{uuid.uuid4().hex}",
    }[request.param]


def test_what_was_written_is_read(url: str, bundle: Bundle):
    address = BundleStore(url).write(bundle)
    found = BundleStore(url).read("clicks@7", stamp=STAMP)
    assert found == bundle
    assert address.endswith("clicks@7")
    assert found.manifest.training_window["feedback"][3] == (0, 99)


def test_writing_the_same_again_changes_nothing(url: str, bundle: Bundle):
    store = BundleStore(url)
    assert store.write(bundle) == store.write(bundle)
    assert store.read("clicks@7", stamp=STAMP) == bundle


def test_a_version_is_never_written_over(url: str, bundle: Bundle):
    store = BundleStore(url)
    store.write(bundle)
    with pytest.raises(ModelError, match="another bundle clicks@7"):
        store.write(Bundle.of(bundle.manifest, {"adapter.safetensors": b"other"}))
    assert store.read("clicks@7", stamp=STAMP) == bundle


def test_a_bundle_for_another_encoder_is_refused(url: str, bundle: Bundle):
    BundleStore(url).write(bundle)
    with pytest.raises(ModelError, match=r"test@1/float32, not of lite@1/int8"):
        BundleStore(url).read("clicks@7", stamp="lite@1/int8")


@pytest.mark.parametrize("reference", ["clicks@8", "../clicks@7", ".unfinished", "a/b@7"])
def test_what_is_not_there_is_said_to_be_missing(url: str, bundle: Bundle, reference: str):
    BundleStore(url).write(bundle)
    with pytest.raises(ModelError, match=r"there is no manifest.json|not a bundle's name"):
        BundleStore(url).read(reference, stamp=STAMP)


def test_a_damaged_file_is_found_by_its_checksum(tmp_path: Path, bundle: Bundle):
    BundleStore(str(tmp_path)).write(bundle)
    (tmp_path / "clicks@7" / "adapter.safetensors").write_bytes(b"\x00\x02")
    with pytest.raises(ModelError, match=r"adapter.safetensors is damaged"):
        BundleStore(str(tmp_path)).read("clicks@7", stamp=STAMP)


def test_a_missing_file_is_named(tmp_path: Path, bundle: Bundle):
    BundleStore(str(tmp_path)).write(bundle)
    (tmp_path / "clicks@7" / "adapter.safetensors").unlink()
    with pytest.raises(ModelError, match=r"there is no adapter.safetensors"):
        BundleStore(str(tmp_path)).read("clicks@7", stamp=STAMP)


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"../../secret": {"sha256": "0", "size": 1}}},
        {"name": "../clicks"},
        {"encoder_stamp": None},
        {"version": "8"},
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(
    tmp_path: Path, bundle: Bundle, change: dict[str, object]
):
    BundleStore(str(tmp_path)).write(bundle)
    path = tmp_path / "clicks@7" / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError):
        BundleStore(str(tmp_path)).read("clicks@7", stamp=STAMP)


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path, bundle: Bundle):
    BundleStore(str(tmp_path)).write(bundle)
    (tmp_path / "clicks@7" / MANIFEST_FILE).write_text("{")
    with pytest.raises(ModelError, match="not readable"):
        BundleStore(str(tmp_path)).read("clicks@7", stamp=STAMP)


def test_fields_of_later_versions_are_passed_over(tmp_path: Path, bundle: Bundle):
    BundleStore(str(tmp_path)).write(bundle)
    path = tmp_path / "clicks@7" / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"of_tomorrow": 1}))
    assert BundleStore(str(tmp_path)).read("clicks@7", stamp=STAMP) == bundle


def test_a_killed_writer_leaves_no_bundle_and_the_next_one_writes_it(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    store = BundleStore(str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr("models.bundles.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            store.write(bundle)
    with pytest.raises(ModelError, match=r"there is no manifest.json"):
        store.read("clicks@7", stamp=STAMP)
    store.write(bundle)
    assert store.read("clicks@7", stamp=STAMP) == bundle


def test_of_two_writers_at_once_one_wins_and_the_other_is_told(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    late, early = BundleStore(str(tmp_path)), BundleStore(str(tmp_path))
    other = Bundle.of(bundle.manifest, {"adapter.safetensors": b"other"})
    early.write(bundle)
    monkeypatch.setattr(late, "_same", lambda *_: False)  # as if it had looked before the other one wrote
    with pytest.raises(ModelError, match="cannot write the bundle"):
        late.write(other)
    assert early.read("clicks@7", stamp=STAMP) == bundle


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path, bundle: Bundle):
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot write the bundle"):
        BundleStore(str(tmp_path / "file" / "models")).write(bundle)


@pytest.mark.parametrize("name", ["../decoder", "a/b", ".hidden", ""])
def test_file_names_that_lead_elsewhere_are_not_taken(bundle: Bundle, name: str):
    with pytest.raises(ValueError, match="files"):
        Bundle.of(bundle.manifest, {name: b""})


def test_the_decoder_of_the_live_epoch_is_used(bundle: Bundle):
    decoder = bundle.decoder(epoch=3)
    assert decoder is not None
    assert decoder.nodes(2).prefixes.tolist() == LEAVES.tolist()
    assert decoder.weight() == 0.5


def test_a_decoder_of_another_epoch_is_left_out_and_the_rest_is_used(bundle: Bundle):
    with structlog.testing.capture_logs() as logs:
        assert bundle.decoder(epoch=4) is None
    assert [(line["decoder_epoch"], line["epoch"]) for line in logs] == [(3, 4)]
    assert bundle.files["adapter.safetensors"] == b"\x00\x01"


def test_a_bundle_may_have_no_decoder(bundle: Bundle):
    assert Bundle.of(bundle.manifest, {"adapter.safetensors": b""}).decoder(epoch=3) is None


def test_the_weight_in_the_manifest_counts_before_the_decoders_own(bundle: Bundle):
    manifest = bundle.manifest.model_copy(update={"weights": {"decoder": {"weight": 0.125}}})
    decoder = Bundle.of(manifest, bundle.files).decoder(epoch=3)
    assert decoder is not None
    assert decoder.weight() == 0.125
