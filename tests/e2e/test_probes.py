"""What every service answers besides its work: probes, metrics, docs, errors and request ids."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.calls import client_of, problem_of
from tests.server import QUICK, Server, start_service

PATHS = {
    "api": {
        "/v1/search",
        "/v1/answers",
        "/v1/answers/{answer_id}",
        "/v1/classify",
        "/v1/lineage/{lineage_id}",
        "/v1/lineage/{lineage_id}/replay",
        "/v1/models",
        "/v1/chat/completions",
        "/v1/embeddings",
    },
    "ingest": {
        "/v1/documents",
        "/v1/documents/{document_id}",
        "/v1/jobs/{job_id}",
        "/v1/collections",
        "/v1/reindex",
    },
    "eval": {
        "/v1/rouge",
        "/v1/evaluations",
        "/v1/evaluations/{evaluation_id}",
        "/v1/evaluations/{evaluation_id}/report",
        "/v1/drift",
        "/v1/drift/references",
        "/v1/drift/windows",
        "/v1/drift/windows/{window_id}",
        "/v1/drift/reports/{window_id}",
    },
}
PROBES = {"/livez", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def rooms(quick_system: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Each service by itself, and all in one."""
    folder = tmp_path_factory.mktemp("rooms")
    servers: dict[str, Server] = {}
    try:
        for name in PATHS:
            # h11 lets any word pass as a method, uvicorn's other parser does not: both must be safe.
            parser = "h11" if name == "eval" else "auto"
            servers[name] = start_service(f"services.{name}.app:create_app", QUICK, folder / name, "--http", parser)
        yield {name: server.wait_ready() for name, server in servers.items()} | {"all": quick_system}
    finally:
        for server in servers.values():
            server.kill()


@pytest.fixture(params=[*PATHS, "all"])
def room(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def http(room: str, rooms: dict[str, Server]) -> Iterator[httpx.Client]:
    with client_of(rooms[room].url) as client:
        yield client


def series(http: httpx.Client) -> set[str]:
    """Names and labels of everything that is measured of requests, without values."""
    lines = http.get("/metrics").text.splitlines()
    return {line.rsplit(" ", 1)[0] for line in lines if line.startswith("http_request")}


def test_probes_answer(http: httpx.Client) -> None:
    assert http.get("/livez").json() == {"status": "alive"}
    assert http.get("/readyz").json() == {"status": "ready"}


def test_metrics_count_requests_by_route(http: httpx.Client) -> None:
    def livez_count() -> float:
        line = 'http_requests_total{method="GET",route="/livez",status="200"} '
        found = [rest for each in http.get("/metrics").text.splitlines() if (rest := each.removeprefix(line)) != each]
        return float(found[0]) if found else 0.0

    before = livez_count()
    http.get("/livez")
    assert livez_count() == before + 1
    assert http.get("/metrics").headers["content-type"].startswith("text/plain")


def test_the_docs_name_every_path_and_no_other_host(http: httpx.Client, room: str) -> None:
    schema = http.get("/openapi.json").json()
    wanted = PATHS.get(room) or set().union(*PATHS.values())
    assert wanted | PROBES <= schema["paths"].keys()
    if room != "all":
        others = set().union(*(paths for name, paths in PATHS.items() if name != room))
        assert not others & schema["paths"].keys()
    page = http.get("/docs")
    assert page.status_code == 200
    links = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert len(links) >= 3
    for link in links:
        assert not urlsplit(link).netloc, link
        if not link.startswith("data:"):
            assert http.get(link).is_success, link
    assert not re.findall(r"https?://(?!www\.w3\.org/)[\w.-]+", page.text)


def test_hostile_requests_add_no_series_to_the_metrics(http: httpx.Client) -> None:
    def hostile(n: int) -> None:
        two_slashes = f"{http.base_url}/{n}"  # as a path alone it would be another host's name
        for path in (f"/secret{n}", f"/livez/{n}", f"/v1/nothing/{n}", f"/%00{n}", f"/..%2f..%2fetc/{n}", two_slashes):
            for method in ("GET", "POST", "DELETE", "PATCH"):
                assert http.request(method, path).status_code in (404, 405)
        for method in ("DELETE", "PATCH", "MKCOL", "SEARCH", "LOCK", "TRACE")[: n % 7 + 1]:
            assert http.request(method, "/livez").status_code == 405
        # A method that nobody has heard of; the HTTP parser may refuse it before the application sees it.
        assert http.request(f"FOO{n}", "/livez").status_code in (400, 405)
        assert http.get("/livez", headers={"X-Request-ID": f"{n} {n}"}).is_success

    hostile(0)
    series(http)  # a scrape is counted when it has ended: the next one shows it
    before = series(http)
    for n in range(1, 7):
        hostile(n)
    after = series(http)
    assert not {line for line in after if "FOO" in line or "secret" in line}
    assert after == before


def test_errors_of_the_framework_are_problems_too(http: httpx.Client) -> None:
    problem_of(http.get("/nothing"), 404, "not_found")
    wrong = http.post("/livez")
    problem_of(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET"


def test_a_json_body_that_is_too_large_is_refused(rooms: dict[str, Server]) -> None:
    asked = [("api", "/v1/answers", 2), ("api", "/v1/classify", 2), ("eval", "/v1/rouge", 17)]
    for name, path, mebibytes in asked + [("all", path, mebibytes) for _, path, mebibytes in asked]:
        body = b'{"question": "' + b"x" * (mebibytes * 1024 * 1024) + b'"}'
        with client_of(rooms[name].url) as http:
            problem_of(http.post(path, content=body, headers={"Content-Type": "application/json"}), 413, "too_large")
            pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
            problem_of(http.post(path, content=pieces, headers={"Content-Type": "application/json"}), 413, "too_large")
            assert http.get("/livez").is_success


def test_a_wrong_type_of_body_is_refused(rooms: dict[str, Server]) -> None:
    with client_of(rooms["all"].url) as http:
        problem_of(http.post("/v1/search", content=b"query=x"), 422, "invalid_request")
        problem_of(http.post("/v1/documents", json={"file": "x"}), 422, "invalid_request")


@pytest.mark.parametrize("sane", ["a", "0af-9_B.c", "x" * 64])
def test_a_sane_request_id_is_kept(quick: httpx.Client, sane: str) -> None:
    assert quick.get("/livez", headers={"X-Request-ID": sane}).headers["x-request-id"] == sane
    assert problem_of(quick.get("/no", headers={"X-Request-ID": sane}), 404, "not_found")["request_id"] == sane


@pytest.mark.parametrize("odd", [b"", b"a b", b"x" * 65, b"<script>", b"a\tb", b"a;b", "é".encode("latin-1"), b"\xb2"])
def test_an_odd_request_id_is_replaced(quick: httpx.Client, odd: bytes) -> None:
    given = [quick.get("/livez", headers=[(b"X-Request-ID", odd)]).headers["x-request-id"] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in given)
    assert given[0] != given[1]


def test_a_request_cut_short_leaves_the_service_alive(rooms: dict[str, Server]) -> None:
    for server in rooms.values():
        where = urlsplit(server.url)
        with socket.create_connection((where.hostname, where.port or 0), timeout=5) as raw:
            raw.sendall(b"POST /v1/rouge HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert server.is_ready()


def test_rouge_scores_pairs(rooms: dict[str, Server]) -> None:
    body: dict[str, Any] = {
        "pairs": [{"prediction": "the cat sat", "reference": "the cat sat"}],
        "variants": ["rougeL"],
    }
    with client_of(rooms["eval"].url) as http:
        assert http.post("/v1/rouge", json=body).json()["mean"]["rougeL"] == {"precision": 1, "recall": 1, "f1": 1}
        assert http.post("/v1/rouge", json=body).json()["intervals"]["rougeL"]["f1"] == {"low": 1, "high": 1}
        body["pairs"][0]["references"] = ["a"]
        problem_of(http.post("/v1/rouge", json=body), 422, "invalid_request")


def test_a_service_stops_cleanly_when_asked(tmp_path: Any) -> None:
    server = start_service("services.eval.app:create_app", QUICK, tmp_path)
    try:
        server.wait_ready()
        assert server.stop() in (0, -15)
    finally:
        server.kill()
