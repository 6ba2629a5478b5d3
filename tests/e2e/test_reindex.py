"""A platform that comes up with another encoder than the one that embedded its documents, and `capstone reindex`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from services.core.catalog import Catalog
from services.core.encoder import HashingEncoder
from services.core.settings import Settings
from services.core.types import JobKind, JobStatus
from tests import samples
from tests.calls import client_of, ingest, search
from tests.papers import story
from tests.queue import open_jobs
from tests.server import QUICK, Server, start, start_service
from tests.terminal import capstone
from tests.waiting import until

OLD = HashingEncoder(dim=64)
LINES = 1_200


@pytest.fixture
def upgraded(tmp_path: Path) -> Iterator[Server]:
    """What is in the catalog was embedded by OLD; the platform runs the encoder of the setting `hashing`."""
    catalog = Catalog(Settings(data_dir=tmp_path).catalog_url)
    catalog.migrate()
    samples.publish(catalog, "\n".join(f"line {number} of the ledger" for number in range(LINES)), "books", encoder=OLD)
    samples.publish(catalog, "[red]Alpha[/red] text\nBeta text", "books", encoder=OLD)
    samples.publish(catalog, "Gamma text", "letters", encoder=OLD)
    catalog.close()
    server = start(QUICK, tmp_path)
    try:
        yield server.wait_ready()
    finally:
        server.kill()


def test_reindex_brings_back_what_was_lost(upgraded: Server) -> None:
    url = upgraded.url
    assert "documents of another encoder are not found: 3" in upgraded.log.read_text()
    with client_of(url) as http:
        ingest(http, story("the new one", 2), "new.pdf", "letters")
        assert found(http, "books") == set() and found(http, "letters") == {"new.pdf"}

        done = capstone("reindex", "--collection", "letters", url=url)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"Gamma text.pdf .*1/1 passages", done.stdout), done.stdout
        assert "\n1 document, 1 passage, embedded by hashing-384" in done.stdout
        assert found(http, "letters") == {"new.pdf", "Gamma text.pdf"} and found(http, "books") == set()

        done = capstone("reindex", url=url)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"line 0 of the ledger.* 1200/1200 passages", done.stdout), done.stdout
        assert re.search(r"\[red\]Alpha\[/red\].*2/2 +passages", done.stdout), done.stdout
        assert "\n2 documents, 1,202 passages, embedded by hashing-384" in done.stdout
        assert search(http, "Alpha text", "books")[0]["text"] == "[red]Alpha[/red] text"
        rows = http.get("/v1/documents").json()["data"]
        assert len(rows) == 4 and {row["encoder"] for row in rows} == {"hashing-384"}
    again = capstone("reindex", url=url)
    assert (again.returncode, again.stdout.startswith("Nothing to do")) == (0, True), again.stdout


def test_a_job_that_does_not_succeed_is_told_and_is_no_success(tmp_path: Path) -> None:
    catalog = Catalog(Settings(data_dir=tmp_path).catalog_url)
    catalog.migrate()
    samples.publish(catalog, "Alpha text", encoder=OLD)
    server = start_service("services.ingest.app:create_app", QUICK, tmp_path)  # and no worker
    try:
        server.wait_ready()
        with client_of(server.url) as http, ThreadPoolExecutor(1) as pool:
            running = pool.submit(capstone, "reindex", url=server.url)
            until(lambda: open_jobs(catalog, JobKind.embed) == 1)
            job = catalog.jobs.claim("nobody", 60, JobKind.embed)
            assert job is not None
            catalog.jobs.end(job.id, "nobody", JobStatus.failed, error=("other_encoder", "It is [another] one."))
            done = running.result()
            assert http.get(f"/v1/jobs/{job.id}").json()["status"] == "failed"
        assert done.returncode == 1
        assert "Alpha text.pdf: It is [another] one. (other_encoder)" in done.stdout
        assert "0 documents, 0 passages, embedded by hashing-384" in done.stdout
    finally:
        server.kill()
        catalog.close()


def found(http: httpx.Client, collection: str) -> set[str]:
    return {result["document_name"] for result in search(http, "text of the ledger", collection)}
