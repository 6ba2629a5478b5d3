"""What tests say to a running platform, over HTTP only."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2

WITHIN_S = 120.0
SSE = {"Accept": "text/event-stream"}
EXAMPLE = Path(__file__).parents[1] / "examples" / "fhs-3.0.pdf"

# Over a socket, or in this process: fastapi's TestClient is an httpx2.Client.
Client = httpx.Client | httpx2.Client
Response = httpx.Response | httpx2.Response


def client_of(url: str, key: str | None = None) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=WITHIN_S, trust_env=False, headers=bearer(key) if key else None)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def upload(http: Client, data: bytes, name: str = "a.pdf", collection: str = "default") -> Response:
    return http.post("/v1/documents", files={"file": (name, data)}, data={"collection": collection})


def ended(http: httpx.Client, job_id: str, within_s: float = WITHIN_S) -> dict[str, Any]:
    """The job once it has ended."""
    deadline = time.monotonic() + within_s
    while (job := http.get(f"/v1/jobs/{job_id}").raise_for_status().json())["status"] in ("queued", "running"):
        assert time.monotonic() < deadline, f"stuck: {job}"
        time.sleep(0.05)
    return dict(job)


def ingest(http: httpx.Client, data: bytes, name: str = "a.pdf", collection: str = "default") -> dict[str, Any]:
    """Upload a good PDF and wait until it can be asked; returns the document."""
    document = upload(http, data, name, collection).raise_for_status().json()
    job = ended(http, document["job"]["id"])
    assert job["status"] == "succeeded", job
    return dict(http.get(f"/v1/documents/{document['id']}").raise_for_status().json())


def search(http: httpx.Client, query: str, collection: str = "default", k: int = 10) -> list[dict[str, Any]]:
    body = {"query": query, "collection": collection, "k": k}
    return list(http.post("/v1/search", json=body).raise_for_status().json()["results"])


def events(response: Response) -> Iterator[tuple[str, Any]]:
    """Server-sent events of an open response as `(name, data)`; comments are passed over."""
    assert response.headers["content-type"].startswith("text/event-stream"), response.read()
    name, data = "message", ""
    for line in response.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data += value
        elif not line and data:
            yield name, json.loads(data)
            name, data = "message", ""


def problem_of(response: Response, status: int, code: str) -> dict[str, Any]:
    """The body of an error, checked to be the problem+json that is documented."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.status_code,
        response.text,
    )
    body = dict(response.json())
    assert (body["code"], body["status"]) == (code, status), body
    assert body["type"] == f"urn:capstone:error:{code}" and body["title"] and body["detail"], body
    assert body["request_id"] == response.headers["x-request-id"], body
    return body
