"""The worker with a real SQLite catalog, real files and the real parser: it publishes, resumes, gives up, tidies."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services.core.catalog import Catalog, Document, new_document_id
from services.core.encoder import HashingEncoder, Vectors
from services.core.errors import NotFound
from services.core.jobs import Job
from services.core.lease import Lease
from services.core.settings import Settings
from services.core.tables import checkpoints
from services.core.types import JobStatus
from services.ingest.batches import ENCODE_BATCH, VECTORS
from services.ingest.files import FileStore
from services.ingest.pipeline import PAGE, IngestPipeline
from services.ingest.resources import parse_limits
from services.ingest.worker import Worker
from tests import poison
from tests.papers import story, story_page
from tests.queue import open_jobs
from tests.waiting import until

PAGES = 3 * ENCODE_BATCH + 5  # one chunk a page: four batches of vectors


class WorkerDied(Exception):
    """Stands for a process that ends in the middle of its work."""


@dataclass
class CountingEncoder(HashingEncoder):
    """Counts what it encodes, and dies when asked to encode for the `dies_at`-th time (from 1)."""

    dies_at: int = 0
    encoded: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        HashingEncoder.__init__(self)

    def encode(self, texts: Sequence[str]) -> Vectors:
        if len(self.encoded) + 1 == self.dies_at:
            raise WorkerDied
        self.encoded.append(len(texts))
        return super().encode(texts)


@dataclass
class Desk:
    """One worker's place: its settings, its catalog, its files."""

    settings: Settings
    catalog: Catalog

    def send(self, data: bytes, name: str = "a.pdf") -> Document:
        """What the upload route does."""
        document_id = new_document_id()
        stored = FileStore(self.settings.files_dir).receive(document_id, io.BytesIO(data), 10**8)
        return self.catalog.add_document(document_id, "default", name, stored.sha256, stored.bytes)[0]

    def worker(self, stopping: threading.Event | None = None, **changes: Any) -> Worker:
        return Worker(self.settings.model_copy(update=changes), self.catalog, stopping or threading.Event())

    def work(self, **changes: Any) -> Job:
        """Claim the next job, do it, and return it as it is then."""
        job = self.claim("worker")
        worker = self.worker(**changes)
        worker._owner = "worker"
        worker.work_on(job)
        return self.catalog.jobs.get(job.id)

    def claim(self, owner: str, lease_s: float = 60) -> Job:
        job = self.catalog.jobs.claim(owner, lease_s)
        assert job is not None
        return job

    def run_pipeline(self, encoder: HashingEncoder, owner: str = "worker") -> Job:
        """The pipeline alone, on the next job; the lease is free again afterwards, as after the end of a process."""
        job = self.claim(owner)
        pipeline = IngestPipeline(self.catalog, lambda: encoder, parse_limits(self.settings))
        try:
            with Lease(self.catalog.jobs, job, owner, 60, threading.Event()) as lease:
                pipeline.run(lease, FileStore(self.settings.files_dir).path(job.subject_id))
        finally:
            self.catalog.jobs.release_all()
        return job


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path / "none", encoder="hashing", max_attempts=3)
    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    yield Desk(settings, catalog)
    catalog.close()


# Publishing -----------------------------------------------------------------------------------------------------


def test_a_document_is_published_with_its_pages_and_vectors(desk: Desk) -> None:
    document = desk.send(story("the lighthouse", 7))
    job = desk.work()
    assert (job.status, job.done, job.total, job.attempts, job.error_code) == ("succeeded", 7, 7, 1, None)
    ready = desk.catalog.document(document.id)
    assert (ready.status, ready.page_count, ready.chunk_count, ready.encoder_id) == ("ready", 7, 7, "hashing-384")
    page = desk.catalog.page(document.id, 3)
    assert " ".join(page.text.split()) == story_page("the lighthouse", 3)
    ids, vectors = desk.catalog.vectors(document.id, 384)
    expected = HashingEncoder().encode([chunk_text(desk.catalog, document.id, number) for number in range(1, 8)])
    assert vectors == pytest.approx(expected, abs=1e-6)
    assert len(set(ids.tolist())) == 7
    assert desk.catalog.jobs.checkpoints(job.id, PAGE) == {} == desk.catalog.jobs.checkpoints(job.id, VECTORS)


def test_what_is_hidden_on_a_page_is_known_after_a_crash(desk: Desk) -> None:
    honest = poison.SUBJECTS[0].honest
    document = desk.send(poison.poisoned_pdf(honest, poison.KNOWN[0], poison.Manner.white))
    with pytest.raises(WorkerDied):
        desk.run_pipeline(CountingEncoder(dies_at=1))
    assert desk.catalog.document(document.id).hidden_text_pages is None
    desk.run_pipeline(CountingEncoder())
    assert desk.catalog.document(document.id).hidden_text_pages == [1]
    page = desk.catalog.page(document.id, 1)
    assert (page.hidden_chars, page.scanned, " ".join(page.text.split())) == (30, False, honest)


def chunk_text(catalog: Catalog, document_id: str, number: int) -> str:
    return catalog.page(document_id, number).text


def test_run_works_until_it_is_stopped(desk: Desk) -> None:
    documents = [desk.send(story(f"volume {n}", 2), f"{n}.pdf") for n in range(3)]
    stopping = threading.Event()
    thread = threading.Thread(target=desk.worker(stopping, job_poll_s=0.01).run)
    thread.start()
    try:
        until(lambda: open_jobs(desk.catalog) == 0)
        late = desk.send(story("the sequel", 2), "late.pdf")
        until(lambda: open_jobs(desk.catalog) == 0)
    finally:
        stopping.set()
        thread.join(10)
    assert not thread.is_alive()
    assert {desk.catalog.document(each.id).status for each in [*documents, late]} == {"ready"}


def test_two_workers_on_one_folder_take_turns(desk: Desk) -> None:
    """On SQLite the second waits for the first, so that it cannot free leases that are in use."""
    stops = [threading.Event(), threading.Event()]
    threads = [threading.Thread(target=desk.worker(stop, job_poll_s=0.01).run) for stop in stops]
    threads[0].start()
    until((desk.settings.data_dir / "worker.lock").exists)
    first = desk.send(story("the first", 2))
    until(lambda: desk.catalog.document(first.id).status == "ready")
    threads[1].start()
    stops[0].set()
    threads[0].join(10)
    second = desk.send(story("the second", 2))
    until(lambda: desk.catalog.document(second.id).status == "ready")
    stops[1].set()
    threads[1].join(10)
    assert not any(thread.is_alive() for thread in threads)


# Resuming -------------------------------------------------------------------------------------------------------


def test_a_stopped_worker_gives_the_job_back_and_the_next_goes_on_from_there(desk: Desk) -> None:
    document = desk.send(story("the long march", 400))
    stopping = threading.Event()
    job = desk.claim("first")
    worker = desk.worker(stopping)
    worker._owner = "first"
    thread = threading.Thread(target=worker.work_on, args=(job,))
    thread.start()
    until(lambda: len(desk.catalog.jobs.checkpoints(job.id, PAGE)) >= 20)
    stopping.set()
    thread.join(20)
    kept = desk.catalog.jobs.checkpoints(job.id, PAGE)
    assert 20 <= len(kept) < 400
    mark_pages(desk.catalog, job.id)

    done = desk.work()  # at once: nobody waits for a lease to run out
    assert (done.id, done.status, done.done, done.attempts) == (job.id, "succeeded", 400, 1)
    marked = [number for number in range(1, 401) if "MARKED" in desk.catalog.page(document.id, number).text]
    assert marked == list(range(1, len(kept) + 1)), "finished pages are not parsed again, the others are"


def mark_pages(catalog: Catalog, job_id: str) -> None:
    """Change the first word of each kept page, so that a page that is parsed again can be told from it."""
    with catalog.database.write() as connection:
        for number, payload in catalog.jobs.checkpoints(job_id, PAGE).items():
            changed = payload.replace(b'"The"', b'"MARKED"', 1)
            assert changed != payload, payload[:200]
            mine = (checkpoints.c.job_id == job_id) & (checkpoints.c.kind == PAGE) & (checkpoints.c.number == number)
            connection.execute(checkpoints.update().where(mine).values(payload=changed))


def test_after_an_exception_finished_pages_and_vectors_are_used_again(desk: Desk) -> None:
    document = desk.send(story("the relay", PAGES))
    broken = CountingEncoder(dies_at=3)
    with pytest.raises(WorkerDied):
        desk.run_pipeline(broken, "first")
    job_id = desk.catalog.document(document.id).job_id
    assert broken.encoded == [ENCODE_BATCH] * 2
    assert list(desk.catalog.jobs.checkpoints(job_id, PAGE)) == list(range(1, PAGES + 1))
    assert list(desk.catalog.jobs.checkpoints(job_id, VECTORS)) == [0, ENCODE_BATCH]
    with pytest.raises(NotFound):
        desk.catalog.page(document.id, 1)
    assert desk.catalog.last_seq() == 0, "nothing half indexed"

    heir = CountingEncoder()
    job = desk.run_pipeline(heir, "heir")
    assert (job.id, job.attempts) == (job_id, 2)
    assert heir.encoded == [ENCODE_BATCH, PAGES - 3 * ENCODE_BATCH]
    _, vectors = desk.catalog.vectors(document.id, 384)
    texts = [chunk_text(desk.catalog, document.id, number) for number in range(1, PAGES + 1)]
    assert vectors == pytest.approx(HashingEncoder().encode(texts), abs=1e-6)


def test_vectors_of_another_encoder_are_replaced(desk: Desk) -> None:
    document = desk.send(story("the change of guard", PAGES))
    with pytest.raises(WorkerDied):
        desk.run_pipeline(CountingEncoder(dies_at=3))
    heir = CountingEncoder()
    heir.id = "another"
    desk.run_pipeline(heir)
    assert sum(heir.encoded) == PAGES
    ready = desk.catalog.document(document.id)
    assert (ready.status, ready.encoder_id, ready.chunk_count) == ("ready", "another", PAGES)


# Giving up ------------------------------------------------------------------------------------------------------


def test_a_job_that_kills_its_worker_again_and_again_is_failed(desk: Desk) -> None:
    document = desk.send(story("the trap", 2))
    for attempt in range(1, 4):
        assert desk.claim(f"dead {attempt}", lease_s=-1).attempts == attempt
    job = desk.work()
    assert (job.status, job.error_code, job.attempts) == (JobStatus.failed, "worker_crashed", 4)
    assert "3 times" in (job.error_detail or "")
    assert desk.catalog.document(document.id).status == "failed"


def test_an_error_that_stays_fails_the_job_after_its_attempts(desk: Desk) -> None:
    """Without weights no document can be encoded; each try is a start without progress."""
    document = desk.send(story("the locked room", 3))
    job = desk.work(encoder="sentence")
    assert (job.status, job.attempts) == ("running", 1), "tried again when the lease runs out"
    for attempt in (2, 3):
        desk.catalog.jobs.release_all()
        job = desk.work(encoder="sentence")
        assert job.attempts == attempt
    assert (job.status, job.error_code) == ("failed", "model_problem")
    assert "capstone fetch" in (job.error_detail or "")
    assert desk.catalog.document(document.id).status == "failed"


def test_a_file_that_is_gone_is_told(desk: Desk) -> None:
    document = desk.send(story("the theft", 2))
    FileStore(desk.settings.files_dir).delete(document.id)
    job = desk.work()
    assert (job.status, job.error_code) == ("failed", "file_missing")


def test_a_bad_file_does_not_stop_the_next(desk: Desk) -> None:
    bad, good = desk.send(b"%PDF-1.4\nnothing"), desk.send(story("the good one", 2))
    assert (desk.work().error_code, desk.work().status) == ("damaged", "succeeded")
    assert [desk.catalog.document(each.id).status for each in (bad, good)] == ["failed", "ready"]


def test_a_lost_lease_writes_nothing(desk: Desk) -> None:
    document = desk.send(story("the stolen job", 4))
    job = desk.claim("first", lease_s=-1)
    thief = desk.claim("thief")
    assert thief.id == job.id
    worker = desk.worker()
    worker._owner = "first"
    worker.work_on(job)
    assert desk.catalog.document(document.id).status == "running"
    assert desk.catalog.jobs.checkpoints(job.id, PAGE) == {}


def test_a_job_cancelled_while_it_runs_ends_as_cancelled(desk: Desk) -> None:
    document = desk.send(story("the recall", 4))
    job = desk.claim("worker")
    desk.catalog.jobs.cancel(job.id)
    worker = desk.worker()
    worker._owner = "worker"
    worker.work_on(job)
    assert desk.catalog.jobs.get(job.id).status == JobStatus.cancelled
    assert desk.catalog.document(document.id).status == "cancelled"
    assert desk.catalog.last_seq() == 0


def test_checkpoints_are_plain_json(desk: Desk) -> None:
    """They are read back after an upgrade, so they hold no pickles."""
    desk.send(story("the archive", 2))
    with pytest.raises(WorkerDied):
        desk.run_pipeline(CountingEncoder(dies_at=1))
    job = desk.claim("reader")
    assert all(json.loads(payload) for payload in desk.catalog.jobs.checkpoints(job.id, PAGE).values())
