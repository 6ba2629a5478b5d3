"""Documents of another encoder are embedded anew: by a real worker, by one that is killed, and as asked over HTTP."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from fastapi.testclient import TestClient

from services.api.app import create_app as create_api
from services.api.resources import ApiResources
from services.api.resources import open_resources as open_api
from services.core import chunks, codec
from services.core.catalog import Catalog, Document, new_document_id
from services.core.encoder import Encoder, HashingEncoder, Vectors, encoder_id
from services.core.errors import ModelProblem
from services.core.jobs import Job
from services.core.keys import SCOPES, KeyStore
from services.core.lease import Lease
from services.core.registry import read_manifest
from services.core.reindex import queue
from services.core.settings import Settings
from services.core.tables import checkpoints
from services.core.telemetry import Telemetry
from services.core.types import JobKind
from services.ingest.app import create_app as create_ingest
from services.ingest.batches import ENCODE_BATCH, VECTORS
from services.ingest.embedder import Embedder
from services.ingest.files import FileStore
from services.ingest.pipeline import IngestPipeline
from services.ingest.resources import parse_limits
from services.ingest.shared_encoder import InTurn, SharedEncoder
from services.ingest.worker import Worker
from tests import samples
from tests.calls import bearer, problem_of
from tests.one_machine import one_machine
from tests.papers import story
from tests.releases import make_encoder
from tests.server import QUICK, start_worker
from tests.waiting import until
from tests.weightless import weightless

OLD = HashingEncoder(dim=64)
NOW = HashingEncoder()  # that of the settings `hashing`
T = TypeVar("T")
LINES = "\n".join(f"line {number} of the ledger" for number in range(2 * ENCODE_BATCH + 5))


@dataclass
class Desk:
    """A worker's place: its settings and its catalog."""

    settings: Settings
    catalog: Catalog

    def send(self, data: bytes, collection: str = "default") -> Document:
        document_id = new_document_id()
        stored = FileStore(self.settings.files_dir).receive(document_id, io.BytesIO(data), 10**8)
        return self.catalog.add_document(document_id, collection, "a.pdf", stored.sha256, stored.bytes)[0]

    def ingest(self, data: bytes, encoder: HashingEncoder, collection: str) -> Document:
        """By the pipeline, as the worker does it."""
        document = self.send(data, collection)
        job = self.catalog.jobs.claim("worker", 60)
        assert job is not None
        pipeline = IngestPipeline(self.catalog, lambda: encoder, parse_limits(self.settings))
        with Lease(self.catalog.jobs, job, "worker", 60, threading.Event()) as lease:
            pipeline.run(lease, FileStore(self.settings.files_dir).path(document.id))
        return self.catalog.document(document.id)

    def work(self, shared: SharedEncoder | None = None, **changes: Any) -> Job:
        """Claim the next job that embeds, do it, and return it as it is then."""
        job = self.catalog.jobs.claim("worker", 60, JobKind.embed)
        assert job is not None
        worker = Embedder(self.settings.model_copy(update=changes), self.catalog, threading.Event(), shared)
        worker._owner = "worker"
        worker.work_on(job)
        return self.catalog.jobs.get(job.id)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    settings = weightless(tmp_path / "data", models_dir=tmp_path / "models", max_attempts=3)
    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    yield Desk(settings, catalog)
    catalog.close()


def given(encoder: HashingEncoder) -> SharedEncoder:
    """One that a test brings, in place of that of the settings."""
    return SharedEncoder(lambda _: encoder)


@dataclass
class Told(HashingEncoder):
    """Counts what it encodes, after it has called `first` with the number of the call (from 1)."""

    first: Callable[[int], None]
    encoded: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        HashingEncoder.__init__(self)

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.first(len(self.encoded) + 1)
        self.encoded.append(len(texts))
        return super().encode(texts)


# The worker -------------------------------------------------------------------------------------------------------


def test_vectors_are_those_that_ingest_would_have_made(desk: Desk) -> None:
    paper = story("the lighthouse", ENCODE_BATCH + 3)
    moved, straight = (desk.ingest(paper, encoder, encoder.id) for encoder in (OLD, NOW))
    assert [job.subject_id for job in queue(desk.catalog, NOW.id)] == [moved.id]
    job = desk.work()
    assert (job.status, job.done, job.total, job.unit) == ("succeeded", ENCODE_BATCH + 3, ENCODE_BATCH + 3, "chunks")
    assert desk.catalog.document(moved.id).encoder_id == NOW.id
    _, vectors = desk.catalog.vectors(moved.id, NOW.dim, NOW.id)
    _, expected = desk.catalog.vectors(straight.id, NOW.dim, NOW.id)
    np.testing.assert_array_equal(vectors, expected)


def test_progress_is_shown_and_a_broken_off_job_goes_on(desk: Desk) -> None:
    document = samples.publish(desk.catalog, LINES, encoder=OLD)
    (job,) = queue(desk.catalog, NOW.id)
    shown = []

    def breaks_off(call: int) -> None:
        now = desk.catalog.jobs.get(job.id)
        shown.append((now.done, now.total))
        if call == 3:
            raise RuntimeError("a full disk")

    broken = Told(breaks_off)
    assert desk.work(given(broken)).status == "running"
    assert shown == [(0, 0), (ENCODE_BATCH, 2 * ENCODE_BATCH + 5), (2 * ENCODE_BATCH, 2 * ENCODE_BATCH + 5)]
    assert desk.catalog.document(document.id) == document
    desk.catalog.jobs.release_all(JobKind.embed)
    heir = Told(lambda _: None)
    assert desk.work(given(heir)).status == "succeeded"
    assert heir.encoded == [5]
    _, texts = chunks.texts(desk.catalog.database, document.id)
    np.testing.assert_array_equal(desk.catalog.vectors(document.id, NOW.dim, NOW.id)[1], NOW.encode(texts))


def test_a_worker_that_is_killed_has_changed_nothing_and_the_next_goes_on(desk: Desk) -> None:
    """kill -9 between two checkpoints, twice; batches that were kept are not made again."""
    lines = 150 * ENCODE_BATCH
    document = samples.publish(desk.catalog, "\n".join(f"line {number}" for number in range(lines)), encoder=OLD)
    (job,) = queue(desk.catalog, NOW.id)
    made: dict[int, bytes] = {}
    for _ in range(2):
        before = len(made)
        worker = start_worker(QUICK, desk.settings.data_dir)
        try:
            until(lambda before=before: len(kept(desk, job)) >= before + 3)  # type: ignore[misc]
        finally:
            worker.kill()
        made = kept(desk, job)
        assert before + 3 <= len(made) < 150, worker.tail()
        now = desk.catalog.jobs.get(job.id)
        assert (now.status, now.done, now.total) == ("running", len(made) * ENCODE_BATCH, lines)
        assert desk.catalog.document(document.id) == document and desk.catalog.last_seq() == 1
        assert len(desk.catalog.vectors(document.id, OLD.dim, OLD.id)[0]) == lines
        mark(desk, job)
    worker = start_worker(QUICK, desk.settings.data_dir)
    try:
        until(lambda: desk.catalog.jobs.get(job.id).status.finished)
    finally:
        worker.kill()
    assert desk.catalog.jobs.get(job.id).status == "succeeded", worker.tail()
    _, vectors = desk.catalog.vectors(document.id, NOW.dim, NOW.id)
    marked = len(made) * ENCODE_BATCH
    assert (vectors[:marked] == 0.5).all()
    _, texts = chunks.texts(desk.catalog.database, document.id)
    np.testing.assert_array_equal(vectors[marked:], NOW.encode(texts[marked:]))
    assert [change.encoder_id for change in desk.catalog.changes_after(0, 10)] == [OLD.id, NOW.id]


def kept(desk: Desk, job: Job) -> dict[int, bytes]:
    return desk.catalog.jobs.checkpoints(job.id, VECTORS)


def mark(desk: Desk, job: Job) -> None:
    """Change the vectors that are kept, so that those that are made again can be told from them."""
    marked = codec.pack_vectors(np.full((ENCODE_BATCH, NOW.dim), 0.5, np.float32))
    with desk.catalog.database.write() as connection:
        for number, payload in kept(desk, job).items():
            assert len(payload) == 32 + len(marked)
            mine = (checkpoints.c.job_id == job.id) & (checkpoints.c.number == number)
            connection.execute(checkpoints.update().where(mine).values(payload=payload[:32] + marked))


def test_a_worker_with_the_encoder_that_is_there_says_so(desk: Desk) -> None:
    document = samples.publish(desk.catalog, "Alpha", encoder=NOW)
    queue(desk.catalog, OLD.id)
    job = desk.work()
    assert (job.status, job.error_code) == ("failed", "other_encoder")
    assert NOW.id in (job.error_detail or "")
    assert desk.catalog.document(document.id) == document


def test_weights_that_are_missing_fail_the_job_with_the_remedy(desk: Desk) -> None:
    document = samples.publish(desk.catalog, "Alpha", encoder=OLD)
    queue(desk.catalog, NOW.id)
    job = desk.work(encoder="sentence", max_attempts=1)
    assert (job.status, job.error_code) == ("failed", "model_problem")
    assert "capstone fetch" in (job.error_detail or "")
    assert desk.catalog.document(document.id) == document


@pytest.mark.parametrize("when", ["before it begins", "between two batches", "after the last batch"])
def test_a_job_whose_document_is_deleted_is_cancelled(desk: Desk, when: str) -> None:
    document = samples.publish(desk.catalog, LINES, encoder=OLD)
    queue(desk.catalog, NOW.id)
    delete_at = {"before it begins": 0, "between two batches": 2, "after the last batch": 3}[when]

    def deletes(call: int) -> None:
        if call == delete_at:
            desk.catalog.delete_document(document.id)

    claimed = desk.catalog.jobs.claim("worker", 60, JobKind.embed)
    assert claimed is not None
    deletes(0)
    worker = Embedder(desk.settings, desk.catalog, threading.Event(), given(Told(deletes)))
    worker._owner = "worker"
    worker.work_on(claimed)
    job = desk.catalog.jobs.get(claimed.id)
    assert (job.status, job.error_code) == ("cancelled", None)
    assert kept(desk, job) == {}
    assert [change.kind for change in desk.catalog.changes_after(0, 10)] == ["publish", "delete"]


# One process, two workers -----------------------------------------------------------------------------------------


def test_the_worker_s_process_does_both_kinds_of_jobs(desk: Desk) -> None:
    moved = samples.publish(desk.catalog, LINES, encoder=OLD)
    sent = desk.send(story("the arrival", 2))
    queue(desk.catalog, NOW.id)
    worker = start_worker(QUICK, desk.settings.data_dir)
    try:
        until(lambda: desk.catalog.document(sent.id).encoder_id == desk.catalog.document(moved.id).encoder_id == NOW.id)
        assert {"worker.lock", "embeddings.lock"} <= {file.name for file in desk.settings.data_dir.iterdir()}
        assert worker.stop() == 0
    finally:
        worker.kill()


def test_workers_share_one_encoder(desk: Desk) -> None:
    made = []

    def slowly(settings: Settings) -> Encoder:
        made.append(settings)
        time.sleep(0.05)
        return HashingEncoder()

    shared, barrier = SharedEncoder(slowly), threading.Barrier(8)

    def opened(_: int) -> int:
        barrier.wait()
        return id(shared.open(desk.settings))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(opened, range(8)))) == 1 == len(made)
    samples.publish(desk.catalog, "Alpha", encoder=OLD)
    queue(desk.catalog, NOW.id)
    mine = given(told := Told(lambda _: None))
    stopping = threading.Event()
    paper = desk.send(story("the shared one", 3))
    for worker, kind in (
        (Worker(desk.settings, desk.catalog, stopping, mine), JobKind.ingest),
        (Embedder(desk.settings, desk.catalog, stopping, mine), JobKind.embed),
    ):
        worker._owner = "worker"
        job = desk.catalog.jobs.claim("worker", 60, kind)
        assert job is not None
        worker.work_on(job)
    assert told.encoded == [3, 1] and desk.catalog.document(paper.id).status == "ready"


def test_a_shared_encoder_is_used_in_turn() -> None:
    inside: list[str] = []

    class Lonely(HashingEncoder):
        def encode(self, texts: Sequence[str]) -> Vectors:
            return alone(lambda: super(Lonely, self).encode(texts))

        def token_spans(self, text: str) -> list[tuple[int, int]]:
            return alone(lambda: super(Lonely, self).token_spans(text))

    def alone(act: Callable[[], T]) -> T:
        assert not inside, "two at once"
        inside.append("here")
        time.sleep(0.001)
        inside.pop()
        return act()

    encoder, plain = InTurn(Lonely()), HashingEncoder()
    assert (encoder.id, encoder.dim, encoder.max_tokens) == (plain.id, plain.dim, plain.max_tokens)

    def use(number: int) -> None:
        text = f"text number {number}"
        if number % 2:
            assert encoder.token_spans(text) == plain.token_spans(text)
        else:
            np.testing.assert_array_equal(encoder.encode([text]), plain.encode([text]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(40)))


# Ids --------------------------------------------------------------------------------------------------------------


def test_the_id_of_an_encoder_is_known_without_its_weights(tmp_path: Path) -> None:
    assert encoder_id("hashing", tmp_path) == NOW.id
    with pytest.raises(ModelProblem, match="capstone fetch"):
        encoder_id("tuned", tmp_path)
    make_encoder(tmp_path)  # a manifest, but nothing to encode with
    assert encoder_id("tuned", tmp_path) == read_manifest(tmp_path / "encoder-tuned").id


# HTTP -------------------------------------------------------------------------------------------------------------


def texts_of(http: Any, query: str, collection: str = "default") -> list[str]:
    found = http.post("/v1/search", json={"query": query, "collection": collection, "k": 20}).raise_for_status().json()
    return [result["text"] for result in found["results"]]


def test_what_was_lost_is_found_again_over_http(tmp_path: Path) -> None:
    settings = weightless(tmp_path, models_dir=tmp_path / "none", port=0, job_poll_s=0.02)
    with one_machine(settings, story("the first one", 1), "first.pdf") as (settings, catalog, http):
        document = samples.publish(catalog, "Alpha text\nBeta text", "moved", encoder=OLD)
        url = f"/v1/documents/{document.id}"
        before = http.get(url).raise_for_status().json()
        assert (before["status"], before["encoder"]) == ("ready", OLD.id)
        assert texts_of(http, "Alpha text", "moved") == []

        answer = http.post("/v1/reindex")
        assert answer.status_code == 202
        body = answer.json()
        assert body["encoder"] == NOW.id
        (job,) = body["jobs"]
        assert (job["kind"], job["document_id"], job["status"]) == ("embed", document.id, "queued")
        assert job["progress"] == {"done": 0, "total": 0, "unit": "chunks"}
        assert http.post("/v1/reindex").json() == {"encoder": NOW.id, "jobs": []}
        assert texts_of(http, "Alpha text", "moved") == []

        assert Desk(settings, catalog).work().id == job["id"]
        done = http.get(f"/v1/jobs/{job['id']}").json()
        assert (done["status"], done["document_id"]) == ("succeeded", document.id)
        assert done["progress"] == {"done": 2, "total": 2, "unit": "chunks"}
        assert texts_of(http, "Alpha text", "moved") == ["Alpha text", "Beta text"]
        assert http.get(url).json() == before | {"encoder": NOW.id}
        assert http.post("/v1/reindex").json()["jobs"] == []
        assert http.delete(url).status_code == 204
        assert texts_of(http, "Alpha text", "moved") == []
        assert http.get(f"/v1/jobs/{job['id']}").json()["status"] == "succeeded"


def test_a_collection_can_be_named_and_a_key_reaches_its_own_only(tmp_path: Path) -> None:
    settings = weightless(tmp_path, models_dir=tmp_path / "none", api_keys="required")
    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    names = ("mine", "theirs", "theirs too")
    ids = {name: samples.publish(catalog, name, name.replace(" ", "-"), encoder=OLD).id for name in names}
    keys = KeyStore(catalog.database)
    reader, writer = (bearer(keys.create(scope, name=scope)[1]) for scope in SCOPES[:2])
    limited = bearer(keys.create("write", name="limited", collections=["mine"])[1])

    def queued(headers: dict[str, str], **params: str) -> list[str]:
        response = http.post("/v1/reindex", headers=headers, params=params)
        assert response.status_code == 202, response.text
        return [job["document_id"] for job in response.json()["jobs"]]

    with TestClient(create_ingest(settings)) as http:
        problem_of(http.post("/v1/reindex", headers=reader), 403, "forbidden")
        problem_of(http.post("/v1/reindex", headers=limited, params={"collection": "theirs"}), 404, "not_found")
        problem_of(http.post("/v1/reindex", headers=writer, params={"collection": "/"}), 422, "invalid_request")
        assert queued(limited) == [ids["mine"]]
        assert queued(writer, collection="theirs") == [ids["theirs"]]
        assert queued(writer, collection="unknown") == []
        assert queued(writer) == [ids["theirs too"]]
    catalog.close()


def test_it_takes_the_manifest_of_the_weights_and_no_more(tmp_path: Path) -> None:
    settings = weightless(tmp_path, models_dir=tmp_path / "models", encoder="tuned")
    with TestClient(create_ingest(settings)) as http:
        assert "capstone fetch" in problem_of(http.post("/v1/reindex"), 503, "model_problem")["detail"]
        make_encoder(settings.models_dir)
        assert http.post("/v1/reindex").json() == {
            "encoder": encoder_id("tuned", settings.models_dir),
            "jobs": [],
        }


# The api service --------------------------------------------------------------------------------------------------


@pytest.fixture
def api(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[ApiResources, TestClient]]:
    settings = weightless(tmp_path, **request.param)
    with open_api(settings, Telemetry()) as resources, TestClient(create_api(settings, resources)) as http:
        yield resources, http


PLANS = [
    {"retrieval": "dense"},
    {"retrieval": "lexical"},
    {"retrieval": "hybrid", "mmr_trade_off": 0.9},
    {"retrieval": "hybrid", "rerank_depth": 2},
]


@pytest.mark.parametrize("api", PLANS, indirect=True, ids=lambda plan: " ".join(map(str, plan.values())))
def test_a_process_of_the_old_encoder_goes_on_answering(api: tuple[ApiResources, TestClient]) -> None:
    """Here the settings' encoder is the old one: what it holds has the same scores, though their vectors are gone."""
    resources, http = api
    document = samples.publish(resources.catalog, "Alpha text\nBeta text\nGamma words", encoder=NOW)
    question = {"query": "Alpha text", "k": 3}
    before = http.post("/v1/search", json=question).raise_for_status().json()["results"]
    assert before[0]["text"] == "Alpha text" and before[0]["document_id"] == document.id
    samples.embed_anew(resources.catalog, OLD)
    after = http.post("/v1/search", json=question).raise_for_status().json()["results"]
    assert after == before
    resources.catalog.delete_document(document.id)
    assert http.post("/v1/search", json=question).raise_for_status().json()["results"] == []


def test_the_api_service_says_once_what_it_cannot_find(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = weightless(tmp_path)
    catalog = Catalog(settings.catalog_url)
    catalog.migrate()

    def warnings() -> list[logging.LogRecord]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "capstone.api"), open_api(settings, Telemetry()):
            return [record for record in caplog.records if "reindex" in record.getMessage()]

    samples.publish(catalog, "Alpha", encoder=NOW)
    samples.add(catalog, "not ready")
    assert warnings() == []
    catalog.jobs.claim("worker", 60)
    for text in ("Beta", "Gamma"):
        samples.publish(catalog, text, encoder=OLD)
    (warning,) = warnings()
    assert "not found: 2;" in warning.getMessage() and "capstone reindex" in warning.getMessage()
    assert vars(warning)["fields"] == {"documents": 2, "encoder": NOW.id}
    samples.embed_anew(catalog, NOW)
    assert warnings() == []
    catalog.close()
