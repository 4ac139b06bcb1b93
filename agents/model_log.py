"""Following the `models` topic: the bundle that serves, loaded and checked."""

from __future__ import annotations

import structlog
from pydantic import ValidationError

from agents.following import Follower
from models.bundles import Bundle, BundleStore
from state.fusion import FusionWeights
from streams.errors import ModelError
from streams.events.models import QUERY_MODEL, ActiveModel
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


class ModelLog(Follower):
    """Follows the topic. `current` is the bundle that serves, None before there is one.

    A bundle that cannot be used is refused loudly, and the one before goes on serving.
    """

    def __init__(self, settings: Settings, *, stamp: str) -> None:
        super().__init__(settings, "models")
        self.current: Bundle | None = None
        self._stamp = stamp
        self._store = BundleStore(f"{settings.content_store}/{FOLDER}")
        self._latest: Record | None = None

    def take(self, record: Record) -> None:
        if record.key == QUERY_MODEL.encode():
            self._latest = record

    def at_end(self) -> None:
        """What serves now is loaded; what served in between is not."""
        record, self._latest = self._latest, None
        if record is None or record.value is None:
            return
        reference = f"{QUERY_MODEL}@{ActiveModel.model_validate_json(record.value).active}"
        try:
            bundle = self._store.read(reference, stamp=self._stamp)
            fusion_weights(bundle)  # one whose weights cannot be read is refused
            self.current = bundle
            log.info("model serves", bundle=reference)
        except ModelError as error:
            log.error("a bundle is refused; what served before goes on", bundle=reference, reason=str(error))
