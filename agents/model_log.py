"""Following the `models` topic: the bundle and the adapters that serve, loaded and checked."""

from __future__ import annotations

import structlog
from pydantic import ValidationError

from agents.arms import Arms, ServedAdapter
from agents.following import Follower
from models.bundles import Bundle, BundleStore
from models.encoders.registry import describe_encoder
from models.ranking.ranker import Ranker
from state.fusion import FusionWeights
from streams.errors import ModelError
from streams.events.models import (
    ADAPTER_MODEL,
    QUERY_MODEL,
    ROLLOUT_REQUEST,
    ActiveModel,
    AdapterRollout,
    ModelBundle,
    RolloutRequest,
    bundle_key,
)
from streams.records import Record
from streams.settings import Settings

log = structlog.get_logger()

FOLDER = "bundles"
FUSION_FILE = "fusion.json"


def fusion_weights(bundle: Bundle | None) -> FusionWeights:
    """How a bundle says that paths are fused; the defaults where it says nothing. Raises ModelError."""
    written = None if bundle is None else bundle.files.get(FUSION_FILE)
    if written is None:
        return FusionWeights()
    try:
        return FusionWeights.model_validate_json(written)
    except ValidationError as error:
        raise ModelError(f"{FUSION_FILE} is not readable: {error}") from error


class RolloutLog(Follower):
    """Follows what the topic says of adapters, and loads nothing. `rollout`: who serves whom; `request`: what
    somebody wants of that; `adapters`: all that were trained, by version, in order."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, "models")
        self.rollout: AdapterRollout | None = None
        self.request: RolloutRequest | None = None
        self.adapters: dict[str, ModelBundle] = {}

    def take(self, record: Record) -> None:
        key = (record.key or b"").decode()
        if key == ADAPTER_MODEL:
            self.rollout = None if record.value is None else AdapterRollout.model_validate_json(record.value)
        elif key == ROLLOUT_REQUEST:
            self.request = None if record.value is None else RolloutRequest.model_validate_json(record.value)
        elif key.startswith(f"{ADAPTER_MODEL}@"):
            version = key.removeprefix(f"{ADAPTER_MODEL}@")
            self.adapters.pop(version, None)
            if record.value is not None:
                self.adapters[version] = ModelBundle.model_validate_json(record.value)


class ModelLog(RolloutLog):
    """Loads what serves, too. `current` is the bundle of `query` that serves, None before there is one; `arms` say
    which adapter moves the queries of whom.

    What cannot be used is refused loudly, and what served before goes on serving.
    """

    def __init__(self, settings: Settings, *, stamp: str) -> None:
        super().__init__(settings)
        self.current: Bundle | None = None
        self.arms = Arms()
        self._stamp = stamp
        self._dimension = describe_encoder(settings.encoder).dimension
        self._store = BundleStore(f"{settings.content_store}/{FOLDER}")
        self._active: str | None = None
        self._served: AdapterRollout | None = None
        self._loaded: dict[str, ServedAdapter | None] = {}

    def take(self, record: Record) -> None:
        super().take(record)
        if record.key == QUERY_MODEL.encode() and record.value is not None:
            self._active = ActiveModel.model_validate_json(record.value).active

    def at_end(self) -> None:
        """What serves now is loaded; what served in between is not."""
        active, self._active = self._active, None
        if active is not None:
            self._use(bundle_key(QUERY_MODEL, active))
        if self.rollout != self._served:
            self._served = self.rollout
            self.arms = self._arms()

    def _use(self, reference: str) -> None:
        try:
            bundle = self._store.read(reference, stamp=self._stamp)
            fusion_weights(bundle)  # one whose weights cannot be read is refused
            self.current = bundle
            log.info("model serves", bundle=reference)
        except ModelError as error:
            _refuse(reference, error)

    def _arms(self) -> Arms:
        rollout = self.rollout
        if rollout is None:
            return Arms()
        wanted = [version for version in (rollout.active, rollout.candidate) if version]
        self._loaded = {version: self._loaded.get(version) or self._load(version) for version in wanted}
        active, candidate = (self._loaded.get(each or "") for each in (rollout.active, rollout.candidate))
        if active is None and rollout.active is not None:
            active = self.arms.active  # it was refused
        return Arms(active, candidate, rollout.share, rollout.interleaved)

    def _load(self, version: str) -> ServedAdapter | None:
        reference = bundle_key(ADAPTER_MODEL, version)
        try:
            bundle = self._store.read(reference, stamp=self._stamp)
            ranker = Ranker.from_files(bundle.files, dimension=self._dimension)
        except ModelError as error:
            _refuse(reference, error)
            return None
        log.info("adapter loaded", bundle=reference, weights=ranker.ranking.weights)
        return ServedAdapter(reference, ranker)


def _refuse(reference: str, error: ModelError) -> None:
    log.error("a bundle is refused; what served before goes on", bundle=reference, reason=str(error))
