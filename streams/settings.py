"""One frozen settings object: `trieflow.toml` < `TRIEFLOW_*` environment < flags. Read once, at the edge.

Sections are nested models; in the environment they are joined by two underscores, as in
`TRIEFLOW_KAFKA__SASL_USERNAME`. All faults are shown together; secrets are never printed.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableEnvironmentError

from streams.errors import SettingsError

KIB, MIB = 1024, 1024 * 1024
SEGMENT_SHARE = 0.25
"""Kafka drops whole segments: so much of the retention one takes in, and records may live longer by it."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(Section):
    """How to reach a cluster. Passed to both clients (librdkafka and aiokafka)."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_location: Path | None = None
    ssl_certificate_location: Path | None = None
    ssl_key_location: Path | None = None
    session_timeout_s: float = Field(default=10.0, ge=6, description="a killed worker is missed after it")
    replication_factor: int = Field(default=1, ge=1)


class ContentSettings(Section):
    """Fetching of content by URL, and the content store (thumbnails, vectors by content hash, codebooks)."""

    store: str | None = Field(default=None, description="fsspec URL; default: <data>/content")
    allowed_roots: tuple[Path, ...] = Field(default=(), description="file: URLs are read only below these")
    allow_http: bool = Field(default=False, description="http: beside https:")
    allow_private_addresses: bool = Field(default=False, description="only for closed networks and tests")
    inline_limit: int = Field(default=256 * KIB, ge=1)
    fetch_limit: int = Field(default=16 * MIB, ge=1)
    fetch_timeout_s: float = Field(default=10.0, gt=0)
    fetch_attempts: int = Field(default=3, ge=1)
    max_redirects: int = Field(default=3, ge=0)
    max_pixels: int = Field(default=50_000_000, ge=1)
    max_frames: int = Field(default=1_000, ge=1)
    thumbnail_side: int = Field(default=256, ge=16)


class IndexSettings(Section):
    """Semantic ids and the index."""

    ids_from: int = Field(default=1_024, ge=16, description="documents at which the first tree is fitted")
    exact_up_to: int = Field(default=20_000, ge=0, description="`auto` is exact up to so many documents")
    documents_per_leaf: int = Field(default=32, ge=1)
    refit_at: float = Field(
        default=4.0,
        gt=1,
        description="the tree is fitted anew at so many times the documents, if recall has not fallen",
    )
    recall_drop: float = Field(
        default=0.03, gt=0, description="sampled recall may fall by so much before the tree is fitted anew"
    )
    snapshot_every_s: float = Field(
        default=120.0, gt=0, description="a searcher's index is written to disk, when much has changed"
    )
    seed: int = 0
    weight_title: float = Field(default=1.0, ge=0)
    weight_image: float = Field(default=1.0, ge=0)


class IndexerSettings(Section):
    batch: int = Field(default=64, ge=1)
    batch_wait_ms: float = Field(
        default=5.0, ge=0, description="how long a batch that is not full waits for more, at least"
    )
    queue: int = Field(default=256, ge=1, description="events waiting for one partition")
    sync_writes: bool = Field(
        default=False, description="fsync each RocksDB batch; the log covers power loss"
    )
    transaction_timeout_s: float = Field(default=10.0, ge=1)


class SearchSettings(Section):
    batch: int = Field(default=32, ge=1)
    deadline_s: float = Field(default=5.0, gt=0, description="for a query that names none")
    read_after_wait_s: float = Field(default=2.0, ge=0)
    generation: Literal["geometry", "decoder", "seeds"] = Field(
        default="decoder", description="how the generative path ranks leaves, and which it looks at"
    )
    beam: int = Field(default=64, ge=1, description="subcategories that are opened")
    leaves: int = Field(default=64, ge=1, description="leaves whose documents are scored, at most")
    members: int = Field(
        default=4_000, ge=1, description="no further leaf when so many documents were scored"
    )
    unsure_share: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="queries by the tree alone whose leaves look worst: twice the leaves, then the graph",
    )
    shortlist: int = Field(default=200, ge=1, description="picture queries rerank so many by raw features")
    low_confidence_share: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="queries whose best hit scores worst beside recent ones of their kind: bad cases",
    )


class LearningSettings(Section):
    """What the learner keeps, and how far clicks count."""

    batch: int = Field(default=1_000, ge=1)
    join_window_s: float = Field(
        default=3_600.0, gt=0, description="feedback counts when it comes so long after its impression"
    )
    early_per_query: int = Field(
        default=32, ge=1, description="feedback that waits for one impression, at most"
    )
    impressions: int = Field(default=200_000, ge=1, description="impressions kept, for clicks and training")
    queries: int = Field(default=20_000, ge=1, description="queries remembered")
    words: int = Field(default=20_000, ge=1, description="unknown words remembered")
    documents: int = Field(default=64, ge=1, description="documents remembered of each query and word")
    clicks_per_user: int = Field(
        default=3, ge=1, description="clicks and hides of one user (else session) that count for a document"
    )
    shuffled_share: float = Field(
        default=0.2, ge=0, le=1, description="sessions whose lists chance puts in order here and there"
    )


class PersonalSettings(Section):
    """What people chose before, as a part of their own queries: of those alone that carry a `user_id`."""

    documents: int = Field(
        default=20,
        ge=0,
        le=40,
        description="documents kept of each user, the latest that were chosen; 0: none",
    )
    days: float = Field(
        default=30.0, gt=0, description="what is kept of a user goes when nothing was chosen for so long"
    )
    weight: float = Field(
        default=0.15,
        ge=0,
        lt=1,
        description="length of that part beside the query's, at most; 0: it counts not",
    )


class TrainingSettings(Section):
    """When an adapter is trained, and on what."""

    first_clicks: int = Field(
        default=4_000, ge=1, description="accepted clicks before the first training; with fewer it does harm"
    )
    every_clicks: int = Field(default=2_000, ge=1, description="accepted clicks before each further one")
    every_h: float | None = Field(
        default=None, gt=0, description="also after so many hours, if there were clicks; unset: never"
    )
    every_documents: int | None = Field(
        default=None,
        ge=1,
        description="also after so many events of documents, if there were clicks; unset: never",
    )
    when_idle: bool = Field(
        default=True, description="run only while cores have nothing else to do; off: like any other work"
    )
    documents: int = Field(
        default=100_000, ge=1, description="documents that it is trained and judged among, at most"
    )
    texts: int = Field(default=16_000, ge=1, description="titles and tags that are said again, at most")
    held_out: float = Field(
        default=0.2, gt=0, lt=1, description="the last sessions of a window, which only judge"
    )
    ranking: bool = Field(default=True, description="learn the weights of fine-ranking in the same run")
    guard: Path | None = Field(
        default=None,
        description="known-item queries for the guard, one JSON object a line: `text`, `document_id`, and `in_log` "
        "(false: of a language that nobody asks in); unset: from titles and tags that are left out of the training",
    )


class RankingSettings(Section):
    """What fine-ranking may learn to add to relevance. What serves is in the bundle of the adapter."""

    freshness: bool = Field(default=True, description="learn how far people prefer what was published lately")
    half_life_d: float = Field(default=30.0, gt=0, description="days after which freshness is half")
    authority_field: str | None = Field(
        default=None,
        min_length=1,
        description="a field of documents with a number: learn how far people prefer where it is high",
    )
    click_rate: bool = Field(
        default=True, description="learn how far what is clicked for other queries is preferred"
    )
    words: bool = Field(
        default=False,
        description="learn the weight of words in the fusion; gates before the canary do not see it",
    )


class RolloutSettings(Section):
    """How an adapter that the gates accept comes to serve everybody."""

    automatic: bool = Field(default=True, description="try what the gates accept without being asked")
    canary_share: float = Field(
        default=0.05, gt=0, le=1, description="sessions in which both lists are interleaved"
    )
    canary_sessions: int = Field(
        default=1_000,
        ge=1,
        description="sessions after which the canary may be decided; dropped after twice that",
    )
    shares: tuple[float, ...] = Field(
        default=(0.25, 0.5), description="sessions that it then answers alone, one step after another"
    )
    step_sessions: int = Field(default=1_000, ge=1, description="of each side, before a step is over")
    session_s: float = Field(
        default=1_800.0, gt=0, description="a session is counted when nothing was shown in it for so long"
    )
    slow_ms: float = Field(default=250.0, gt=0, description="an answer that took longer is slow")


class PrivacySettings(Section):
    log_query_text: bool = False
    user_hash_key: SecretStr | None = Field(
        default=None, description="default: made once, kept in the data folder"
    )


class CheckpointSettings(Section):
    """Copies of shards that shorten a rebuild after a lost disk. Off without a folder."""

    folder: Path | None = Field(default=None, description="best on another disk than the data folder")
    every_s: float = Field(default=600.0, gt=0)


class HealthSettings(Section):
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535, description="0: any free port, written to the data folder")
    liveness_s: float = Field(default=15.0, gt=0)


class RetentionSettings(Section):
    """How long logs are kept (hours), and when a replica is too old to trust."""

    tombstones_h: float = Field(default=168.0, gt=0)
    compaction_h: float = Field(
        default=24.0, gt=0, description="old values of compacted topics are cleaned away within it"
    )
    receipts_h: float = Field(default=24.0, gt=0)
    queries_h: float = Field(default=1.0, gt=0)
    impressions_h: float = Field(default=720.0, gt=0)
    training_h: float = Field(default=168.0, gt=0)
    bad_cases_h: float = Field(default=720.0, gt=0)
    dead_letters_h: float = Field(default=336.0, gt=0)

    @property
    def forget_h(self) -> float:
        """Of `forget` and `forgotten`: as long as any log can bring back what was forgotten, and a day."""
        return (self.impressions_h + self.dead_letters_h) * (1 + SEGMENT_SHARE) + 24.0


class Settings(BaseSettings):
    """All settings. Build it by `load_settings`, which reports every fault at once."""

    model_config = SettingsConfigDict(
        env_prefix="TRIEFLOW_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        toml_file="trieflow.toml",
    )

    brokers: str | None = Field(default=None, description="host:port,…; none: an embedded Kafka is started")
    prefix: str = Field(default="trieflow.", pattern=r"^[a-zA-Z0-9._-]*$", max_length=64)
    partitions: int = Field(default=8, ge=1, le=1024, description="of keyed topics; fixed at creation")
    data: Path = Field(default=Path(".trieflow"), description="shards, broker data, content, logs")
    encoder: str = Field(default="lite", description="lite, hash or open_clip:<model>/<pretrained>")
    encoder_threads: int = Field(default=1, ge=1)
    worker: str = Field(
        default="0", pattern=r"^[a-zA-Z0-9_-]+$", description="name of this worker in its role"
    )
    grace_s: float = Field(default=10.0, gt=0, description="time for a clean stop")
    kafka: KafkaSettings = KafkaSettings()
    content: ContentSettings = ContentSettings()
    index: IndexSettings = IndexSettings()
    indexer: IndexerSettings = IndexerSettings()
    search: SearchSettings = SearchSettings()
    learning: LearningSettings = LearningSettings()
    personal: PersonalSettings = PersonalSettings()
    training: TrainingSettings = TrainingSettings()
    ranking: RankingSettings = RankingSettings()
    rollout: RolloutSettings = RolloutSettings()
    privacy: PrivacySettings = PrivacySettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    health: HealthSettings = HealthSettings()
    retention: RetentionSettings = RetentionSettings()

    @property
    def content_store(self) -> str:
        """The fsspec URL of the content store."""
        return self.content.store or (self.data.absolute() / "content").as_uri()

    def topic(self, name: str) -> str:
        """The full name of a topic, with the prefix."""
        return self.prefix + name

    def role_folder(self, role: str) -> Path:
        """Where this worker keeps its shards: no two workers share one."""
        return self.data / f"{role}-{self.worker}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file())


def toml_file() -> Path:
    """The settings file: `TRIEFLOW_CONFIG`, or `trieflow.toml` in the working folder."""
    return Path(os.environ.get("TRIEFLOW_CONFIG", "trieflow.toml"))


# Reserved names in the environment that are no settings.
_ENVIRONMENT_NOT_SETTINGS = {"TRIEFLOW_CONFIG", "TRIEFLOW_CRASH_AT"}


def load_settings(**flags: Any) -> Settings:
    """Read the settings. Raises SettingsError that lists every fault."""
    given = {name: value for name, value in flags.items() if value is not None}
    # /dev/null is no regular file, and a good name for no settings.
    if "TRIEFLOW_CONFIG" in os.environ and (not toml_file().exists() or toml_file().is_dir()):
        raise SettingsError(f"TRIEFLOW_CONFIG names a file that is not there: {toml_file()}")
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise SettingsError("wrong settings:\n" + "\n".join(map(_fault, error.errors()))) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{toml_file()} is not TOML: {error}") from error
    except UnreadableEnvironmentError as error:
        raise SettingsError(f"{error}: in the environment, lists and sections are written as JSON") from error
    unknown = unknown_environment()
    if unknown:
        raise SettingsError("unknown settings in the environment: " + ", ".join(unknown))
    return settings


def _fault(error: Mapping[str, Any]) -> str:
    """One line. The value is shown only where it can be no secret: a mistyped name may have been one's."""
    path = ".".join(map(str, error["loc"]))
    is_open = any(path == known or path.startswith(known + ".") for known in _open_paths())
    return f"  {path}: {error['msg']}" + (f" (given: {repr(error['input'])[:80]})" if is_open else "")


def _open_paths() -> list[str]:
    return [path for path in setting_paths(Settings) if not path.endswith(("password", "key"))]


def unknown_environment() -> list[str]:
    """Names that start with TRIEFLOW_ and are no setting (a typo would otherwise pass in silence)."""
    known = {"TRIEFLOW_" + path.upper().replace(".", "__") for path in setting_paths(Settings)}
    known |= {"TRIEFLOW_" + name.upper() for name in Settings.model_fields} | _ENVIRONMENT_NOT_SETTINGS
    return sorted(name for name in os.environ if name.startswith("TRIEFLOW_") and name not in known)


def setting_paths(model: type[BaseModel]) -> list[str]:
    """Dotted names of all settings, sections first-level."""
    paths: list[str] = []
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            paths += [f"{name}.{inner}" for inner in section.model_fields]
        else:
            paths.append(name)
    return paths


def explain_settings(settings: Settings, flags: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (dotted name, value, origin) of each setting; secrets as stars."""
    environment = EnvSettingsSource(Settings)()
    toml = TomlConfigSettingsSource(Settings, toml_file())()
    origins = [("flag", flags), ("environment", environment), (str(toml_file()), toml)]
    rows = []
    for path in setting_paths(Settings):
        value: Any = settings
        for name in path.split("."):
            value = getattr(value, name)
        origin = next((label for label, source in origins if _has(source, path)), "default")
        rows.append((path, str(value), origin))
    return rows


def _has(source: Mapping[str, Any], path: str) -> bool:
    found: Any = source
    for name in path.split("."):
        if not isinstance(found, Mapping) or found.get(name) is None:
            return False
        found = found[name]
    return True
