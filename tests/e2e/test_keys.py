"""Keys as an operator and a user meet them: `capstone up` that asks for them, and `capstone keys`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AuthenticationError, OpenAI

from tests.calls import bearer, client_of, ingest, problem_of
from tests.papers import story
from tests.questions import jsonl, story_questions
from tests.server import CAPSTONE, QUICK, Server, start

TOPIC, PAGES = "the lighthouse", 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keyed")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    """A machine that listens to others, on loopback here."""
    server = start(QUICK | {"CAPSTONE_API_KEYS": "required"}, place)
    try:
        yield server.wait_ready()
    finally:
        server.kill()


def capstone(*words: str, place: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CAPSTONE_")}
    given = {f"CAPSTONE_{name}": value for name, value in settings.items()}
    environment = clean | {"CAPSTONE_DATA_DIR": str(place), "COLUMNS": "200"} | given
    return subprocess.run([CAPSTONE, *words], env=environment, capture_output=True, text=True, timeout=120)


def made(place: Path, *words: str) -> str:
    """A new key: all that `create` says on its standard output."""
    done = capstone("keys", "create", *words, place=place)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def admin(place: Path, server: Server) -> str:
    return made(place, "--scope", "admin", "--name", "the operator")


@pytest.fixture(scope="module")
def http(server: Server, admin: str) -> Iterator[httpx.Client]:
    with client_of(server.url, admin) as http:
        ingest(http, story(TOPIC, PAGES), "lighthouse.pdf")
        yield http


def test_the_command_line_sends_the_key(place: Path, server: Server, http: httpx.Client, admin: str) -> None:
    refused = capstone("documents", "--url", server.url, place=place)
    assert refused.returncode == 2 and "CAPSTONE_API_KEY" in refused.stdout and "Traceback" not in refused.stderr
    done = capstone("documents", "--url", server.url, place=place, API_KEY=admin)
    assert done.returncode == 0 and "lighthouse.pdf" in done.stdout


def test_the_key_can_be_a_file(place: Path, server: Server, admin: str, tmp_path: Path) -> None:
    (tmp_path / "capstone_api_key").write_text(admin + "\n")
    done = capstone("status", "--url", server.url, place=place, SECRETS_DIR=str(tmp_path))
    assert done.returncode == 0 and "ready" in done.stdout


def test_an_evaluation_asks_with_the_platform_s_own_key(server: Server, http: httpx.Client) -> None:
    rows = jsonl(story_questions(TOPIC, "lighthouse.pdf", PAGES))
    started = http.post("/v1/evaluations", files={"file": ("q.jsonl", rows)}).raise_for_status().json()
    with http.stream("GET", started["job"]["url"], headers={"Accept": "text/event-stream"}) as response:
        assert response.read().count(b"event: final") == 1
    done = http.get(f"/v1/evaluations/{started['id']}").json()
    assert (done["status"], done["error"]) == ("succeeded", None)
    assert b"cap_service_" not in server.log.read_bytes()


def test_the_key_for_the_worker_goes_with_the_platform(tmp_path: Path) -> None:
    own = start(QUICK | {"CAPSTONE_API_KEYS": "required"}, tmp_path)
    try:
        own.wait_ready()
        [file] = tmp_path.rglob("capstone_service_key")
        assert file.stat().st_mode & 0o777 == 0o400 and file.parent.stat().st_mode & 0o777 == 0o700
        with client_of(own.url, file.read_text()) as http:
            assert http.get("/v1/documents").status_code == 200
            problem_of(http.delete("/v1/documents/doc_1"), 403, "forbidden")
        assert own.stop() in (0, -15)
    finally:
        own.kill()
    assert not list(tmp_path.rglob("capstone_service_key"))


def test_openai_s_client_sends_the_key(server: Server, http: httpx.Client, place: Path) -> None:
    model = next(one["id"] for one in http.get("/v1/models").json()["data"] if one["role"] == "encoder")
    options: dict[str, Any] = {"base_url": f"{server.url}/v1", "max_retries": 0}
    with OpenAI(api_key=made(place, "--scope", "read"), **options) as client:
        assert len(client.embeddings.create(model=model, input="a text").data) == 1
    with OpenAI(api_key="none", **options) as client, pytest.raises(AuthenticationError) as error:
        client.embeddings.create(model=model, input="a text")
    assert error.value.status_code == 401


def test_keys_are_listed_and_revoked(server: Server, http: httpx.Client, place: Path) -> None:
    text = made(place, "--scope", "write", "-c", "one", "-c", "two", "--name", "Ada [x]", "--expires", "30")
    key_id = text.split("_")[1]
    with client_of(server.url, text) as own:
        assert own.get("/v1/documents").json()["data"] == []
        listed = capstone("keys", "list", place=place).stdout
        [row] = [line for line in listed.splitlines() if key_id in line]
        assert "write" in row and "one, two" in row and "active" in row and "Ada [x]" in row
        assert text.split("_", 2)[2] not in listed
        done = capstone("keys", "revoke", key_id, place=place)
        assert done.returncode == 0 and key_id in done.stdout
        problem_of(own.get("/v1/documents"), 401, "unauthorized")
    [row] = [line for line in capstone("keys", "list", place=place).stdout.splitlines() if key_id in line]
    assert "revoked" in row
    assert http.get("/v1/documents").status_code == 200, "other keys stay good"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["create"], 2, "--scope"),
        (["create", "--scope", "root"], 2, "root"),
        (["create", "--scope", "read", "-c", "not a name"], 2, "cannot be the name"),
        (["create", "--scope", "read", "--expires", "-1"], 2, "--expires"),
        (["revoke", "nobody"], 2, "There is no key"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, words: list[str], status: int, said: str) -> None:
    done = capstone("keys", *words, place=tmp_path)
    assert done.returncode == status and said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "cap_" not in done.stdout


def test_up_says_that_a_key_is_needed(server: Server) -> None:
    assert "capstone keys create" in server.log.read_text()


def test_a_limited_key_finds_nothing_elsewhere(server: Server, http: httpx.Client, place: Path) -> None:
    key = bearer(made(place, "--scope", "admin", "-c", "other"))
    assert http.get("/v1/collections", headers=key).json() == {"data": []}
    problem_of(http.post("/v1/search", json={"query": "a map"}, headers=key), 404, "not_found")
