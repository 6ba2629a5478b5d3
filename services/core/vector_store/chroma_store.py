"""Chroma, as a server that several processes share, or embedded in one. Always given our vectors; it loads no model.

Search is approximate (HNSW). Each of our collections is one of Chroma's, named by a hash because Chroma is strict
about names; the sequence number is a record in a small collection of its own, so that losing the data loses it too.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import chromadb
import httpx
import numpy as np
from chromadb.api import ClientAPI
from chromadb.api.collection_configuration import CreateCollectionConfiguration
from chromadb.api.models.Collection import Collection
from chromadb.config import Settings
from chromadb.errors import InternalError, NotFoundError, RateLimitError

from services.core.encoder import Vectors
from services.core.errors import Unavailable
from services.core.types import Hit
from services.core.vector_store import rules
from services.core.vector_store.rules import Ids

REQUEST_TIMEOUT_S = 30.0
_MAX_BATCH = 1_000  # rows a request: keeps one within the time limit on a slow machine
_RETRY_AFTER_S = 5
_STATE_ID = "applied"
_NOWHERE = np.ones((1, 1), np.float32)  # Chroma keeps no record without a vector
# ef_search is also the least number of candidates looked at, whatever k is. 32 links a row, 64 on the ground layer.
_HNSW = CreateCollectionConfiguration(
    hnsw={"space": "cosine", "ef_construction": 200, "max_neighbors": 32, "ef_search": 200}
)
Metadata = dict[str, str | int | float | bool | None]
T = TypeVar("T")
log = logging.getLogger(__name__)


def connect(url: str, timeout_s: float = REQUEST_TIMEOUT_S) -> ClientAPI:
    """A client of the server at `url` that gives up on a request after `timeout_s` seconds.

    Raises ValueError for a URL that is not http(s)://host[:port], Unavailable if the server does not answer.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.username:
        raise ValueError("the Chroma URL must look like http://host:port")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 8000)
    with _reaching("the Chroma server"):
        # chromadb waits for ever and has no setting for it; a server that hangs would take every thread with it. So it
        # is asked with a limit first, and the limit is then put on the client's own session.
        httpx.get(f"{parts.scheme}://{parts.hostname}:{port}/api/v2/heartbeat", timeout=timeout_s).raise_for_status()
        try:
            client = chromadb.HttpClient(
                host=parts.hostname, port=port, ssl=secure, settings=Settings(anonymized_telemetry=False)
            )
        except ValueError as problem:  # what chromadb makes of a refused connection
            raise Unavailable("the Chroma server does not answer", retry_after_s=_RETRY_AFTER_S) from problem
    client._server._session.timeout = httpx.Timeout(timeout_s)  # type: ignore[attr-defined]
    return client


def open_embedded(folder: Path) -> ClientAPI:
    """Chroma inside this process, over `folder`. It is not safe for a second process to open it too."""
    folder.mkdir(parents=True, exist_ok=True)
    return chromadb.PersistentClient(path=str(folder), settings=Settings(anonymized_telemetry=False))


class ChromaStore:
    """A `VectorStore` kept by `client`, which it owns: `close` closes both.

    Any number of processes may use one server; all see each other's changes at once. When one of them resets the
    store, the others notice at their next call and go on with the new one; see `mark_applied`. For its sake nobody
    but the follower may call `applied_seq`. `save` has nothing to do.
    """

    def __init__(self, client: ClientAPI, encoder_id: str, dim: int) -> None:
        self._client = client
        self._encoder_id = encoder_id
        self._dim = dim
        self._prefix = f"capstone-{rules.namespace(encoder_id, dim)}-"
        self._handles: dict[str, Collection] = {}  # name in Chroma -> handle, which names it by a UUID
        with _reaching():
            self._batch = min(_MAX_BATCH, client.get_max_batch_size())

    def applied_seq(self) -> int:
        with _reaching():
            found = self._on(
                self._state_name,
                lambda state: state.get(ids=[_STATE_ID], include=["metadatas"]),
                make=self._state_metadata,  # so that `mark_applied` can tell whether it is still the same
            )
        rows = (found["metadatas"] or []) if found else []
        return int(str(rows[0]["seq"])) if rows else 0

    def add(self, collection: str, ids: Ids, vectors: Vectors) -> None:
        ids, rows = rules.checked_rows(ids, vectors, self._dim)
        name = self._name(collection)
        with _reaching():
            for start in range(0, ids.size, self._batch):
                end = start + self._batch
                self._put(name, {"collection": collection}, ids[start:end], rows[start:end])

    def remove(self, collection: str, ids: Ids) -> None:
        ids = np.unique(rules.checked_ids(ids))  # Chroma refuses repeated ids
        name = self._name(collection)
        with _reaching():
            for start in range(0, ids.size, self._batch):
                self._take(name, ids[start : start + self._batch])

    def search(self, collection: str, query: Vectors, k: int, within: Ids | None = None) -> list[Hit]:
        row = rules.checked_query(query, k, self._dim)
        asked = None if within is None else np.unique(rules.checked_ids(within))
        only: list[str] | None = None

        def fetch(wanted: int) -> tuple[Ids, Vectors]:
            found = self._on(
                self._name(collection),
                lambda handle: handle.query(query_embeddings=row, ids=only, n_results=wanted, include=["distances"]),
            )
            if not found or not found["distances"]:
                return np.empty(0, np.int64), np.empty(0, np.float32)
            ids = np.array([int(name) for name in found["ids"][0]], np.int64)
            return ids, 1.0 - np.array(found["distances"][0], np.float32)

        with _reaching():
            if asked is not None:
                only = self._present(self._name(collection), asked)
                if not only:
                    return []
            return rules.nearest(fetch, k)

    def count(self, collection: str | None = None) -> int:
        with _reaching():
            if collection is not None:
                names = [self._name(collection)]
            else:
                names = [name for name in self._names() if name != self._state_name]
            return sum(self._on(name, lambda handle: handle.count()) or 0 for name in names)

    def mark_applied(self, seq: int) -> None:
        """As the Protocol says, but not if another process reset the store since this one last read `applied_seq`:
        rows this process relies on may be gone, so its claim is dropped, and the next `applied_seq` tells."""
        seq = rules.checked_seq(seq)
        with _reaching():
            state = self._handles.get(self._state_name) or self._open(self._state_name, self._state_metadata)
            try:
                state.upsert(ids=[_STATE_ID], embeddings=_NOWHERE, metadatas=[{"seq": seq}])
            except NotFoundError:
                log.warning("the store was reset by another process: sequence number %d is not kept", seq)

    def reset(self) -> None:
        with _reaching():
            # State first: a crash half way must not leave a claim without its rows. And last: another process may
            # have begun to fill collections that were still to be dropped, and its claim must go too.
            self._drop(self._state_name)
            for name in self._names():
                if name != self._state_name:
                    self._drop(name)
            self._drop(self._state_name)
            self._handles.clear()
            self._open(self._state_name, self._state_metadata)

    def save(self) -> None:
        """Nothing to do: Chroma keeps every change as it is made."""

    def close(self) -> None:
        self._handles.clear()
        self._client.close()  # type: ignore[attr-defined]  # all clients have it, their common type does not say so

    @property
    def _state_name(self) -> str:
        return f"{self._prefix}state"

    @property
    def _state_metadata(self) -> Metadata:
        return {"encoder_id": self._encoder_id, "dim": self._dim}

    def _name(self, collection: str) -> str:
        return f"{self._prefix}c-{hashlib.sha256(collection.encode()).hexdigest()[:32]}"

    def _names(self) -> list[str]:
        """Chroma's names of all our collections, state included."""
        return [found.name for found in self._client.list_collections() if found.name.startswith(self._prefix)]

    def _open(self, name: str, make: Metadata | None) -> Collection:
        """The collection `name`, made with metadata `make` if it is missing; NotFoundError if `make` is None."""
        if make is None:
            handle = self._client.get_collection(name, embedding_function=None)
        else:
            handle = self._client.get_or_create_collection(
                name, embedding_function=None, configuration=_HNSW, metadata=make
            )
        self._handles[name] = handle
        return handle

    def _on(self, name: str, act: Callable[[Collection], T], make: Metadata | None = None) -> T | None:
        """`act` on the collection `name`; None if there is none and it is not to be made.

        A handle names a collection by its UUID and goes stale when another process resets the store, so it is
        replaced once.
        """
        try:
            if handle := self._handles.get(name):
                try:
                    return act(handle)
                except NotFoundError:
                    self._handles.pop(name, None)
            return act(self._open(name, make))
        except NotFoundError:
            self._handles.pop(name, None)
            if make is not None:
                raise Unavailable("the store is being reset", retry_after_s=_RETRY_AFTER_S) from None
            return None

    def _put(self, name: str, make: Metadata, ids: Ids, rows: Vectors) -> None:
        self._on(name, lambda handle: handle.upsert(ids=_names_of(ids), embeddings=rows), make)

    def _take(self, name: str, ids: Ids) -> None:
        self._on(name, lambda handle: handle.delete(ids=_names_of(ids)))

    def _present(self, name: str, ids: Ids) -> list[str]:
        """Chroma's names of those of `ids` that are there: a query for others fails, one for none is not limited."""
        found: list[str] = []
        for start in range(0, ids.size, self._batch):
            some = _names_of(ids[start : start + self._batch])
            got = self._on(name, lambda handle, some=some: handle.get(ids=some, include=[]))  # type: ignore[misc]
            found += got["ids"] if got else []
        return found

    def _drop(self, name: str) -> None:
        with suppress(NotFoundError):
            self._client.delete_collection(name)


def _names_of(ids: Ids) -> list[str]:
    return [str(chunk_id) for chunk_id in ids.tolist()]


@contextmanager
def _reaching(what: str = "the vector store") -> Iterator[None]:
    """Turn every way in which a server is away, broken or overloaded into Unavailable."""
    try:
        yield
    except (httpx.HTTPError, InternalError, RateLimitError) as problem:
        raise Unavailable(f"{what} does not answer", retry_after_s=_RETRY_AFTER_S) from problem
    except Exception as problem:
        # chromadb raises a bare Exception for an answer that is not Chroma's, such as a proxy's error page.
        if type(problem) is not Exception:
            raise
        raise Unavailable(f"{what} gave an answer that is not Chroma's", retry_after_s=_RETRY_AFTER_S) from problem
