"""The guard of /v1 where it asks for no key, and when it does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.core.catalog import Catalog
from services.core.guard import Reader
from services.core.keys import KeyStore
from services.core.problems import install_handlers
from services.core.settings import Settings, is_loopback
from services.ingest.app import create_app
from tests.calls import bearer, problem_of
from tests.scraped import value

ASKED = "http://127.0.0.1:8000"
CHANGE = "/v1/jobs/job_1/cancel"  # what passes the guard is told that there is no such job


@contextmanager
def served(folder: Path, url: str = ASKED, client: str = "127.0.0.1", **changes: Any) -> Iterator[TestClient]:
    """The service as it is asked for `url`, whose host is the address that it was reached at, by `client`."""
    given: dict[str, Any] = {"allowed_hosts": ""} | changes
    app = create_app(Settings(data_dir=folder, **given))
    with TestClient(app, base_url=url, client=(client, 50000)) as http:
        yield http


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(tmp_path_factory.mktemp("open")) as http:
        yield http


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:80", "a.localhost"]
)
def test_this_machine_is_asked_by_its_names(http: TestClient, host: str) -> None:
    assert http.get("/v1/collections", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:8000",
        "10.0.0.1",
        "0.0.0.0",
        "[",
        "",
    ],
)
def test_a_page_cannot_ask_by_a_name_that_it_has_pointed_here(http: TestClient, host: str) -> None:
    """DNS rebinding: to the browser the service is the page's own site, so only the name tells."""
    for send in (http.get("/v1/collections", headers={"Host": host}), http.post(CHANGE, headers={"Host": host})):
        problem_of(send, 403, "unknown_host")
    assert http.get("/livez", headers={"Host": host}).status_code == 200, "probes are open"


def test_further_names_can_be_allowed(tmp_path: Path) -> None:
    with served(tmp_path / "one", allowed_hosts=" Papers.example, other") as http:
        for host, status in (("papers.example:80", 200), ("other", 200), ("third", 403)):
            assert http.get("/v1/collections", headers={"Host": host}).status_code == status
    with served(tmp_path / "any", allowed_hosts="*") as http:
        assert http.get("/v1/collections", headers={"Host": "third"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this machine
        {"Sec-Fetch-Site": "cross-site", "Origin": ASKED},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://127.0.0.1:8000.evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://["},
    ],
)
def test_a_page_of_another_site_may_change_nothing(http: TestClient, headers: dict[str, str]) -> None:
    problem_of(http.post(CHANGE, headers=headers), 403, "other_site")
    problem_of(http.delete("/v1/documents/doc_1", headers=headers), 403, "other_site")
    assert http.get("/v1/collections", headers=headers).status_code == 200, "it could not read the answer"


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": ASKED}, {"Sec-Fetch-Site": "same-origin", "Origin": ASKED}, {"Sec-Fetch-Site": "none"}]
)
def test_programs_and_the_service_s_own_pages_may(http: TestClient, headers: dict[str, str]) -> None:
    problem_of(http.post(CHANGE, headers=headers), 404, "not_found")


def test_refusals_are_counted_by_reason(http: TestClient) -> None:
    def counts() -> list[float]:
        text = http.get("/metrics").text
        return [value(text, "requests_refused_total", reason=reason) or 0 for reason in ("host", "other_site")]

    before = counts()
    http.get("/v1/collections", headers={"Host": "evil.example"})
    http.post(CHANGE, headers={"Origin": "null"})
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [1, 1]


@pytest.mark.parametrize(
    ("changes", "url", "client", "needed"),
    [
        ({}, ASKED, "127.0.0.1", False),
        ({}, "http://[::1]:8000", "::1", False),
        ({}, "http://testserver", "testclient", False),  # in this process
        ({"host": "0.0.0.0"}, ASKED, "127.0.0.1", True),
        ({"host": "192.168.1.2"}, ASKED, "127.0.0.1", True),
        ({"host": "localhost"}, ASKED, "127.0.0.1", False),
        # Whatever the settings say: somebody started it on another address, or it is behind a proxy.
        ({}, "http://172.18.0.3:8000", "127.0.0.1", True),
        ({}, ASKED, "172.18.0.9", True),
        ({"api_keys": "required"}, ASKED, "127.0.0.1", True),
        ({"api_keys": "off", "host": "0.0.0.0", "allowed_hosts": "*"}, "http://172.18.0.3:8000", "172.18.0.9", False),
    ],
)
def test_a_key_is_needed_unless_all_of_it_is_on_loopback(
    tmp_path: Path, changes: dict[str, Any], url: str, client: str, needed: bool
) -> None:
    with served(tmp_path, url, client, **{"allowed_hosts": "testserver"} | changes) as http:
        response = http.get("/v1/collections")
        if needed:
            problem_of(response, 401, "unauthorized")
        else:
            assert response.status_code == 200
            assert http.get("/v1/collections", headers=bearer("none")).status_code == 200, "as OpenAI's client sends"


def key_in(folder: Path) -> tuple[str, str]:
    catalog = Catalog(Settings(data_dir=folder).catalog_url)
    catalog.migrate()
    key, text = KeyStore(catalog.database).create("write", name="a name")
    catalog.close()
    return key.id, text


def test_with_a_key_no_name_and_no_site_is_asked_for(tmp_path: Path) -> None:
    """A page has no key, and no browser adds one by itself."""
    _, text = key_in(tmp_path)
    with served(tmp_path, api_keys="required") as http:
        headers = bearer(text) | {"Host": "papers.example", "Origin": "https://elsewhere.example"}
        problem_of(http.post(CHANGE, headers=headers), 404, "not_found")


def test_a_public_demonstration_can_be_read_by_everybody_and_changed_with_a_key(tmp_path: Path) -> None:
    with served(tmp_path, "http://demo.example", "192.0.2.1", anonymous_scope="read") as http:
        assert http.get("/v1/collections").status_code == 200
        problem_of(http.post(CHANGE), 403, "forbidden")
        problem_of(http.get("/v1/collections", headers=bearer("cap_nonsense")), 401, "unauthorized")
        catalog = Catalog(Settings(data_dir=tmp_path).catalog_url)
        _, text = KeyStore(catalog.database).create("write", name="of the owner")
        catalog.close()
        problem_of(http.post(CHANGE, headers=bearer(text)), 404, "not_found")


def test_the_log_has_the_key_s_id_and_never_the_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key_id, text = key_in(tmp_path)
    with served(tmp_path, api_keys="required") as http, caplog.at_level(logging.DEBUG):
        assert http.get("/v1/collections", headers=bearer(text)).status_code == 200
        problem_of(http.get("/v1/collections", headers=bearer(text + "x")), 401, "unauthorized")
        assert text[-20:] not in http.get("/metrics").text and key_id not in http.get("/metrics").text
    fields = [vars(record).get("fields", {}) for record in caplog.records]
    assert [one["key"] for one in fields if one.get("route") == "/v1/collections"] == [key_id]
    assert [one["refused"] for one in fields if "refused" in one] == ["malformed"]
    assert text[-20:] not in repr([vars(record) for record in caplog.records])


def test_a_catalog_that_is_away_is_told_as_that(tmp_path: Path) -> None:
    _, text = key_in(tmp_path)
    with served(tmp_path, api_keys="required") as http:
        engine = sa.create_engine(Settings(data_dir=tmp_path).catalog_url)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE api_keys"))
        engine.dispose()
        response = http.get("/v1/collections", headers=bearer(text))
        problem_of(response, 503, "unavailable")
        assert response.headers["retry-after"] == "5"


def test_a_route_that_is_not_behind_the_guard_is_shut() -> None:
    app = FastAPI()
    install_handlers(app)

    @app.get("/v1/x")
    def route(caller: Reader) -> str:
        return caller.scope

    response = TestClient(app).get("/v1/x", headers=bearer("cap_any"))
    assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("a", False),
    ],
)
def test_loopback_is_this_machine_for_itself(host: str, own: bool) -> None:
    assert is_loopback(host) is own
