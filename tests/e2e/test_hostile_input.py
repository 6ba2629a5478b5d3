"""Input that no honest client sends gets an answer that is documented, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.calls import client_of, ended, ingest, problem_of, upload
from tests.papers import story
from tests.pdfs import text_pdf
from tests.server import QUICK, new_database, start

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
JSON = {"Content-Type": "application/json"}
HALF = r"\ud800"  # half of a surrogate pair, as JSON spells it


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def http(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """`capstone up` on each of the two."""
    if request.param == "sqlite":
        yield request.getfixturevalue("quick")
        return
    url = new_database(request.getfixturevalue("postgres_url"))
    server = start(QUICK | {"CAPSTONE_DATABASE_URL": url}, tmp_path_factory.mktemp("postgresql"))
    try:
        with client_of(server.wait_ready().url) as client:
            yield client
    finally:
        server.kill()


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> dict[str, Any]:
    return ingest(http, story("the fortress", 3), "fortress.pdf", "hostile")


def assert_refused(response: httpx.Response) -> None:
    problem_of(response, response.status_code, {404: "not_found", 422: "invalid_request"}[response.status_code])


@pytest.mark.parametrize("odd", ["%00", "%ff%fe", "%F0%9F%98%80", "..%2f..", "a" * 5_000, "'%20OR%201=1--", "%5c"])
def test_an_odd_id_is_not_found(http: httpx.Client, odd: str) -> None:
    for path in (f"/v1/documents/{odd}", f"/v1/documents/{odd}/pages/1", f"/v1/documents/{odd}/pages/1.png"):
        assert_refused(http.get(path))
    for path in (f"/v1/jobs/{odd}", f"/v1/answers/{odd}", f"/v1/lineage/{odd}"):
        assert_refused(http.get(path))
    for path in (f"/v1/models/{odd}", f"/v1/evaluations/{odd}"):
        assert_refused(http.get(path))
    assert_refused(http.delete(f"/v1/documents/{odd}"))
    assert_refused(http.post(f"/v1/jobs/{odd}/cancel"))
    assert_refused(http.post(f"/v1/lineage/{odd}/replay"))
    assert_refused(http.get(f"/v1/documents?collection={odd}"))
    assert_refused(http.get(f"/v1/documents?after={odd}"))
    assert_refused(http.get(f"/v1/evaluations?after={odd}"))


@pytest.mark.parametrize("number", ["0", "-1", "4", str(2**31), str(10**30), "1e3", "x", "%00"])
def test_a_page_that_cannot_be_is_refused(http: httpx.Client, document: dict[str, Any], number: str) -> None:
    for end in ("", ".png"):
        assert_refused(http.get(f"/v1/documents/{document['id']}/pages/{number}{end}"))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/search", '{"query": "%s"}'),
        ("/v1/search", '{"query": "x", "%s": 1}'),
        ("/v1/search", '{"query": "x", "collection": "%s"}'),
        ("/v1/search", '{"query": "x", "filter": {"documents": ["%s"]}}'),
        ("/v1/search", '{"query": "x", "filter": {"sections": ["%s"]}}'),
        ("/v1/answers", '{"question": "%s"}'),
        ("/v1/answers", '{"question": "x", "stop": ["%s"]}'),
        ("/v1/embeddings", '{"model": "hashing-384", "input": "%s"}'),
        ("/v1/embeddings", '{"model": "hashing-384", "input": ["x", "%s"]}'),
        ("/v1/embeddings", '{"model": "%s", "input": "x"}'),
        ("/v1/classify", '{"model": "sufficiency", "inputs": ["x", "%s"]}'),
        ("/v1/classify", '{"model": "sufficiency", "inputs": [{"text": "x", "text_pair": "%s"}]}'),
        ("/v1/classify", '{"model": "sufficiency", "inputs": [{"text": "x", "%s": "y"}]}'),
        ("/v1/classify", '{"model": "%s", "inputs": ["x"]}'),
        ("/v1/rouge", '{"pairs": [{"prediction": "%s", "reference": "x"}]}'),
        ("/v1/rouge", '{"pairs": [{"prediction": "x", "references": ["%s"]}]}'),
        ("/v1/chat/completions", '{"model": "scripted", "messages": [{"role": "user", "content": "%s"}]}'),
        ("/v1/chat/completions", '{"model": "%s", "messages": [{"role": "user", "content": "x"}]}'),
    ],
)
def test_half_a_character_is_refused(http: httpx.Client, path: str, body: str) -> None:
    assert_refused(http.post(path, content=body % HALF, headers=JSON))
    whole = body % (HALF + r"\udc00")
    assert http.post(path, content=whole, headers=JSON).status_code in (200, 404, 422)


def test_a_question_with_a_nul_is_answered_and_read_back(http: httpx.Client, document: dict[str, Any]) -> None:
    question = "the lantern\0 of the fortress"
    answer = http.post("/v1/answers", json={"question": question, "collection": "hostile"}).raise_for_status().json()
    assert answer["citations"][0]["document_id"] == document["id"]
    assert http.get(f"/v1/answers/{answer['id']}").json()["question"] == question


def test_odd_texts_are_classified(http: httpx.Client) -> None:
    texts = ["\0", "\x1b[31m", "\u202e\u200b", "\ufffe", "🦔" * 5_000, "[CLS] [SEP] [MASK]", "a" * 10_000, "½ İ ﬁ ß"]
    body = {"model": "sufficiency", "inputs": [*texts, *({"text": text, "text_pair": text} for text in texts)]}
    results = http.post("/v1/classify", json=body).raise_for_status().json()["results"]
    assert len(results) == 2 * len(texts)
    assert all(0 < result["score"] < 1 for result in results)


def test_odd_multipart_forms_are_refused_or_understood(http: httpx.Client) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n'
    end = b"\r\n--b--\r\n"
    named = http.post("/v1/documents", content=head % b"\xff\xfe\x00\x1b[31m.pdf" + story("x", 1) + end, headers=FORM)
    assert named.status_code == 202
    assert named.json()["name"].isprintable()
    for content, headers in (
        (head % b"a.pdf" + story("the torn form", 1), FORM),
        (b"", FORM),
        (b"--b", FORM),
        (end, FORM),
        (b"--b\r\n\r\nx" + end, FORM),
        (b"x", {"Content-Type": "multipart/form-data"}),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nnot a file' + end, FORM),
    ):
        response = http.post("/v1/documents", content=content, headers=headers)
        assert response.status_code in (400, 422), (content[:100], response.text)
        assert response.headers["content-type"] == "application/problem+json"


def test_control_characters_in_a_pdf_do_not_stop_it(http: httpx.Client) -> None:
    data = text_pdf([["The bell \x00 rings \x01 at \x1b[31m noon."]], title="A\x00 title\x07")
    document = upload(http, data, collection="bells").json()
    assert ended(http, document["job"]["id"])["status"] == "succeeded"
    page = http.get(f"/v1/documents/{document['id']}/pages/1").json()
    assert "\x00" not in page["text"]
    assert "noon" in page["text"]


def test_the_service_is_well_after_all_this(http: httpx.Client) -> None:
    assert http.get("/readyz").json() == {"status": "ready"}
    failed = [line for line in http.get("/metrics").text.splitlines() if 'status="500"' in line]
    assert failed == []
