"""Two releases asked side by side, to a verdict: real parts of a few kilobytes, a real registry, a real worker."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import yaml
from typer.testing import CliRunner

from services.cli import app
from services.core.aliases import CHALLENGER, CHAMPION, MODEL, PREVIOUS
from services.core.catalog import Catalog
from services.core.errors import JobProblem
from services.core.jobs import Job
from services.core.registry import verify
from services.core.settings import Settings
from services.core.tables import answers
from services.core.types import JobKind
from services.eval.ask import Api
from services.eval.dataset import Question
from services.eval.judge import judged
from services.eval.scores import read_scores
from services.eval.worker import Worker
from tests.calls import problem_of
from tests.mlflow_server import add_version
from tests.one_machine import one_machine
from tests.papers import story
from tests.questions import jsonl, story_questions
from tests.queue import open_jobs
from tests.releases import Places, make_adapter, make_release, seal
from tests.server import ROOT
from tests.waiting import until

TOPIC, PAGES = "the lighthouse", 12
QUESTIONS = story_questions(TOPIC, "lighthouse.pdf", PAGES, unanswerable=2)
COUNT = len(QUESTIONS)
KIND = JobKind.evaluation


@dataclass
class Desk:
    """`shipped` is the champion, `other` version 1 and challenger, `third` version 2. A worker is made for each job."""

    settings: Settings
    catalog: Catalog
    http: httpx.Client
    registry: Any  # MLflow's own client
    shipped: str
    other: str
    third: str

    def post(self, **fields: str) -> httpx.Response:
        files = {"file": ("story.jsonl", jsonl(QUESTIONS))}
        return self.http.post("/v1/evaluations", files=files, data=fields)

    def start(self, **fields: str) -> dict[str, Any]:
        response = self.post(**fields)
        assert response.status_code == 202, response.text
        return dict(response.json())

    def work(self, stopping: threading.Event | None = None) -> Job:
        """Do the next evaluation, or go on with one, and return its job as it is then."""
        job = self.catalog.jobs.claim("worker", 60, KIND)
        assert job is not None
        worker = Worker(self.settings, self.catalog, stopping or threading.Event())
        worker._owner = "worker"
        worker.work_on(job)
        return self.catalog.jobs.get(job.id)

    def evaluation(self, evaluation_id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/v1/evaluations/{evaluation_id}").raise_for_status().json())

    def spoke(self, evaluation_id: str) -> set[str]:
        """Ids of the releases that gave its answers."""
        url = f"/v1/evaluations/{evaluation_id}/report"
        rows = self.http.get(url, headers={"Accept": "application/json"}).raise_for_status().json()["questions"]
        assert len(rows) == COUNT
        return {row["systems"]["release"]["lineage"]["release"] for row in rows}

    def asked_since(self, after: str) -> list[str]:
        """Releases of the answers given after the answer `after`, in the order in which they were given."""
        query = sa.select(answers.c.body).where(answers.c.id > after).order_by(answers.c.id)
        with self.catalog.database.read() as connection:
            return [body["lineage"]["release"] for body in connection.execute(query).scalars()]

    def last_answer(self) -> str:
        with self.catalog.database.read() as connection:
            return str(connection.execute(sa.select(sa.func.max(answers.c.id))).scalar_one() or "")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    root = tmp_path_factory.mktemp("desk")
    places = make_release(root)
    shipped = seal(places, sufficient=0.0).id
    rules = yaml.safe_load((ROOT / "params.yaml").read_text())["gate"] | {"min_questions": 2}
    (root / "params.yaml").write_text(yaml.safe_dump({"gate": rules}))
    settings = Settings(
        data_dir=root / "data",
        models_dir=places.models_dir,
        release_dir=places.folder,
        params=root / "params.yaml",
        encoder="hashing",
        answers="extractive",
        port=0,
        job_poll_s=0.02,
        track_evaluations=False,
        release_poll_s=0.1,
    )
    registry, others = registered(settings, places, root)
    with one_machine(settings, story(TOPIC, PAGES), "lighthouse.pdf") as (settings, catalog, http):
        yield Desk(settings, catalog, http, registry, shipped, *others)


def registered(settings: Settings, places: Places, root: Path) -> tuple[Any, list[str]]:
    """Two more releases, with adapters of their own, in the registry that the settings name."""
    from mlflow import MlflowClient

    settings.mlflow_dir.mkdir(parents=True)
    client = MlflowClient(settings.tracking_uri, registry_uri=settings.tracking_uri)
    client.create_registered_model(MODEL)
    experiment = client.create_experiment("made", (settings.mlflow_dir / "artifacts").as_uri())
    ids = []
    for seed in (7, 8):
        made = places.copy(root / f"copy{seed}")
        shutil.rmtree(made.folder / "adapter")
        make_adapter(made.folder / "adapter", verify(made.models_dir / "generator"), seed=seed)
        ids.append(seal(made, sufficient=0.0).id)
        files = {
            path.relative_to(made.folder).as_posix(): path.read_bytes()
            for path in made.folder.rglob("*")
            if path.is_file()
        }
        add_version(client, ids[-1], experiment, files, root / f"made{seed}")
    client.set_registered_model_alias(MODEL, CHALLENGER, "1")
    return client, ids


def test_both_are_asked_each_question_in_turn_and_the_gate_says_whether_one_may_be_promoted(
    desk: Desk, tmp_path: Path
) -> None:
    before = desk.last_answer()
    started = desk.start(release="challenger", against="champion")
    assert (started["release"], started["release_id"]) == ("challenger", desk.other)
    job = desk.work()
    assert (job.status, job.done, job.total) == ("succeeded", COUNT, COUNT), job
    done = desk.evaluation(started["id"])
    champion = desk.evaluation(done["against"])
    assert (champion["release"], champion["release_id"], champion["against"]) == ("champion", desk.shipped, None)
    assert champion["status"] == "succeeded" and champion["job"]["id"] == done["job"]["id"]
    assert (desk.spoke(done["id"]), desk.spoke(champion["id"])) == ({desk.other}, {desk.shipped})
    assert done["summary"]["lineages"][0]["release"] == desk.other

    warm, turns = desk.asked_since(before)[:2], desk.asked_since(before)[2:]
    assert set(warm) == {desk.shipped, desk.other}
    first, second = [desk.other, desk.shipped], [desk.shipped, desk.other]
    assert turns == (first + second) * (COUNT // 2)

    assert done["verdict"] == champion["verdict"] and done["verdict"]["url"]
    verdict = desk.http.get(done["verdict"]["url"]).raise_for_status().json()
    assert (verdict["champion"]["release"], verdict["challenger"]["release"]) == (desk.shipped, desk.other)
    assert verdict["questions"] == {"count": COUNT, "sha256": done["dataset"]["sha256"]}
    assert set(verdict["metrics"]) == {"quality", "citation_precision", "abstention", "latency"}
    assert (verdict["challenger_evaluation_id"], verdict["champion_evaluation_id"]) == (done["id"], champion["id"])
    for side, evaluation in (("challenger", done), ("champion", champion)):
        (tmp_path / side).write_text(desk.http.get(f"/v1/evaluations/{evaluation['id']}/scores").text)
        assert read_scores(tmp_path / side).sha256 == verdict[side]["scores_sha256"], "what `capstone gate` reads"
    assert verdict["metrics"]["quality"]["estimate"] == 0, "the adapter has no say in extractive answers"
    assert not verdict["passed"], "no change is no gain"
    for evaluation in (done, champion):
        html = desk.http.get(evaluation["report_url"]).text
        assert "did not pass" in html and html.count("<svg") == 5 + 4
    refused = problem_of(desk.http.post("/v1/releases", json={}), 409, "gate_not_passed")
    assert refused["verdict"]["id"] == verdict["id"]
    assert desk.http.get("/v1/evaluations").json()["data"][0]["verdict"]["passed"] is False


def test_an_evaluation_that_was_cut_off_goes_on_with_both_sides_of_each_question(desk: Desk) -> None:
    started = desk.start(release=desk.other, against=desk.shipped)
    stopping = threading.Event()

    def stop() -> None:
        until(lambda: desk.http.get(started["job"]["url"]).json()["progress"]["done"] >= 3)
        stopping.set()

    def rows() -> dict[str, list[tuple[int, Any]]]:
        query = sa.text("SELECT number, body FROM judgements WHERE evaluation_id = :id ORDER BY number")
        with desk.catalog.database.read() as connection:
            return {
                one: [tuple(row) for row in connection.execute(query, {"id": one})]
                for one in (started["id"], started["against"])
            }

    stopper = threading.Thread(target=stop)
    stopper.start()
    assert desk.work(stopping).status == "running"
    stopper.join(30)
    kept = rows()
    done = len(kept[started["id"]])
    assert 3 <= done < COUNT and len(kept[started["against"]]) == done
    assert desk.work().status == "succeeded"
    after = rows()
    for one, judged_rows in after.items():
        assert judged_rows[:done] == kept[one], "what was asked is not asked again"
        assert [number for number, _ in judged_rows] == list(range(COUNT))


def test_a_name_means_what_it_meant_when_the_evaluation_was_started(desk: Desk) -> None:
    started = desk.start(release="challenger")
    desk.registry.set_registered_model_alias(MODEL, CHALLENGER, "2")
    try:
        assert desk.work().status == "succeeded"
        assert desk.spoke(started["id"]) == {desk.other}
        assert desk.evaluation(started["id"])["verdict"] is None
        assert desk.start(release="challenger")["release_id"] == desk.third
        assert desk.work().status == "succeeded"
    finally:
        desk.registry.set_registered_model_alias(MODEL, CHALLENGER, "1")
    assert desk.start()["release_id"] == desk.shipped, "without a name it is the champion"
    assert desk.work().status == "succeeded"


def test_nothing_starts_that_could_not_end_in_a_verdict(desk: Desk) -> None:
    problem_of(desk.post(release="challenger", against="1"), 422, "invalid_request")
    problem_of(desk.post(release="champion", against=desk.shipped), 422, "invalid_request")
    beside = problem_of(desk.post(release="1", against="2"), 422, "invalid_request")
    assert "must be the champion" in beside["detail"]
    problem_of(desk.post(release="challenger", against="previous"), 404, "unknown_release")
    problem_of(desk.post(release="no release at all"), 422, "invalid_request")
    files = {"file": ("one.jsonl", jsonl(QUESTIONS[:1]))}
    asked = {"release": "challenger", "against": "champion"}
    few = problem_of(desk.http.post("/v1/evaluations", files=files, data=asked), 422, "invalid_request")
    assert "2 answerable questions" in few["detail"]
    assert open_jobs(desk.catalog, KIND) == 0


def test_a_release_that_is_gone_fails_the_evaluation_with_the_words_of_the_api(desk: Desk) -> None:
    run = desk.registry.get_model_version(MODEL, "1").run_id
    source = desk.registry.get_model_version(MODEL, "1").source
    gone = "gone@0123456789ab"
    version = desk.registry.create_model_version(MODEL, f"{source}/nowhere", run, tags={"release": gone}).version
    desk.start(release=str(version))
    job = desk.work()
    assert (job.status, job.error_code) == ("failed", "release_refused"), job
    desk.start(release=gone)
    desk.registry.delete_model_version(MODEL, version)
    job = desk.work()
    assert (job.status, job.error_code) == ("failed", "unknown_release"), job


def test_the_command_shows_the_verdict_and_ends_with_it(desk: Desk, tmp_path: Path) -> None:
    questions, report = tmp_path / "story.jsonl", tmp_path / "report.html"
    questions.write_bytes(jsonl(QUESTIONS))

    def work() -> None:
        until(lambda: open_jobs(desk.catalog, KIND) == 1)
        desk.work()

    worker = threading.Thread(target=work)
    worker.start()
    words = ["evaluate", str(questions), "--release", "challenger", "--against", "champion", "--report", str(report)]
    done = CliRunner().invoke(app, [*words, "--url", str(desk.http.base_url)], env={"COLUMNS": "160"})
    worker.join(60)
    assert done.exit_code == 1, done.stdout
    assert "The gate does not let it pass ver_" in done.stdout and "Nothing is gained: wanted quality" in done.stdout
    assert "<h2>Verdict</h2>" in report.read_text()


def test_what_is_promoted_answers_and_what_is_rolled_back_no_longer_does(desk: Desk) -> None:
    def answering(release: str) -> bool:
        body = {"question": QUESTIONS[0]["question"]}
        answer = desk.http.post("/v1/answers", json=body).raise_for_status().json()
        return bool(answer["lineage"]["release"] == release)

    assert answering(desk.shipped)
    override = {"release": "challenger", "override_reason": "A test wants to see it answer."}
    assert desk.http.post("/v1/releases", json=override).status_code == 201
    until(lambda: answering(desk.other))
    assert desk.start()["release_id"] == desk.other, "the champion by name"
    assert desk.http.post("/v1/releases/rollback").status_code == 201
    until(lambda: answering(desk.shipped))
    assert desk.work().status == "succeeded", "what was asked to be evaluated still is, by its id"
    desk.registry.delete_registered_model_alias(MODEL, CHAMPION)
    desk.registry.delete_registered_model_alias(MODEL, PREVIOUS)


class AnswersAsAnother(Api):
    """The api service, but whoever is asked for, the champion answers."""

    def answer(self, question: str, collection: str, release: str | None) -> tuple[dict[str, Any], float]:
        return super().answer(question, collection, None)


def test_an_answer_of_another_release_than_was_asked_for_is_not_judged(desk: Desk) -> None:
    question = Question.model_validate(QUESTIONS[0])
    with AnswersAsAnother(desk.settings.api_base_url, time.sleep) as api:
        assert judged(question, "default", desk.shipped, api)["systems"]["release"]["metrics"]
        for asked in (desk.other, None):
            with pytest.raises(JobProblem, match=desk.shipped) as raised:
                judged(question, "default", asked, api)
            assert raised.value.code == "other_release"
