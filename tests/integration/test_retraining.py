"""A retraining run with a real worker, a real catalog and a command that stands in for the training."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from pydantic import SecretStr

from services.core.catalog import Catalog
from services.core.jobs import Job
from services.core.settings import Settings
from services.core.types import JobKind
from services.eval.retrain_worker import Worker
from services.eval.worker import Worker as EvaluationWorker
from tests.notifications import TOKEN, alert, told
from tests.one_machine import one_machine
from tests.papers import story, story_page
from tests.planted_registry import PlantedRegistry
from tests.questions import jsonl, story_questions
from tests.server import ROOT, Server, start_worker
from tests.shelf import Shelf
from tests.waiting import until

TOPIC, PAGES = "the lighthouse", 6
QUESTIONS = story_questions(TOPIC, "lighthouse.pdf", PAGES, unanswerable=2)
STANDIN = f"{shlex.quote(sys.executable)} -m tests.standin_training"


@dataclass
class Desk:
    """The shipped release is the champion; version 1 of the registry is another one."""

    settings: Settings
    catalog: Catalog
    http: httpx.Client
    registry: PlantedRegistry
    other: str  # id of version 1
    at: int = 0

    def open(self) -> str:
        """Have an alert open a run."""
        self.at += 1
        assert told(self.http, alert(self.at)) == ["opened"]
        return str(self.http.get("/v1/retraining-runs", params={"limit": 1}).json()["data"][0]["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/v1/retraining-runs/{run_id}").raise_for_status().json())

    def work(self, command: str, stopping: threading.Event | None = None, **changes: Any) -> Job:
        """Do the next run, or go on with one, and return its job as it is then."""
        settings = self.settings.model_copy(update={"retrain_command": f"{STANDIN} {command}"} | changes)
        job = self.catalog.jobs.claim("worker", 60, JobKind.retraining)
        assert job is not None
        worker = Worker(settings, self.catalog, stopping or threading.Event())
        worker._owner = "worker"
        worker.work_on(job)
        worker._aliases.close()
        return self.catalog.jobs.get(job.id)

    def beside(self, command: str, **changes: str) -> Server:
        """A worker as a process of its own."""
        settings = self.settings
        env = {
            "CAPSTONE_API_URL": settings.api_base_url,
            "CAPSTONE_MODELS_DIR": str(settings.models_dir),
            "CAPSTONE_RELEASE_DIR": str(settings.release_dir),
            "CAPSTONE_MLFLOW_URI": self.registry.uri,
            "CAPSTONE_PARAMS": str(settings.params),
            "CAPSTONE_RETRAIN_PROJECT": str(ROOT),
            "CAPSTONE_RETRAIN_DATASET": "story",
            "CAPSTONE_RETRAIN_COMMAND": f"{STANDIN} {command}",
            "CAPSTONE_JOB_POLL_S": "0.05",
            "CAPSTONE_LEASE_S": "4",
        }
        return start_worker(env | changes, settings.data_dir, "services.eval.retrain_worker")

    def evaluate(self) -> threading.Thread:
        """Do the evaluation that a run waits for, once it is there."""

        def work() -> None:
            claimed: list[Job] = []

            def claim() -> bool:
                claimed.extend(filter(None, [self.catalog.jobs.claim("worker", 60, JobKind.evaluation)]))
                return bool(claimed)

            until(claim)
            worker = EvaluationWorker(self.settings, self.catalog, threading.Event())
            worker._owner = "worker"
            worker.work_on(claimed[0])

        thread = threading.Thread(target=work)
        thread.start()
        return thread


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, shelf: Shelf) -> Iterator[Desk]:
    root = tmp_path_factory.mktemp("retraining")
    registry = PlantedRegistry(root / "mlflow.db")
    registry.add(shelf.two.folder)
    rules = yaml.safe_load((ROOT / "params.yaml").read_text())["gate"] | {"min_questions": 2, "draws": 1000}
    (root / "params.yaml").write_text(yaml.safe_dump({"gate": rules}))
    settings = Settings(
        data_dir=root / "data",
        models_dir=shelf.one.models_dir,
        release_dir=shelf.one.folder,
        params=root / "params.yaml",
        encoder="hashing",
        torch_threads=1,
        port=0,
        mlflow_uri=registry.uri,
        release_poll_s=0,
        track_evaluations=False,
        alert_token=SecretStr(TOKEN),
        retrain_project=ROOT,
        retrain_cooldown_s=0,
        retrain_max_per_day=100,
        retrain_dataset="story",
    )
    with one_machine(settings, story(TOPIC, PAGES), "lighthouse.pdf") as (settings, catalog, http):
        files = {"file": ("story.jsonl", jsonl(QUESTIONS))}
        started = http.post("/v1/evaluations", files=files, data={"dataset": "story"}).raise_for_status().json()
        catalog.jobs.cancel(started["job"]["id"])  # its questions are kept
        yield Desk(settings, catalog, http, registry, shelf.release(shelf.two).id)


@pytest.fixture
def desk(served: Desk) -> Iterator[Desk]:
    """Nothing is open before a test, and nothing after it."""
    yield served
    for run in served.http.get("/v1/retraining-runs").json()["data"]:
        if run["status"] in ("queued", "running"):
            served.catalog.jobs.cancel(run["job"]["id"])
            served.catalog.jobs.release_all(JobKind.retraining)


def test_from_feedback_to_the_gate(desk: Desk) -> None:
    """Corrections become questions; the challenger is asked them and those of the dataset, and the gate says no."""
    for number in range(1, PAGES + 1):
        sentence = story_page(TOPIC, number).partition(". ")[0] + "."
        answer = desk.http.post("/v1/answers", json={"question": f"Where is thing {number}?"}).json()
        said = {"verdict": "down", "corrected_answer": sentence, "by": "Ada"}
        given = desk.http.post(f"/v1/answers/{answer['id']}/feedback", json=said)
        assert given.status_code == 201, given.text
    run_id = desk.open()
    evaluating = desk.evaluate()
    job = desk.work(f"--register 1 {desk.other}")
    evaluating.join()
    run = desk.run(run_id)
    assert (job.status, run["status"]) == ("succeeded", "refused"), run
    facts = run["facts"]
    assert facts["feedback"] == PAGES and facts["unusable"] == {}
    assert facts["evaluation_from_feedback"] + facts["training_candidates"] == PAGES
    assert 0 < facts["training_candidates"] < PAGES and facts["below_bar"] == []
    assert facts["evaluation_questions"] == len(QUESTIONS) + facts["evaluation_from_feedback"]
    assert (run["version"], run["release"]) == ("1", desk.other)
    assert f"with {facts['training_candidates']} candidates" in run["log"]
    names = [step["name"] for step in run["steps"]]
    assert names == ["snapshot", "training", "training: stand in", "evaluation"]
    assert all(step["began_at"] and step["ended_at"] for step in run["steps"])
    evaluation = desk.http.get(f"/v1/evaluations/{run['evaluation']}").json()
    assert evaluation["verdict"]["id"] == run["verdict"] and not evaluation["verdict"]["passed"]
    assert evaluation["progress"]["total"] == facts["evaluation_questions"]
    assert run["detail"] == " ".join(evaluation["verdict"]["why"]) and run["decided_by"] is None
    assert desk.http.get("/v1/releases").json()["data"] == [], "nothing was promoted"


def test_a_killed_worker_leaves_nothing_running_and_another_goes_on(desk: Desk, tmp_path: Path) -> None:
    run_id, pids = desk.open(), tmp_path / "pids"
    command = f"--register 1 {desk.other} --wait {pids}"
    doomed = desk.beside(command)
    try:
        until(pids.exists)
    finally:
        doomed.kill()  # SIGKILL
    ended(pids)
    assert desk.run(run_id)["status"] == "running"
    pids.unlink()
    pids.with_suffix(".go").touch()
    second = desk.beside(command)
    try:
        evaluating = desk.evaluate()
        until(lambda: desk.run(run_id)["status"] not in ("queued", "running"))
        evaluating.join()
    finally:
        second.kill()
    run = desk.run(run_id)
    assert run["status"] == "refused", run
    assert "start 1 with" in run["log"] and "start 2 with" in run["log"], "the command has found what it had done"
    assert [step["name"] for step in run["steps"]].count("training: stand in") == 1


def test_a_cancelled_run_stops_its_training(desk: Desk, tmp_path: Path) -> None:
    run_id, pids = desk.open(), tmp_path / "pids"
    worker = desk.beside(f"--register 1 {desk.other} --wait {pids}")
    try:
        until(pids.exists)
        running = json.loads(pids.read_text())
        assert all(map(alive, running))
        job = desk.run(run_id)["job"]
        cancelled = desk.http.post(f"{job['url']}/cancel")
        assert (cancelled.status_code, cancelled.json()["retraining_run_id"]) == (202, run_id)
        until(lambda: desk.run(run_id)["status"] == "cancelled")
        ended(pids)
    finally:
        worker.kill()


def test_what_fails_says_why(desk: Desk, tmp_path: Path) -> None:
    def failed(command: str, **changes: Any) -> tuple[str, str]:
        run_id = desk.open()
        assert desk.work(command, **changes).status == "failed"
        run = desk.run(run_id)
        assert run["status"] == "failed" and run["version"] is None
        return run["error"]["code"], run["error"]["detail"]

    assert failed("--fail") == ("training_failed", "params.yaml: it is not what was wanted.")
    code, detail = failed(f"--wait {tmp_path / 'pids'}", retrain_timeout_s=4.0)
    assert (code, detail) == ("timed_out", "It took longer than 4 s.")
    ended(tmp_path / "pids")
    assert failed("--fail", retrain_project=tmp_path / "none")[0] == "training_unavailable"
    assert failed("--fail", retrain_command="no-such-program")[0] == "training_failed"
    assert failed("--fail", retrain_dataset="unheard")[0] == "no_dataset"
    (tmp_path / "strict.yaml").write_text(
        desk.settings.params.read_text().replace("min_questions: 2", "min_questions: 99")
    )
    code, detail = failed("--fail", params=tmp_path / "strict.yaml")
    assert code == "too_few_questions" and "99" in detail and "CAPSTONE_RETRAIN_DATASET" in detail
    code, detail = failed("--fail", retrain_command="python -S -m models.retrain")  # without any installed package
    assert code in ("training_unavailable", "training_failed") and detail


def test_a_training_that_gives_the_live_release_changes_nothing(desk: Desk, shelf: Shelf) -> None:
    version = desk.registry.add(shelf.one.folder)
    run_id = desk.open()
    assert desk.work(f"--register {version} {shelf.release(shelf.one).id}").status == "succeeded"
    run = desk.run(run_id)
    assert (run["status"], run["evaluation"]) == ("refused", None) and "are the same release" in run["detail"]


def test_a_worker_that_is_asked_to_end_gives_the_run_back(desk: Desk, tmp_path: Path) -> None:
    run_id, stopping, pids = desk.open(), threading.Event(), tmp_path / "pids"

    def stop() -> None:
        until(pids.exists)
        stopping.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    assert desk.work(f"--register 1 {desk.other} --wait {pids}", stopping).status == "running"
    stopper.join()
    ended(pids)
    assert desk.catalog.jobs.get(desk.run(run_id)["job"]["id"]).attempts == 0
    assert desk.catalog.jobs.claim("another", 60, JobKind.retraining) is not None, "at once, not when the lease is over"


def ended(pids: Path) -> None:
    """The command and its child are gone, or about to be: the kernel takes its time on a busy machine."""
    running = json.loads(pids.read_text())
    until(lambda: not any(map(alive, running)), within_s=20)


def alive(pid: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
