"""`capstone up` as a process: it stops when asked, takes its worker along, and comes back with everything."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.calls import client_of, ended, ingest, search, upload
from tests.papers import story, story_page
from tests.server import QUICK, Server, start, worker_of
from tests.waiting import pause

TOPIC = "the observatory"


def group_ends(server: Server, within_s: float = 15.0) -> bool:
    """Has every process of the group gone?"""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.killpg(server.process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_what_was_ingested_is_there_after_a_restart(tmp_path: Path) -> None:
    server = start(QUICK, tmp_path)
    try:
        with client_of(server.wait_ready().url) as http:
            document = ingest(http, story(TOPIC, 6), "observatory.pdf")
            found = search(http, story_page(TOPIC, 4), k=3)
            answer = http.post("/v1/answers", json={"question": story_page(TOPIC, 4)}).raise_for_status().json()
        assert server.stop() == 0
        assert group_ends(server)
        server = start(QUICK, tmp_path)
        with client_of(server.wait_ready().url) as http:
            assert search(http, story_page(TOPIC, 4), k=3) == found
            assert found[0]["document_id"] == document["id"]
            assert http.get(f"/v1/answers/{answer['id']}").json()["answer"] == answer["answer"]
            assert upload(http, story(TOPIC, 6)).status_code == 200
    finally:
        server.kill()


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_snapshot_is_rebuilt_from_the_catalog(tmp_path: Path, damage: str) -> None:
    server = start(QUICK, tmp_path)
    try:
        with client_of(server.wait_ready().url) as http:
            ingest(http, story(TOPIC, 6), "observatory.pdf")
            found = search(http, story_page(TOPIC, 4), k=3)
        server.stop()
        (snapshot,) = (tmp_path / "views").glob("*.snapshot")
        data = bytearray(snapshot.read_bytes())
        if damage == "gone":
            snapshot.unlink()
        elif damage == "cut":
            snapshot.write_bytes(data[:-100])
        else:
            data[-100] ^= 1
            snapshot.write_bytes(data)
        server = start(QUICK, tmp_path)
        with client_of(server.wait_ready().url) as http:
            assert search(http, story_page(TOPIC, 4), k=3) == found
    finally:
        server.kill()


def test_a_killed_platform_takes_its_worker_along_and_goes_on_where_it_was(tmp_path: Path) -> None:
    server = start(QUICK, tmp_path)
    try:
        with client_of(server.wait_ready().url) as http:
            job_id = upload(http, story(TOPIC, 300)).raise_for_status().json()["job"]["id"]
        os.kill(server.process.pid, signal.SIGKILL)  # the server alone, not its group
        assert server.process.wait(10) == -signal.SIGKILL
        assert group_ends(server)
        server = start(QUICK, tmp_path)
        with client_of(server.wait_ready().url) as http:
            job = ended(http, job_id)
            assert (job["status"], job["progress"]["done"]) == ("succeeded", 300)
            assert len({result["chunk_id"] for result in search(http, TOPIC, k=100)}) == 100
    finally:
        server.kill()


def test_a_platform_stops_in_time_though_a_client_still_listens(tmp_path: Path) -> None:
    server = start(QUICK | {"CAPSTONE_SHUTDOWN_GRACE_S": "1"}, tmp_path)
    try:
        with client_of(server.wait_ready().url) as http:
            document = upload(http, story(TOPIC, 400)).raise_for_status().json()
            headers = {"Accept": "text/event-stream"}
            with http.stream("GET", document["job"]["url"], headers=headers) as response:
                assert next(response.iter_lines())
                assert server.stop(within_s=15) == 0
        assert group_ends(server)
    finally:
        server.kill()


def test_it_stops_although_a_client_follows_a_job_that_does_not_end(tmp_path: Path) -> None:
    server = start({**QUICK, "CAPSTONE_SHUTDOWN_GRACE_S": "1"}, tmp_path)
    try:
        pause(worker_of(server.wait_ready()))
        with client_of(server.url) as http:
            job_url = upload(http, story(TOPIC, 1)).json()["job"]["url"]
            with http.stream("GET", job_url, headers={"Accept": "text/event-stream"}) as stream:
                lines = stream.iter_lines()  # kept: dropping it would hang up
                assert next(lines) == "event: progress"
                assert server.stop(within_s=30) == 0
    finally:
        server.kill()
