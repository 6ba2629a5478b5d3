"""What must be refused, at the door or by the job, and leaves a healthy service with nothing half indexed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.calls import ended, ingest, problem_of, search, upload
from tests.papers import BAD, UPLOAD_BYTES, story
from tests.pdfs import encrypted_pdf


def stored(http: httpx.Client) -> int:
    return len(http.get("/v1/documents", params={"collection": "door", "limit": 200}).json()["data"])


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 422, "empty_file"),
        (b"Dear reader, this is a letter.", 415, "not_a_pdf"),
        (b"\x89PNG\r\n\x1a\n" + bytes(2000), 415, "not_a_pdf"),
        (b"%PDF-1.7\n" + bytes(UPLOAD_BYTES), 413, "too_large"),
        (b"%PDF-1.7\n" + bytes(3 * UPLOAD_BYTES), 413, "too_large"),
    ],
    ids=["empty", "letter", "picture", "just too large", "much too large"],
)
def test_a_bad_file_is_refused_at_the_door(quick: httpx.Client, data: bytes, status: int, code: str) -> None:
    problem_of(upload(quick, data, "bad.pdf", "door"), status, code)
    assert stored(quick) == 0


def test_a_large_file_is_refused_though_its_length_is_not_announced(quick: httpx.Client) -> None:
    block = bytes(64 * 1024)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n%PDF-1.7\n'

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(3 * UPLOAD_BYTES // len(block)):
            yield block
        yield b"\r\n--b--\r\n"

    response = quick.post("/v1/documents", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    problem_of(response, 413, "too_large")


def test_a_request_without_a_file_is_refused(quick: httpx.Client) -> None:
    problem = problem_of(quick.post("/v1/documents", data={"collection": "door"}), 422, "invalid_request")
    assert [error["field"] for error in problem["errors"]] == ["file"]


@pytest.mark.parametrize("name", ["-door", "a b", "../door", "x" * 65, "тест"])
def test_a_bad_collection_name_is_refused(quick: httpx.Client, name: str) -> None:
    problem_of(upload(quick, story("the inn", 1), collection=name), 422, "invalid_request")
    problem_of(quick.post("/v1/search", json={"query": "x", "collection": name}), 422, "invalid_request")


@pytest.mark.parametrize("code", BAD)
def test_a_bad_pdf_fails_with_its_code_and_the_service_goes_on(quick: httpx.Client, code: str) -> None:
    response = upload(quick, BAD[code](), f"{code}.pdf", "bad")
    document = response.json()
    assert response.status_code == 202
    job = ended(quick, document["job"]["id"])
    assert (job["status"], job["error"]["code"]) == ("failed", code)
    assert job["error"]["detail"].endswith(".") and " " in job["error"]["detail"]
    assert quick.get(f"/v1/documents/{document['id']}").json()["status"] == "failed"

    problem_of(quick.get(f"/v1/documents/{document['id']}/pages/1"), 404, "not_found")
    assert search(quick, "Secret words, the torn ledger, abcdefg", "bad", k=100) == []
    assert quick.get("/readyz").json() == {"status": "ready"}
    good = ingest(quick, story(f"what follows {code}", 2), "good.pdf", "after-bad")
    assert good["pages"] == 2


def test_a_failed_document_can_be_deleted_and_sent_again(quick: httpx.Client) -> None:
    data = encrypted_pdf("other")
    first = upload(quick, data, collection="again").json()
    assert ended(quick, first["job"]["id"])["status"] == "failed"
    same = upload(quick, data, collection="again")
    assert (same.status_code, same.json()["id"], same.json()["status"]) == (200, first["id"], "failed")
    assert quick.delete(f"/v1/documents/{first['id']}").status_code == 204
    second = upload(quick, data, collection="again")
    assert second.status_code == 202
    assert second.json()["id"] != first["id"]
    assert ended(quick, second.json()["job"]["id"])["error"]["code"] == "encrypted"


def test_many_uploads_at_once_of_the_same_bytes_are_one_document(quick: httpx.Client) -> None:
    data = story("the crowd", 4)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: upload(quick, data, collection="crowd"), range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert ended(quick, answers[0].json()["job"]["id"])["status"] == "succeeded"
    assert len(search(quick, "the crowd", "crowd", k=100)) == 4
