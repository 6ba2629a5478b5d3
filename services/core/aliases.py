"""Names of releases in the model registry -> which release that is, and its files.

The registry is MLflow's: the registered model `capstone`, whose versions have the id of their release as the tag
`release`, and aliases that point at versions. MLflow itself is not imported, because it would cost a serving process
some 400 MB: a server is asked over its REST API, and a database is read, never written, by plain SQL.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote, urlsplit

import httpx
from sqlalchemy import Connection, Engine, NullPool, and_, column, create_engine, inspect, make_url, select, table
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from services.core.errors import ModelProblem, SettingsProblem, Unavailable
from services.core.release_files import Listed, copy_release, download_release, placed
from services.core.settings import Settings

MODEL = "capstone"
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
TIMEOUT_S = 5.0  # of a question to the registry, and between two pieces of a file
_TAG = "release"
_DELETED = "Deleted_Internal"  # the stage in which MLflow keeps the row of a deleted version
_NO_SUCH = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow says the second one of an unknown alias
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_RELEASE_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,63}@[0-9a-f]{12}", re.ASCII)


class Version(NamedTuple):
    """`version` is its number, `release` the id of its release, `source` a URI of the folder with its files."""

    version: str
    release: str
    source: str


class Aliases(Protocol):
    """Implementations ship as `RestAliases` (an MLflow server) and `SqlAliases` (MLflow's database)."""

    def resolve(self, name: str) -> Version | None:
        """`name` is `champion`, `challenger`, `previous`, the number of a version, or the id of a release, whose
        newest version counts. None if there is none. Raises Unavailable if the registry cannot be read."""

    def fetch(self, version: Version, folder: Path) -> Path:
        """The files of the release in `folder/<release id>`, brought there if they are not there yet.

        They come from outside: `registry.py:resolve_release` has to look at them before they are used. Raises
        ModelProblem if there is no release at its source, Unavailable if it cannot be read now.
        """

    def close(self) -> None: ...


def open_aliases(settings: Settings) -> Aliases:
    """The registry at `settings.tracking_uri`; it need not be there yet. Raises SettingsProblem for one of a kind
    that cannot be read."""
    kind = settings.tracking_uri.partition(":")[0].partition("+")[0]
    try:
        if kind in ("http", "https"):
            return RestAliases(settings.tracking_uri)
        if kind in ("sqlite", "postgresql", "postgres"):
            return SqlAliases(settings.tracking_uri)
    except (ArgumentError, httpx.InvalidURL, ValueError):
        raise SettingsProblem("CAPSTONE_MLFLOW_URI: this is no address of a registry.") from None  # may hold a password
    raise SettingsProblem("CAPSTONE_MLFLOW_URI: releases are read from http(s), sqlite and postgresql only.")


class RestAliases:
    """An MLflow server. `uri` may carry a user and a password. Thread-safe."""

    def __init__(self, uri: str, timeout_s: float = TIMEOUT_S) -> None:
        self._http = httpx.Client(base_url=uri, timeout=timeout_s, trust_env=False)

    def resolve(self, name: str) -> Version | None:
        if name in (CHAMPION, CHALLENGER, PREVIOUS):
            return self._version("registered-models/alias", {"name": MODEL, "alias": name})
        if _NUMBER.fullmatch(name):
            return self._version("model-versions/get", {"name": MODEL, "version": name})
        if _RELEASE_ID.fullmatch(name):
            return self._newest(name)
        return None

    def fetch(self, version: Version, folder: Path) -> Path:
        source = urlsplit(version.source)
        if source.scheme == "mlflow-artifacts":
            root = unquote(source.path).strip("/")
            return placed(version.release, folder, lambda to: download_release(self._list, self._get, root, to))
        return placed(version.release, folder, lambda to: copy_release(_local(version), to))

    def close(self) -> None:
        self._http.close()

    def _version(self, path: str, asked: dict[str, str]) -> Version | None:
        found = self._ask(f"mlflow/{path}", asked)
        with _registry_errors():
            return None if found is None else _of_json(found["model_version"])

    def _newest(self, release: str) -> Version | None:
        """The pattern of an id leaves no quote in `release`."""
        asked = {"filter": f"name = '{MODEL}' AND tags.{_TAG} = '{release}'", "order_by": "version_number DESC"}
        found = self._ask("mlflow/model-versions/search", asked) or {}
        with _registry_errors():
            versions = [one for row in found.get("model_versions", []) if (one := _of_json(row))]
        return max(versions, key=lambda one: int(one.version), default=None)

    def _ask(self, path: str, asked: dict[str, str]) -> dict[str, Any] | None:
        """The answer, or None if MLflow says that there is no such thing."""
        with _registry_errors():
            response = self._http.get(f"api/2.0/{path}", params=asked)
            body = response.json()
            if response.is_client_error and body.get("error_code") in _NO_SUCH:
                return None
            response.raise_for_status()
            return dict(body)

    def _list(self, path: str) -> list[Listed]:
        found = self._ask("mlflow-artifacts/artifacts", {"path": path}) or {}
        with _registry_errors():
            return [Listed(str(row["path"]), bool(row.get("is_dir"))) for row in found.get("files", [])]

    def _get(self, path: str, to: Path) -> None:
        with _registry_errors(), self._http.stream("GET", f"api/2.0/mlflow-artifacts/artifacts/{quote(path)}") as got:
            got.raise_for_status()
            with to.open("wb") as file:
                for piece in got.iter_bytes():
                    file.write(piece)


class SqlAliases:
    """MLflow's database. A SQLite file that is not there, or one without MLflow's tables, has no versions."""

    def __init__(self, uri: str, timeout_s: float = TIMEOUT_S) -> None:
        """Raises ArgumentError or ValueError if `uri` is not one of a database that can be shared."""
        url = make_url(uri)
        if not url.database:
            raise ValueError("the registry is in a database that has a name")
        self._file = Path(url.database) if url.get_backend_name() == "sqlite" else None
        self._engine = _read_only(self._file, timeout_s) if self._file else _postgresql(uri, timeout_s)

    def resolve(self, name: str) -> Version | None:
        if name in (CHAMPION, CHALLENGER, PREVIOUS):
            same = and_(_aliases.c.name == _versions.c.name, _aliases.c.version == _versions.c.version)
            return self._first(_select.join_from(_versions, _aliases, same).where(_aliases.c.alias == name))
        if _NUMBER.fullmatch(name):
            return self._first(_select.where(_versions.c.version == int(name)))
        if _RELEASE_ID.fullmatch(name):
            return self._first(_select.where(_tags.c.value == name))
        return None

    def fetch(self, version: Version, folder: Path) -> Path:
        return placed(version.release, folder, lambda to: copy_release(_local(version), to))

    def close(self) -> None:
        self._engine.dispose()

    def _first(self, query: Any) -> Version | None:
        with self._connection() as connection:
            if connection is None:
                return None
            row = connection.execute(query.order_by(_versions.c.version.desc()).limit(1)).first()
        return None if row is None else _named(str(row.version), row.value, row.source)

    @contextmanager
    def _connection(self) -> Iterator[Connection | None]:
        """None if there is nothing that could be read. Raises Unavailable."""
        if self._file is not None and not self._file.exists():
            yield None
            return
        try:
            with self._engine.connect() as connection:
                yield connection if inspect(connection).has_table(_aliases.name) else None
        except SQLAlchemyError as error:
            raise Unavailable(
                f"The model registry cannot be read ({type(error).__name__}).", retry_after_s=5
            ) from error


_versions = table("model_versions", *map(column, ("name", "version", "source", "current_stage")))
_tags = table("model_version_tags", *map(column, ("name", "version", "key", "value")))
_aliases = table("registered_model_aliases", *map(column, ("name", "alias", "version")))
_select = (
    select(_versions.c.version, _tags.c.value, _versions.c.source)
    .join_from(_versions, _tags, and_(_tags.c.name == _versions.c.name, _tags.c.version == _versions.c.version))
    .where(_versions.c.name == MODEL, _versions.c.current_stage != _DELETED, _tags.c.key == _TAG)
)


def _read_only(file: Path, timeout_s: float) -> Engine:
    """A connection for each question: MLflow may replace the file."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(str(file.resolve()))}?mode=ro", uri=True, timeout=timeout_s)

    return create_engine("sqlite://", creator=connect, poolclass=NullPool)


def _postgresql(uri: str, timeout_s: float) -> Engine:
    url = make_url(uri).set(drivername="postgresql+psycopg")
    options = f"-c default_transaction_read_only=on -c statement_timeout={int(1000 * timeout_s)}"
    return create_engine(
        url, poolclass=NullPool, connect_args={"connect_timeout": max(1, int(timeout_s)), "options": options}
    )


def _of_json(row: dict[str, Any]) -> Version | None:
    release = next((tag["value"] for tag in row.get("tags", []) if tag["key"] == _TAG), None)
    return _named(str(row["version"]), release, row.get("source"))


def _named(version: str, release: str | None, source: str | None) -> Version | None:
    """None for a version that names no release: it is not one of ours."""
    return Version(version, release, source or "") if release and _RELEASE_ID.fullmatch(release) else None


def _local(version: Version) -> Path:
    """Where on this machine the files are. Raises ModelProblem if they are elsewhere."""
    source = urlsplit(version.source)
    if source.scheme == "file" and source.netloc in ("", "localhost"):
        return Path(unquote(source.path))
    if not source.scheme and Path(version.source).is_absolute():
        return Path(version.source)
    raise ModelProblem(
        f"The files of {version.release} are at a place of the kind {source.scheme or 'relative path'!r}, which cannot "
        "be read here: CAPSTONE_MLFLOW_URI must be the MLflow server that holds them."
    )


@contextmanager
def _registry_errors() -> Iterator[None]:
    """Whatever is wrong with the server or what it says becomes Unavailable. The address may hold a password."""
    try:
        yield
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{type(error).__name__}"
        if isinstance(error, httpx.HTTPStatusError):
            said = f"status {error.response.status_code}"
        raise Unavailable(f"The model registry does not answer ({said}).", retry_after_s=5) from error
