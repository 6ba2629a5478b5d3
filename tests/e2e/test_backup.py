"""`capstone backup` while documents come and go, questions are asked and a release is promoted; `capstone restore` into
an empty system, which then answers as the first one did."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.core.aliases import MODEL
from services.core.registry import resolve_release
from tests.calls import client_of, ended, ingest, search, upload
from tests.papers import story, story_page
from tests.releases import Places, make_another, make_release
from tests.server import CAPSTONE, Server, new_database, start

TOPIC = "the lighthouse"
KEPT = "kept"  # a collection that stays as it is


@dataclass(frozen=True)
class System:
    """A platform with a registry of its own, in one data folder."""

    data_dir: Path
    env: Mapping[str, str]

    def start(self) -> Server:
        return start(self.env, self.data_dir)

    def capstone(self, *words: object) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("CAPSTONE_")}
        env |= {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb", "CAPSTONE_DATA_DIR": str(self.data_dir), **self.env}
        done = subprocess.run(
            [CAPSTONE, *map(str, words)], env=env, capture_output=True, text=True, timeout=280, check=False
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[Places]:
    one = make_release(tmp_path_factory.mktemp("one"))
    return [one, make_another(one, tmp_path_factory.mktemp("two"), seed=11)]


@pytest.fixture(params=["sqlite", "postgresql"])
def systems(request: pytest.FixtureRequest, places: list[Places], tmp_path: Path) -> list[System]:
    """One to fill, and one to restore into."""
    env = {
        "CAPSTONE_RELEASE_DIR": str(places[0].folder),
        "CAPSTONE_MODELS_DIR": str(places[0].models_dir),
        "CAPSTONE_ENCODER": "hashing",
        "CAPSTONE_JOB_POLL_S": "0.05",
        "CAPSTONE_RELEASE_POLL_S": "0.5",
        "CAPSTONE_PROMOTION_TIMEOUT_S": "240",
        "CAPSTONE_TRACK_EVALUATIONS": "false",
    }

    def database() -> dict[str, str]:
        if request.param == "sqlite":
            return {}
        return {"CAPSTONE_DATABASE_URL": new_database(request.getfixturevalue("postgres_url"))}

    return [System(tmp_path / name, env | database()) for name in ("first", "second")]


def registered(system: System, places: Places) -> str:
    """The release as version 1 of the registry that is in the data folder."""
    from mlflow import MlflowClient

    folder = system.data_dir / "mlflow"
    folder.mkdir(parents=True)
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}", registry_uri=f"sqlite:///{folder / 'mlflow.db'}")
    client.create_registered_model(MODEL)
    run = client.create_run(client.create_experiment("made", (folder / "artifacts").as_uri()))
    client.log_artifacts(run.info.run_id, str(places.folder), "release")
    release = resolve_release(places.folder, places.models_dir).id
    source = f"{run.info.artifact_uri}/release"
    client.create_model_version(MODEL, source, run.info.run_id, tags={"release": release})
    client.set_registered_model_alias(MODEL, "challenger", "1")
    return release


class Traffic:
    """Uploads, deletes, questions and searches, one after the other, until it is left."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self.acknowledged: set[str] = set()  # uploads
        self.deleted: set[str] = set()
        self.rounds = 0
        self.failed: BaseException | None = None

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self.failed is not None:
            raise self.failed

    def _go_on(self) -> None:
        try:
            with client_of(self._url) as http:
                while not self._ended.is_set():
                    self._round(http)
        except BaseException as error:  # noqa: BLE001 - raised by who leaves it
            self.failed = error

    def _round(self, http: httpx.Client) -> None:
        topic = f"shed {self.rounds}"
        new = [upload(http, story(f"{topic} {n}", 2), f"{n}.pdf").raise_for_status().json()["id"] for n in range(3)]
        self.acknowledged.update(new)
        http.post("/v1/answers", json={"question": story_page(topic, 1), "max_tokens": 4}).raise_for_status()
        for gone in (new[0], *sorted(self.acknowledged - self.deleted - set(new))[:1]):
            http.delete(f"/v1/documents/{gone}").raise_for_status()
            self.deleted.add(gone)
        search(http, story_page(TOPIC, 2), KEPT)
        self.rounds += 1


def everything(http: httpx.Client, answers: list[str]) -> dict[str, Any]:
    """What must be the same before and after."""
    found = {f"search {n}": search(http, story_page(TOPIC, n), KEPT, k=5) for n in (1, 2, 3)}
    for answer in answers:
        found[answer] = http.get(f"/v1/answers/{answer}").raise_for_status().json()
        found[f"lineage of {answer}"] = http.get(f"/v1/lineage/{answer}").raise_for_status().json()
    found["releases"] = http.get("/v1/releases").raise_for_status().json()
    found["documents"] = http.get("/v1/documents", params={"collection": KEPT}).raise_for_status().json()
    return found


def all_documents(http: httpx.Client) -> Iterator[dict[str, Any]]:
    after: dict[str, str] = {}
    while True:
        page = http.get("/v1/documents", params={"limit": "200"} | after).raise_for_status().json()
        yield from page["data"]
        if not page["has_more"]:
            return
        after = {"after": page["next"]}


@pytest.mark.timeout(900)
def test_a_backup_made_while_everything_serves_is_a_whole_system(
    systems: list[System], places: list[Places], tmp_path: Path
) -> None:
    first, second = systems
    release, folder = registered(first, places[1]), tmp_path / "backups" / "monday"
    server = first.start()
    try:
        with client_of(server.wait_ready(240).url) as http:
            http.timeout = 280
            kept = [ingest(http, story(f"{TOPIC} {n}", 3), f"{n}.pdf", KEPT) for n in range(3)]
            why = {"release": "challenger", "override_reason": "There is nothing to judge it by in this test."}
            http.post("/v1/releases", json=why).raise_for_status()
            asked = {"question": story_page(TOPIC, 2), "collection": KEPT, "max_tokens": 8}
            answer = http.post("/v1/answers", json=asked | {"release": release}).raise_for_status().json()
            assert answer["lineage"]["release"] == release
            with Traffic(server.url) as traffic:
                while not traffic.rounds and traffic.failed is None:
                    threading.Event().wait(0.01)
                before_it = traffic.acknowledged - traffic.deleted
                done = first.capstone("backup", folder)
                deleted_by_then = set(traffic.deleted)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "2 releases" in done.stdout and f"Backed up to {folder}" in done.stdout, done.stdout
            wanted = everything(http, [answer["id"]])
    finally:
        server.kill()

    assert traffic.rounds > 1, "it went on meanwhile"
    again = first.capstone("restore", folder)
    assert again.returncode == 2 and "(not_empty)" in again.stdout, again.stdout
    done = second.capstone("restore", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    server = second.start()
    try:
        with client_of(server.wait_ready(240).url) as http:
            http.timeout = 280
            found = everything(http, [answer["id"]])
            for name, value in wanted.items():
                assert found[name] == value, name
            there = {document["id"]: document for document in all_documents(http)}
            assert before_it - deleted_by_then <= set(there) <= traffic.acknowledged | {one["id"] for one in kept}
            for document in there.values():
                assert ended(http, document["job"]["id"])["status"] == "succeeded", "what was in work goes on"
                page = http.get(f"/v1/documents/{document['id']}/pages/1.png")
                assert page.status_code == 200, (document, page.text)
            for query in (story_page("shed 0 1", 1), story_page("shed 0 2", 2)):
                assert {result["document_id"] for result in search(http, query, k=50)} <= set(there)
            assert there.keys() == {document["id"] for document in all_documents(http)}
            more = ingest(http, story("a new wing", 2), "wing.pdf")
            assert more["id"] in {result["document_id"] for result in search(http, story_page("a new wing", 1))}
            back = http.post("/v1/releases/rollback", json={}).raise_for_status().json()
            assert back["from_release"] == release, "the registry can be written to"
    finally:
        server.kill()
