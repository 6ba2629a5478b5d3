"""Several processes over one catalog: an ingest service, a worker and two api processes that each keep a view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

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
