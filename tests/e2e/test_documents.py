"""The life of a document over HTTP: upload, job, list, pages, pictures, delete, cancel."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests import poison
from tests.calls import EXAMPLE, SSE, ended, events, ingest, problem_of, search, upload
from tests.papers import story, story_page
from tests.server import Server, worker_of
from tests.waiting import pause

LONG = 490  # pages: enough to be seen at work


@pytest.fixture(scope="module")
def document(quick: httpx.Client) -> dict[str, Any]:
    return ingest(quick, story("the lighthouse", 12), "lighthouse.pdf", "reading")


@contextmanager
def running(system: Server, http: httpx.Client, topic: str) -> Iterator[dict[str, Any]]:
    """A long document whose ingest has begun, and goes on afterwards: its worker is held, so it cannot end before."""
    worker, catalog = worker_of(system), system.log.parent / "catalog.db"
    for again in range(5):
        name = f"{topic} {again}"
        document: dict[str, Any] = upload(http, story(name, LONG), f"{name}.pdf").raise_for_status().json()
        with http.stream("GET", document["job"]["url"], headers=SSE) as response:
            job = next(job for _, job in events(response) if job["status"] != "queued" and job["progress"]["total"])
        while job["status"] == "running":
            pause(worker)
            try:
                job = http.get(document["job"]["url"]).json()
                if job["status"] == "running" and not locked(catalog):
                    yield document
                    return
            finally:
                os.kill(worker, signal.SIGCONT)
    raise AssertionError("each job ended before its worker could be held")


def locked(catalog: Path) -> bool:
    """Is somebody in the middle of a transaction that writes?"""
    with closing(sqlite3.connect(catalog, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


# Upload and job -------------------------------------------------------------------------------------------------


def test_an_upload_is_acknowledged_and_its_job_succeeds(quick: httpx.Client) -> None:
    data = story("the ferry", 7)
    response = upload(quick, data, "ferry.pdf", "upload")
    document = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/documents/{document['id']}"
    assert {"id", "name", "sha256", "status", "job"} <= document.keys()
    assert document["job"].keys() == {"id", "status", "url"}
    assert document["job"]["url"] == f"/v1/jobs/{document['job']['id']}"
    assert (document["name"], document["collection"], document["bytes"]) == ("ferry.pdf", "upload", len(data))
    assert document["sha256"] == hashlib.sha256(data).hexdigest()
    assert document["status"] in ("queued", "running", "ready")

    job = ended(quick, document["job"]["id"])
    assert {"id", "kind", "status", "progress", "error"} <= job.keys()
    assert (job["kind"], job["status"], job["error"]) == ("ingest", "succeeded", None)
    assert job["progress"] == {"done": 7, "total": 7, "unit": "pages"}

    ready = quick.get(response.headers["location"]).json()
    assert (ready["status"], ready["pages"], ready["job"]["status"]) == ("ready", 7, "succeeded")
    assert ready["chunks"] >= 7
    assert any(result["document_id"] == ready["id"] for result in search(quick, story_page("the ferry", 3), "upload"))


def test_hidden_text_is_told_and_never_found(quick: httpx.Client) -> None:
    subject, order = poison.SUBJECTS[0], poison.ODD[0]
    data = poison.poisoned_pdf(subject.honest, order, poison.Manner.white)
    document = ingest(quick, data, "poison.pdf", "poison")
    assert (document["hidden_text_pages"], document["scanned_pages"]) == ([1], [])
    page = quick.get(f"/v1/documents/{document['id']}/pages/1").json()
    assert (page["hidden_chars"], page["scanned"]) == (len(order.replace(" ", "")), False)
    found = search(quick, order, "poison")
    assert found and not any(poison.MARKER in result["text"] for result in found)


def test_a_job_streams_its_progress_until_it_has_ended(quick: httpx.Client) -> None:
    document = upload(quick, story("the canal", 150), "canal.pdf").json()
    with quick.stream("GET", document["job"]["url"], headers=SSE) as response:
        assert response.status_code == 200
        told = list(events(response))
    names = [name for name, _ in told]
    assert names == ["progress"] * (len(told) - 1) + ["final"]
    assert len(told) > 1
    done = [job["progress"]["done"] for _, job in told]
    assert done == sorted(done)
    final = told[-1][1]
    assert final == quick.get(document["job"]["url"]).json()
    assert (final["status"], final["progress"]) == ("succeeded", {"done": 150, "total": 150, "unit": "pages"})
    with quick.stream("GET", document["job"]["url"], headers=SSE) as response:
        assert list(events(response)) == [("final", final)]


def test_the_same_bytes_again_are_the_same_document(quick: httpx.Client, document: dict[str, Any]) -> None:
    again = upload(quick, story("the lighthouse", 12), "another name.pdf", "reading")
    assert again.status_code == 200
    assert again.headers["location"] == f"/v1/documents/{document['id']}"
    assert again.json() == document


def test_the_same_bytes_in_another_collection_are_another_document(
    quick: httpx.Client, document: dict[str, Any]
) -> None:
    other = upload(quick, story("the lighthouse", 12), "lighthouse.pdf", "elsewhere")
    assert other.status_code == 202
    assert other.json()["id"] != document["id"]
    assert ended(quick, other.json()["job"]["id"])["status"] == "succeeded"
    assert {result["document_id"] for result in search(quick, "lighthouse", "elsewhere")} == {other.json()["id"]}


def test_the_name_of_an_upload_keeps_no_folders(quick: httpx.Client) -> None:
    response = upload(quick, story("the quarry", 1), "../../etc/quarry.pdf", "names")
    assert response.json()["name"] == "quarry.pdf"


def test_documents_are_listed_page_by_page_newest_first(quick: httpx.Client) -> None:
    ids = [upload(quick, story(f"volume {n}", 1), f"{n}.pdf", "shelf").json()["id"] for n in range(5)]
    listed, after, calls = [], None, 0
    while True:
        params = {"collection": "shelf", "limit": 2} | ({"after": after} if after else {})
        page = quick.get("/v1/documents", params=params).json()
        listed += [each["id"] for each in page["data"]]
        calls, after = calls + 1, page["next"]
        if not page["has_more"]:
            break
    assert listed == ids[::-1]
    assert (calls, after) == (3, None)
    assert set(ids) <= {each["id"] for each in quick.get("/v1/documents", params={"limit": 200}).json()["data"]}


def test_collections_are_counted(quick: httpx.Client, document: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in quick.get("/v1/collections").json()["data"]}
    expected = {"name": "reading", "documents": 1, "pages": 12, "chunks": document["chunks"]}
    assert rows["reading"] == expected


# Pages ----------------------------------------------------------------------------------------------------------


def test_each_word_of_a_page_is_where_it_says(quick: httpx.Client) -> None:
    manual = ingest(quick, EXAMPLE.read_bytes(), EXAMPLE.name, "manual")
    for number in (1, 12, 26):
        page = quick.get(f"/v1/documents/{manual['id']}/pages/{number}").json()
        assert (page["document_id"], page["number"]) == (manual["id"], number)
        assert page["words"]
        end = 0
        for word in page["words"]:
            assert word["char_start"] >= end
            end = word["char_end"]
            assert page["text"][word["char_start"] : end] == word["text"] != ""
            box = word["box"]
            assert 0 <= box["left"] < box["right"] <= page["width"] + 1
            assert 0 <= box["top"] < box["bottom"] <= page["height"] + 1
        assert "".join(word["text"] for word in page["words"]) == "".join(page["text"].split())


def test_a_page_is_drawn_and_its_highlights_too(quick: httpx.Client, document: dict[str, Any]) -> None:
    url = f"/v1/documents/{document['id']}/pages/3"
    page = quick.get(url).json()
    box = page["words"][0]["box"]
    highlight = f"{box['left']},{box['top']},{box['right']},{box['bottom']}"
    plain, marked = (
        quick.get(f"{url}.png", params={"dpi": 72} | more).raise_for_status() for more in ({}, {"highlight": highlight})
    )
    assert plain.headers["content-type"] == "image/png"
    assert plain.content.startswith(b"\x89PNG\r\n\x1a\n")
    before, after = (Image.open(io.BytesIO(each.content)).convert("RGB") for each in (plain, marked))
    assert before.size == after.size == (595, 841)
    inside = (round(box["left"]), round(box["top"]), round(box["right"]), round(box["bottom"]))
    assert before.crop(inside).tobytes() != after.crop(inside).tobytes()
    away = (0, inside[3] + 20, *before.size)
    assert before.crop(away).tobytes() == after.crop(away).tobytes()
    assert set(before.crop(inside).tobytes()) != {255}, "nothing is drawn where the word should be"


@pytest.mark.parametrize("highlight", ["", "1,2,3", "1,2,3,x", "1,2,3,4,5", "nan,1,2,3", "1,2,inf,3", "9,2,3,4"])
def test_a_highlight_that_is_no_box_is_refused(quick: httpx.Client, document: dict[str, Any], highlight: str) -> None:
    response = quick.get(f"/v1/documents/{document['id']}/pages/1.png", params={"highlight": highlight})
    problem_of(response, 422, "invalid_request")


@pytest.mark.parametrize("dpi", [0, 35, 301, "x"])
def test_a_resolution_out_of_range_is_refused(quick: httpx.Client, document: dict[str, Any], dpi: object) -> None:
    response = quick.get(f"/v1/documents/{document['id']}/pages/1.png", params={"dpi": str(dpi)})
    problem_of(response, 422, "invalid_request")


def test_what_is_not_there_is_not_found(quick: httpx.Client, document: dict[str, Any]) -> None:
    unknown = "/v1/documents/doc_unknown"
    for path in (
        unknown,
        f"{unknown}/pages/1",
        f"{unknown}/pages/1.png",
        "/v1/jobs/job_unknown",
        f"/v1/documents/{document['id']}/pages/13",
        f"/v1/documents/{document['id']}/pages/13.png",
    ):
        problem_of(quick.get(path), 404, "not_found")
    problem_of(quick.delete(unknown), 404, "not_found")
    problem_of(quick.post("/v1/jobs/job_unknown/cancel"), 404, "not_found")


# Delete and cancel ----------------------------------------------------------------------------------------------


def assert_gone(http: httpx.Client, document_id: str, topic: str) -> None:
    assert document_id not in {result["document_id"] for result in search(http, story_page(topic, 5), k=100)}
    for path in ("", "/pages/1", "/pages/1.png"):
        problem_of(http.get(f"/v1/documents/{document_id}{path}"), 404, "not_found")
    listed = http.get("/v1/documents", params={"limit": 200}).json()["data"]
    assert document_id not in {each["id"] for each in listed}


def test_a_deleted_document_is_gone_at_once(quick: httpx.Client) -> None:
    document = ingest(quick, story("the brewery", 8), "brewery.pdf")
    assert document["id"] == search(quick, story_page("the brewery", 5), k=1)[0]["document_id"]
    assert quick.delete(f"/v1/documents/{document['id']}").status_code == 204
    assert_gone(quick, document["id"], "the brewery")
    problem_of(quick.delete(f"/v1/documents/{document['id']}"), 404, "not_found")
    assert upload(quick, story("the brewery", 8), "brewery.pdf").status_code == 202


def test_a_document_deleted_while_it_is_ingested_never_appears(quick_system: Server, quick: httpx.Client) -> None:
    with running(quick_system, quick, "the avalanche") as document:
        assert quick.delete(f"/v1/documents/{document['id']}").status_code == 204
        assert_gone(quick, document["id"], "the avalanche")
    assert ended(quick, document["job"]["id"])["status"] == "cancelled"
    assert_gone(quick, document["id"], "the avalanche")


def test_a_running_job_is_cancelled_and_leaves_nothing_to_find(quick_system: Server, quick: httpx.Client) -> None:
    with running(quick_system, quick, "the glacier") as document:
        asked = quick.post(f"{document['job']['url']}/cancel")
        assert (asked.status_code, asked.json()["id"]) == (202, document["job"]["id"])
    job = ended(quick, document["job"]["id"])
    assert (job["status"], job["error"]) == ("cancelled", None)
    assert quick.get(f"/v1/documents/{document['id']}").json()["status"] == "cancelled"
    assert document["id"] not in {each["document_id"] for each in search(quick, story_page("the glacier", 5), k=100)}
    problem_of(quick.get(f"/v1/documents/{document['id']}/pages/1"), 404, "not_found")
    problem_of(quick.post(f"{document['job']['url']}/cancel"), 409, "conflict")


def test_a_queued_job_is_cancelled_at_once(quick_system: Server, quick: httpx.Client) -> None:
    with running(quick_system, quick, "the desert") as first:
        queued = upload(quick, story("the oasis", 3), "oasis.pdf").json()
        assert quick.post(f"{queued['job']['url']}/cancel").json()["status"] == "cancelled"
    assert ended(quick, first["job"]["id"])["status"] == "succeeded"
    problem_of(quick.post(f"{queued['job']['url']}/cancel"), 409, "conflict")


def test_a_job_that_has_succeeded_cannot_be_cancelled(quick: httpx.Client, document: dict[str, Any]) -> None:
    problem_of(quick.post(f"{document['job']['url']}/cancel"), 409, "conflict")
