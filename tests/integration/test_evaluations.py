"""Evaluations with a real server, a real SQLite catalog and a real worker: they end, resume, stop, and are logged."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from services.core.catalog import Catalog
from services.core.jobs import Job
from services.core.settings import Settings
from services.core.tables import answers
from services.core.types import JobKind, JobStatus
from services.eval.mlflow_run import EXPERIMENT
from services.eval.worker import Worker
from tests.calls import problem_of
from tests.one_machine import one_machine
from tests.papers import story
from tests.questions import jsonl, story_questions
from tests.queue import open_jobs
from tests.server import QUICK, start_worker
from tests.waiting import until

TOPIC, PAGES = "the lighthouse", 12
QUESTIONS = story_questions(TOPIC, "lighthouse.pdf", PAGES, unanswerable=2)


@dataclass
class Desk:
    """A served catalog with one document in it, and nobody yet who does evaluations."""

    settings: Settings
    catalog: Catalog
    http: httpx.Client

    def start(self, rows: list[dict[str, Any]] = QUESTIONS, **fields: str) -> dict[str, Any]:
        response = self.http.post("/v1/evaluations", files={"file": ("story.jsonl", jsonl(rows))}, data=fields)
        assert response.status_code == 202, response.text
        return dict(response.json())

    def claim(self) -> Job:
        job = self.catalog.jobs.claim("worker", 60, JobKind.evaluation)
        assert job is not None
        return job

    def work(self, **changes: object) -> Job:
        """Do the next evaluation, and return its job as it is then."""
        job = self.claim()
        worker = Worker(self.settings.model_copy(update=changes), self.catalog, threading.Event())
        worker._owner = "worker"
        worker.work_on(job)
        return self.catalog.jobs.get(job.id)

    def evaluation(self, evaluation_id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/v1/evaluations/{evaluation_id}").raise_for_status().json())

    def questions(self, evaluation_id: str) -> list[dict[str, Any]]:
        url = f"/v1/evaluations/{evaluation_id}/report"
        report = self.http.get(url, headers={"Accept": "application/json"}).raise_for_status().json()
        return list(report["questions"])

    def asked(self) -> int:
        with self.catalog.database.read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(answers)).scalar_one())


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("desk"),
        models_dir=Path("none"),
        encoder="hashing",
        generator="scripted",
        classifier="overlap",
        port=0,
        job_poll_s=0.02,
        track_evaluations=False,
    )
    with one_machine(settings, story(TOPIC, PAGES), "lighthouse.pdf") as (settings, catalog, http):
        yield Desk(settings, catalog, http)


def test_an_evaluation_tells_everything_of_each_question(desk: Desk) -> None:
    evaluation = desk.start(dataset="lighthouse")
    assert (evaluation["status"], evaluation["dataset"]["name"], evaluation["summary"]) == (
        "queued",
        "lighthouse",
        None,
    )
    problem_of(desk.http.get(evaluation["report_url"]), 409, "not_finished")
    job = desk.work()
    assert (job.status, job.done, job.total, job.unit, job.kind) == ("succeeded", 14, 14, "questions", "evaluation")
    done = desk.evaluation(evaluation["id"])
    summary = done["summary"]
    assert (summary["questions"], summary["answerable"]) == (14, 12)
    assert done["tracking"] == {"status": "off", "run_id": None, "detail": "Logging to MLflow is switched off."}
    assert set(summary["systems"]) == {"release", "lead", "best_sentence"}
    release = summary["systems"]["release"]
    assert release["hit@5"]["n"] == 12 and release["hit@5"]["low"] <= release["hit@5"]["value"] <= 1
    assert release["answer_words"]["value"] > 0 and release["rougeL"]["value"] > 0.5
    assert summary["systems"]["lead"]["answered_unanswerable"]["value"] == 1.0
    assert {name: rows["questions"] for name, rows in summary["slices"]["kind"].items()} == {
        "fact": 6,
        "paraphrase": 6,
        "unanswerable": 2,
    }
    assert set(summary["slices"]) == {"kind", "document", "length"}
    assert summary["latency_ms"]["answer_ms"]["p95"] >= summary["latency_ms"]["answer_ms"]["p50"] > 0
    [lineage] = summary["lineages"]
    assert (lineage["encoder"], lineage["generator"]) == ("hashing-384", "scripted")

    rows = desk.questions(evaluation["id"])
    assert [row["id"] for row in rows] == [row["id"] for row in QUESTIONS]
    one = rows[3]["systems"]["release"]
    logged = desk.http.get(f"/v1/answers/{one['answer_id']}").raise_for_status().json()
    assert (logged["question"], logged["answer"], logged["mode"]) == (rows[3]["question"], one["answer"], one["mode"])
    assert {"rouge1", "token_f1", "contains", "recall@5", "ndcg@10", "answer_ms"} <= one["metrics"].keys()
    assert one["citations"][0]["verified"] and one["citations"][0]["document"] == "lighthouse.pdf"
    values = [row["systems"]["release"]["metrics"]["contains"] for row in rows if row["answerable"]]
    assert release["contains"]["value"] == pytest.approx(sum(values) / 12, abs=1e-6)


def test_the_report_is_one_page_that_escapes_what_it_shows(desk: Desk) -> None:
    bad = {**QUESTIONS[0], "question": "Where <script>alert(1)</script> is the lantern & the kettle?"}
    evaluation = desk.start([bad, *QUESTIONS[1:3]])
    desk.work()
    response = desk.http.get(evaluation["report_url"])
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "<script" not in response.text and "&lt;script&gt;" in response.text
    assert response.text.count("<svg") == 5
    assert "http://" not in response.text and "https://" not in response.text
    for word in ("ROUGE-L", "best sentence", "lead copy", "words", "nDCG@10", "lighthouse.pdf"):
        assert word in response.text


def test_a_named_dataset_is_asked_again_and_keeps_its_questions(desk: Desk) -> None:
    desk.start(QUESTIONS[:2], dataset="short")
    again = desk.http.post("/v1/evaluations", data={"dataset": "short"})
    assert again.status_code == 202
    other = {"file": ("x.jsonl", jsonl(QUESTIONS[:3]))}
    problem_of(desk.http.post("/v1/evaluations", files=other, data={"dataset": "short"}), 409, "conflict")
    problem_of(desk.http.post("/v1/evaluations", data={"dataset": "unheard"}), 404, "not_found")
    problem_of(desk.http.post("/v1/evaluations"), 422, "invalid_request")
    assert [desk.work().status, desk.work().status] == ["succeeded", "succeeded"]
    page = desk.http.get("/v1/evaluations", params={"limit": 1}).json()
    assert [one["id"] for one in page["data"]] == [again.json()["id"]] and page["has_more"]
    older = desk.http.get("/v1/evaluations", params={"limit": 1, "after": page["next"]}).json()
    assert older["data"][0]["dataset"]["name"] == "short"


def test_nothing_starts_on_a_bad_file(desk: Desk) -> None:
    before = len(desk.http.get("/v1/evaluations").json()["data"])
    rows = [QUESTIONS[0], {**QUESTIONS[1], "pages": ["two"]}, {**QUESTIONS[2], "document": "nowhere.pdf"}]
    found = desk.http.post("/v1/evaluations", files={"file": ("bad.jsonl", jsonl(rows))})
    problem = problem_of(found, 422, "invalid_dataset")
    assert [(one["row"], one["field"]) for one in problem["errors"]] == [(2, "pages.0")]
    missing = desk.http.post("/v1/evaluations", files={"file": ("bad.jsonl", jsonl([rows[0], rows[2]]))})
    assert problem_of(missing, 422, "invalid_dataset")["errors"][0]["row"] == 2
    good = {"file": ("good.jsonl", jsonl(QUESTIONS))}
    for release in ("challenger", "previous", "3", "capstone@0123456789ab"):
        unknown = desk.http.post("/v1/evaluations", files=good, data={"release": release})
        problem_of(unknown, 404, "unknown_release")
    against = desk.http.post("/v1/evaluations", files=good, data={"against": "champion"})
    problem_of(against, 422, "invalid_request")  # the bases alone are no release
    assert len(desk.http.get("/v1/evaluations").json()["data"]) == before
    assert open_jobs(desk.catalog, JobKind.evaluation) == 0


def test_a_killed_worker_repeats_no_finished_question(desk: Desk) -> None:
    rows = [{**row, "id": f"{row['id']}-{turn}"} for turn in range(10) for row in QUESTIONS]
    evaluation, before = desk.start(rows), desk.asked()
    job_url = evaluation["job"]["url"]
    env = QUICK | {"CAPSTONE_API_URL": desk.settings.api_base_url}
    doomed = start_worker(env, desk.settings.data_dir, "services.eval.worker")
    try:
        until(lambda: desk.http.get(job_url).json()["progress"]["done"] >= 5)
    finally:
        doomed.kill()
    assert doomed.process.returncode == -signal.SIGKILL
    with desk.catalog.database.read() as connection:
        kept = connection.execute(
            sa.text("SELECT number, body FROM judgements WHERE evaluation_id = :id ORDER BY number"),
            {"id": evaluation["id"]},
        ).all()
    assert 5 <= len(kept) < len(rows)

    desk.catalog.jobs.release_all(JobKind.evaluation)
    job = desk.work()
    assert (job.status, job.done, job.total) == ("succeeded", len(rows), len(rows))
    assert desk.asked() - before in (len(rows), len(rows) + 1), "at most the one that was being asked is asked again"
    with desk.catalog.database.read() as connection:
        after = connection.execute(
            sa.text("SELECT number, body FROM judgements WHERE evaluation_id = :id ORDER BY number"),
            {"id": evaluation["id"]},
        ).all()
    assert after[: len(kept)] == kept
    assert [number for number, _ in after] == list(range(len(rows)))


def test_a_cancelled_evaluation_stops_and_has_no_report(desk: Desk) -> None:
    evaluation = desk.start()
    job = desk.claim()
    assert desk.http.post(f"{evaluation['job']['url']}/cancel").status_code == 202
    worker = Worker(desk.settings, desk.catalog, threading.Event())
    worker._owner = "worker"
    worker.work_on(job)
    assert desk.catalog.jobs.get(job.id).status == JobStatus.cancelled
    assert desk.evaluation(evaluation["id"])["status"] == "cancelled"
    problem_of(desk.http.get(evaluation["report_url"]), 409, "not_finished")


def test_an_api_that_refuses_a_question_fails_the_evaluation_with_its_words(desk: Desk) -> None:
    evaluation = desk.start()
    job = desk.work(api_url=f"{desk.settings.api_base_url}/nowhere")
    assert (job.status, job.error_code) == ("failed", "question_refused")
    assert "404" in desk.evaluation(evaluation["id"])["error"]["detail"]


def test_a_run_in_mlflow_holds_figures_and_files(desk: Desk, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    evaluation = desk.start(QUESTIONS[:3])
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(uri)
    client.create_experiment(EXPERIMENT, (tmp_path / "artifacts").as_uri())
    assert desk.work(track_evaluations=True, mlflow_uri=uri, tracking_timeout_s=250).status == "succeeded"
    done = desk.evaluation(evaluation["id"])
    assert done["tracking"]["status"] == "logged", done["tracking"]
    run = client.get_run(done["tracking"]["run_id"])
    assert run.info.status == "FINISHED" and run.data.tags["evaluation"] == evaluation["id"]
    assert run.data.params["questions"] == "3"
    value = done["summary"]["systems"]["release"]["recall@5"]["value"]
    assert run.data.metrics["release.recall_at_5"] == value
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"report.html", "summary.json", "questions.jsonl"}


def test_without_mlflow_the_evaluation_ends_and_says_so(desk: Desk) -> None:
    evaluation = desk.start(QUESTIONS[:3])
    job = desk.work(track_evaluations=True, mlflow_uri="http://user:secret@127.0.0.1:9")
    assert job.status == "succeeded"
    tracking = desk.evaluation(evaluation["id"])["tracking"]
    assert (tracking["status"], tracking["run_id"]) == ("failed", None)
    assert tracking["detail"] and "secret" not in tracking["detail"]
    assert "not logged" in desk.http.get(evaluation["report_url"]).text
