"""Every setting of every service, in one typed place.

Read once at start from environment variables `CAPSTONE_<NAME>`, then from secret files named `capstone_<name>` in
the folders that `CAPSTONE_SECRETS_DIR` gives (one, or several with `:` between them). Names carry their units.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.core.errors import SettingsProblem

MIB = 1024 * 1024


class Settings(BaseSettings):
    """Defaults are those of one machine: SQLite, FAISS, loopback."""

    model_config = SettingsConfigDict(env_prefix="CAPSTONE_", extra="ignore", frozen=True)

    # Where things are
    data_dir: Path = Field(Path("data"), description="uploaded files, the SQLite catalog and index snapshots")
    models_dir: Path = Field(Path("data/models"), description="verified weights, one folder a role")
    database_url: str | None = Field(None, description="SQLAlchemy URL; SQLite in data_dir when unset")

    # Views
    vector_store: Literal["faiss", "chroma"] = Field("faiss", description="what searches by meaning")
    chroma_url: str | None = Field(None, description="http://host:port of a Chroma server; embedded when unset")
    snapshot_every_s: float = Field(30.0, gt=0, description="how often a changed FAISS view is written to disk")

    # Retrieval. Unset: as the release says, `retrieval` in its release.json; without a release, as core/plan.py does.
    retrieval: Literal["dense", "lexical", "hybrid"] | None = Field(
        None, description="by meaning, by words, or by the fused ranks of both"
    )
    fusion_dense_weight: float | None = Field(None, gt=0, description="of the ranking by meaning, where they are fused")
    fusion_lexical_weight: float | None = Field(None, gt=0, description="of the ranking by words")
    fusion_k0: float | None = Field(None, ge=0, description="the larger, the less the first places of a ranking count")
    fusion_depth: int | None = Field(
        None, ge=1, le=1_000, description="passages taken from each ranking, or k if that is more"
    )
    rerank_depth: int | None = Field(
        None, ge=0, le=100, description="passages that the sufficiency classifier reads to rank them anew; 0: none"
    )
    fusion_rerank_weight: float | None = Field(None, gt=0, description="of the classifier's ranking")
    mmr_trade_off: float | None = Field(None, ge=0, le=1, description="1 orders by relevance, 0 by novelty (MMR)")
    join_neighbours: bool | None = Field(
        None, description="read a sentence whole that the border of a passage or page cuts, when an answer is written"
    )
    answer_passages: int | None = Field(
        None, ge=1, le=10, description="how many passages an answer is looked for in, unless the request says"
    )

    # Models
    encoder: Literal["tuned", "sentence", "hashing"] = Field(
        "tuned",
        description="what makes vectors of texts: MiniLM `tuned` on questions about manuals, or as it came; `hashing` "
        "needs no weights and knows no meanings",
    )
    generator_url: str | None = Field(
        None, description="base URL of a server that speaks OpenAI's dialect, such as http://vllm:8000/v1"
    )
    generator_model: str | None = Field(
        None, description="the model's name there; `{adapter}` in it is the id of the release's adapter"
    )
    generator_key: SecretStr | None = Field(None, description="the bearer token that this server wants")
    generator_timeout_s: float = Field(60.0, gt=0, description="after so long without a word of it, 503")
    generator: Literal["transformers", "scripted", "openai"] = Field(
        "transformers",
        description="what writes; `scripted` needs no weights: it says its evidence's first sentence; "
        "`openai`: not here, but at generator_url; needs generator_model too",
    )
    classifier: Literal["transformers", "overlap"] = Field(
        "transformers", description="`overlap` needs no weights, and then no other classifier is served"
    )
    adapter: bool = Field(True, description="false: the generator's base alone, to see what the adapter is worth")
    release_dir: Path | None = Field(
        Path("release"),
        description="adapter, classifier and prompt that were trained together; empty for the bases alone. "
        "Not opened when both the generator and the classifier are of the kind that needs no weights",
    )
    classifiers_dir: Path | None = Field(
        None, description="each model folder in it is one more classifier; `classifiers` in models_dir when unset"
    )
    release_poll_s: float = Field(
        5.0, ge=0, description="how often the alias `champion` is looked at in MLflow; 0: only at start"
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="where encoder, classifiers and generator compute")
    torch_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="threads of one model; unset: all cores"
    )

    # Upload and parsing
    max_upload_bytes: int = Field(100 * MIB, gt=0, description="of one PDF; a larger one is refused with 413")
    max_pages: int = Field(5_000, gt=0, description="of one document; one with more fails as `too_many_pages`")
    max_document_chars: int = Field(20_000_000, gt=0, description="of the text of one document")
    parse_wall_s: float = Field(300.0, gt=0, description="how long the confined parser may take for one document")
    parse_cpu_s: int = Field(240, gt=0, description="processor time that it may take")
    parse_memory_mb: int = Field(1_024, gt=0, description="address space that it may take")

    # Jobs
    lease_s: float = Field(20.0, gt=0, description="a worker that is silent for longer loses its job")
    job_poll_s: float = Field(0.25, gt=0, description="how often an idle worker looks for a job")
    max_attempts: int = Field(5, gt=0, description="starts of a job without any progress before it is failed")

    # Evaluations
    api_url: str | None = Field(None, description="where the api service answers; host and port when unset")
    mlflow_uri: str | None = Field(None, description="MLflow tracking URI; a SQLite file below data_dir when unset")
    track_evaluations: bool = Field(True, description="whether evaluations are logged to MLflow too")
    tracking_timeout_s: float = Field(300.0, gt=0, description="an evaluation ends without MLflow if that takes longer")

    # Judging
    params: Path = Field(Path("params.yaml"), description="whose sections `gate` and `drift` have the rules of both")
    promotion_timeout_s: float = Field(120.0, gt=0, description="how long MLflow may take to move the aliases")

    # Drift. What decides about it is in the section `drift` of params.yaml
    drift_every_s: float = Field(60.0, gt=0, description="how often it is looked whether a window is full")
    drift_reports: int = Field(20, ge=1, description="the newest reports that are kept, of about 4 MB each")
    drift_timeout_s: float = Field(300.0, gt=0, description="how long one comparison may take")

    # The loop: an alert, a retraining, the gate
    alert_token: SecretStr | None = Field(
        None, description="the bearer token that Alertmanager sends to /v1/alerts; unset: none is taken"
    )
    retrain_project: Path | None = Field(
        None, description="the git checkout that is trained again, with the extra `train`; unset: alerts open no run"
    )
    retrain_overlay: Path | None = Field(None, description="parameters put over the project's params.yaml")
    retrain_command: str = Field(
        "python -m models.retrain", description="what makes a challenger of a snapshot; runs in the project's folder"
    )
    retrain_timeout_s: float = Field(24 * 3600.0, gt=0, description="a training that takes longer is ended")
    retrain_cooldown_s: float = Field(6 * 3600.0, ge=0, description="after a run, for so long no alert opens another")
    retrain_max_per_day: int = Field(2, ge=1, description="runs that alerts may open within 24 hours")
    retrain_collection: str = Field("default", description="whose feedback is used, and where challengers are asked")
    retrain_dataset: str | None = Field(
        None, description="the dataset that challengers are asked, beside what feedback gives"
    )
    retrain_promote: Literal["approve", "auto"] = Field(
        "approve", description="whether a challenger that passes the gate waits for somebody, or becomes live by itself"
    )

    # Answers
    answers: Literal["generated", "extractive"] = Field(
        "generated", description="`extractive`: the document's best sentences, without the generator's words"
    )
    shadow_share: float = Field(
        0.0, ge=0, le=1, description="of the answers, that the challenger gives as well: logged, never shown"
    )
    shadow_log_rows: int = Field(10_000, ge=1, description="the newest answers of the challenger that are kept")
    capture_share: float = Field(
        1.0, ge=0, le=1, description="of the champion's answers, whose figures are kept to tell drift by"
    )
    capture_rows: int = Field(20_000, ge=1, description="the newest captures that are kept; each is about 2 kB")
    max_generations: int = Field(
        1, ge=1, description="generations at once; more than one is for a generator elsewhere that batches them"
    )
    max_waiting_generations: int = Field(8, ge=0, description="requests that may wait for the generator")
    max_waiting_readings: int = Field(
        16, ge=0, description="searches and answers that may wait until their passages are read by the classifier"
    )
    queue_timeout_s: float = Field(60.0, gt=0, description="who has waited for a model so long is refused")

    # Classifications
    max_waiting_classifications: int = Field(16, ge=0, description="requests that may wait for the classifiers")
    classification_log_rows: int = Field(
        10_000, ge=0, description="the newest classifications, whose lineage can be read and replayed; 0: none is kept"
    )
    classification_log_chars: int = Field(
        20_000, ge=0, description="of the texts of one request; more are not kept, and then it cannot be replayed"
    )

    # Watching
    traces: str | None = Field(
        None,
        description="URL that takes OpenTelemetry traces by OTLP over HTTP, such as http://collector:4318/v1/traces; "
        "unset or empty: none are made",
    )
    log_text: bool = Field(False, description="whether the log has the text of questions")

    # Who may ask
    api_keys: Literal["auto", "required", "off"] = Field(
        "auto", description="whether /v1 needs a key; `auto`: unless `host`, and whoever asks, is on loopback"
    )
    allowed_hosts: str = Field(
        "", description="names, with commas between them, by which a service without keys may be asked; `*`: any"
    )
    anonymous_scope: Literal["read"] | None = Field(
        None, description="what callers without a key may do where one is needed: for a public demonstration"
    )
    api_key: SecretStr | None = Field(None, description="the key that `capstone` sends")
    admin_key_sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="a key with this SHA-256 is an admin's, and has no row in the catalog",
    )
    service_key: SecretStr | None = Field(
        None, min_length=32, description="what our services send each other: with it everything may be read"
    )

    # Serving
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0: every one of the machine")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0: any that is free")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="the least that is logged")
    shutdown_grace_s: int = Field(10, ge=0, description="how long requests in work may take when it is told to stop")

    @field_validator(
        "release_dir",
        "classifiers_dir",
        "mmr_trade_off",
        "traces",
        "retrain_project",
        "alert_token",
        "anonymous_scope",
        "api_key",
        "admin_key_sha256",
        "service_key",
        "generator_url",
        "generator_model",
        "generator_key",
        mode="before",
    )
    @classmethod
    def empty_is_none(cls, value: object) -> object:
        """An environment variable cannot be None; an empty one would be the current folder."""
        return None if value == "" else value

    @field_validator("traces")
    @classmethod
    def is_a_url(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://unset")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it has to be the whole URL, http://HOST:PORT/v1/traces")
        return value

    @field_validator("generator_url")
    @classmethod
    def is_a_base_url(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://unset")
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("it has to be http://HOST:PORT/v1, without a user or a password")
        return value

    @field_validator("generator")
    @classmethod
    def is_somewhere(cls, value: str, info: ValidationInfo) -> str:
        if value == "openai" and not (info.data.get("generator_url") and info.data.get("generator_model")):
            raise ValueError("`openai` needs CAPSTONE_GENERATOR_URL and CAPSTONE_GENERATOR_MODEL")
        return value

    @property
    def wanted_release(self) -> Path | None:
        """The release to open, or None if there is none or nothing would be read from it."""
        needs_weights = self.generator == "transformers" or self.classifier == "transformers"
        return self.release_dir if needs_weights else None

    @property
    def named_classifiers(self) -> Path | None:
        """The folder of further classifiers, or None if they are not served."""
        if self.classifier == "overlap":
            return None
        return self.classifiers_dir or self.models_dir / "classifiers"

    @property
    def keys_required(self) -> bool:
        return self.api_keys == "required" or (self.api_keys == "auto" and not is_loopback(self.host))

    @property
    def allowed_host_names(self) -> frozenset[str]:
        return frozenset(name.strip().lower() for name in self.allowed_hosts.split(",")) - {""}

    @property
    def catalog_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'catalog.db'}"

    @property
    def api_base_url(self) -> str:
        return self.api_url or f"http://{self.host}:{self.port}"

    @property
    def mlflow_dir(self) -> Path:
        """Where runs and their files are kept if `mlflow_uri` is unset."""
        return self.data_dir.resolve() / "mlflow"

    @property
    def retraining_dir(self) -> Path:
        """A folder for each retraining run."""
        return self.data_dir.resolve() / "retraining"

    @property
    def tracking_uri(self) -> str:
        return self.mlflow_uri or f"sqlite:///{self.mlflow_dir / 'mlflow.db'}"

    @property
    def files_dir(self) -> Path:
        return self.data_dir / "files"

    @property
    def releases_dir(self) -> Path:
        """Where releases from the model registry are brought to."""
        return self.data_dir / "releases"

    @property
    def drift_dir(self) -> Path:
        """Where reports on drift are kept."""
        return self.data_dir / "drift"

    @property
    def snapshots_dir(self) -> Path:
        return self.data_dir / "views"


def is_loopback(host: str) -> bool:
    """Whether that name or address is this machine, for itself only."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment; `overrides` win (used by the command line and by tests).

    Raises SettingsProblem, which names the settings and keeps their values to itself: some are secrets.
    """
    folders = [folder for folder in os.environ.get("CAPSTONE_SECRETS_DIR", "").split(os.pathsep) if folder]
    try:
        return Settings(_secrets_dir=folders or None, **overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        found = (f"CAPSTONE_{str(one['loc'][0]).upper()}: {one['msg']}." for one in error.errors(include_input=False))
        raise SettingsProblem(" ".join(found)) from None
