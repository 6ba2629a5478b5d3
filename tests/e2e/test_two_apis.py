"""Several processes over one catalog: an ingest service, workers, and two api processes that each keep a view."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from services.core.database import Database
from services.core.tables import changes, chunks
from tests.calls import SSE, client_of, ended, events, ingest, search, upload
from tests.papers import story, story_page
from tests.server import QUICK, Server, new_database, start_service, start_worker

API = "services.api.app:create_app"
TOPIC = "the signal box"


@dataclass
class Cluster:
    """`apis` follow the catalog of `ingest`; each in a process of its own."""

    env: dict[str, str]
    api_folders: list[Path]
    ingest: Server
    worker: Server
    apis: list[Server] = field(default_factory=list)

    def found_by(self, document_id: str) -> list[bool]:
        """Does each api process find page 5 of the document?"""
        return [document_id in documents_found(server) for server in self.apis]

    def restart(self, index: int, *, kill: bool) -> None:
        self.apis[index].kill() if kill else self.apis[index].stop()
        self.apis[index] = start_service(API, self.env, self.api_folders[index])
        self.apis[index].wait_ready()

    def servers(self) -> list[Server]:
        return [self.worker, self.ingest, *self.apis]

    def replace_worker(self, count: int) -> list[Server]:
        """So many workers in the place of the one, which tell in their logs which jobs they have done."""
        self.worker.kill()
        env = self.env | {"CAPSTONE_LOG_LEVEL": "INFO"}
        return [start_worker(env, self.ingest.log.parent) for _ in range(count)]


def jobs_done(worker: Server) -> list[str]:
    """Ids of the jobs that a worker's log tells of."""
    lines = [json.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{")]
    return [line["job"] for line in lines if line.get("message") == "job done"]


def documents_found(server: Server) -> set[str]:
    with client_of(server.url) as http:
        return {result["document_id"] for result in search(http, story_page(TOPIC, 5), k=100)}


@pytest.fixture(scope="module", params=["sqlite-faiss", "postgresql-faiss", "postgresql-chroma"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    database, store = str(request.param).split("-")
    shared = tmp_path_factory.mktemp(str(request.param))
    env = QUICK | {"CAPSTONE_VECTOR_STORE": store, "CAPSTONE_SNAPSHOT_EVERY_S": "0.5", "CAPSTONE_LEASE_S": "4"}
    if database == "postgresql":
        env["CAPSTONE_DATABASE_URL"] = new_database(request.getfixturevalue("postgres_url"))
    # The embedded Chroma belongs to one process; FAISS snapshots may be shared.
    folders = [shared / "one", shared / "two"] if store == "chroma" else [shared, shared]
    running: list[Server] = []
    try:
        running.append(start_service("services.ingest.app:create_app", env, shared))
        running.append(start_worker(env, shared))
        running += [start_service(API, env, folder) for folder in folders]
        ingest_service, worker, *apis = running
        for server in (ingest_service, *apis):
            server.wait_ready()
        cluster = Cluster(env, folders, ingest_service, worker, apis)
        running = []
        yield cluster
        running = cluster.servers()
    finally:
        for server in running:
            server.kill()


@pytest.fixture
def http(cluster: Cluster) -> Iterator[httpx.Client]:
    with client_of(cluster.ingest.url) as client:
        yield client


def test_a_document_appears_in_and_disappears_from_every_process_at_once(cluster: Cluster, http: httpx.Client) -> None:
    document = ingest(http, story(TOPIC, 8), "signal.pdf")
    assert cluster.found_by(document["id"]) == [True, True]
    assert http.delete(f"/v1/documents/{document['id']}").status_code == 204
    assert cluster.found_by(document["id"]) == [False, False]


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_process_that_comes_back_knows_what_was_deleted(cluster: Cluster, http: httpx.Client, kill: bool) -> None:
    gone = ingest(http, story(TOPIC, 8), "signal.pdf")
    kept = ingest(http, story(f"{TOPIC} of the other line", 8), "other.pdf")
    assert cluster.found_by(gone["id"]) == cluster.found_by(kept["id"]) == [True, True]
    http.delete(f"/v1/documents/{gone['id']}").raise_for_status()
    cluster.restart(0, kill=kill)
    assert cluster.found_by(gone["id"]) == [False, False]
    assert cluster.found_by(kept["id"]) == [True, True]
    again = ingest(http, story(TOPIC, 8), "signal.pdf")
    assert again["id"] != gone["id"]
    assert cluster.found_by(again["id"]) == [True, True]
    for document in (again, kept):
        http.delete(f"/v1/documents/{document['id']}").raise_for_status()


def test_a_document_deleted_while_a_process_is_down_is_gone_when_it_comes_back(
    cluster: Cluster, http: httpx.Client
) -> None:
    document = ingest(http, story(TOPIC, 8), "signal.pdf")
    assert cluster.found_by(document["id"]) == [True, True]
    cluster.apis[1].stop()  # its snapshot holds the document
    http.delete(f"/v1/documents/{document['id']}").raise_for_status()
    cluster.restart(1, kill=True)
    assert cluster.found_by(document["id"]) == [False, False]


def test_a_worker_killed_at_work_is_followed_by_another(cluster: Cluster, http: httpx.Client) -> None:
    job_id = upload(http, story("the long tunnel", 400), "tunnel.pdf").raise_for_status().json()["job"]["id"]
    with http.stream("GET", f"/v1/jobs/{job_id}", headers=SSE) as response:
        begun = next(job for _, job in events(response) if job["progress"]["total"])
    cluster.worker.kill()
    assert begun["status"] == "running"
    cluster.worker = start_worker(cluster.env, cluster.ingest.log.parent)
    job = ended(http, job_id)
    assert (job["status"], job["progress"]) == ("succeeded", {"done": 400, "total": 400, "unit": "pages"})
    counts = http.get("/v1/collections").json()["data"]
    assert [row["chunks"] for row in counts if row["name"] == "default"] == [400]


@pytest.mark.timeout(600)
def test_documents_are_shared_out_among_workers_and_each_is_indexed_once(cluster: Cluster, http: httpx.Client) -> None:
    """On SQLite one worker works and the other waits; on PostgreSQL both do."""
    several = "CAPSTONE_DATABASE_URL" in cluster.env
    workers = cluster.replace_worker(2)
    cluster.worker = workers[0]
    try:
        warm = 0
        while several and not all(jobs_done(worker) for worker in workers):  # both have come up
            ingest(http, story(f"the waiting room {warm}", 1), "warm.pdf", "warm")
            warm += 1

        topics = [f"{TOPIC} of line {number}" for number in range(16)]

        def sent(topic: str) -> dict[str, Any]:
            with client_of(cluster.ingest.url) as mine:
                return dict(upload(mine, story(topic, 12), f"{topic}.pdf", "shared").raise_for_status().json())

        with ThreadPoolExecutor(8) as pool:
            documents = list(pool.map(sent, topics))
        jobs = [document["job"]["id"] for document in documents]
        assert [ended(http, job)["status"] for job in jobs] == ["succeeded"] * len(jobs)

        done = [set(jobs_done(worker)) & set(jobs) for worker in workers]
        assert Counter([job for worker in workers for job in jobs_done(worker) if job in jobs]) == Counter(jobs)
        if several:
            assert all(done), "each worker did some"
        ids = [document["id"] for document in documents]
        assert indexed(cluster, ids) == dict.fromkeys(ids, (1, 12))

        for document, topic in zip(documents, topics, strict=True):
            assert [document["id"] in found for found in found_by_each(cluster, topic)] == [True, True]
        for document, topic in zip(documents[::2], topics[::2], strict=True):
            assert http.delete(f"/v1/documents/{document['id']}").status_code == 204
            assert [document["id"] in found for found in found_by_each(cluster, topic)] == [False, False]
        kept = set(ids[1::2])
        for found in found_by_each(cluster, topics[1], k=100):
            assert found <= kept
    finally:
        workers[1].kill()


def indexed(cluster: Cluster, ids: list[str]) -> dict[str, tuple[int, int]]:
    """Of each document how often it was published, and its chunks."""
    database = Database(cluster.env.get("CAPSTONE_DATABASE_URL") or f"sqlite:///{cluster.api_folders[0]}/catalog.db")
    with database.read() as connection:
        published = Counter(
            connection.execute(select(changes.c.document_id).where(changes.c.kind == "publish")).scalars()
        )
        rows = select(chunks.c.document_id, func.count()).group_by(chunks.c.document_id)
        parts = {row[0]: row[1] for row in connection.execute(rows)}
    database.close()
    return {document_id: (published[document_id], parts.get(document_id, 0)) for document_id in ids}


def found_by_each(cluster: Cluster, topic: str, k: int = 20) -> list[set[str]]:
    """The documents that each api process finds for a page of `topic`."""
    found = []
    for server in cluster.apis:
        with client_of(server.url) as http:
            found.append({result["document_id"] for result in search(http, story_page(topic, 5), "shared", k=k)})
    return found
