"""Promotion and rollback with a real MLflow server, and what is left when it, or the process, goes away meanwhile."""

from __future__ import annotations

import getpass
import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from typer.testing import CliRunner

from services.cli import app
from services.core.aliases import CHALLENGER, CHAMPION, MODEL, PREVIOUS, open_aliases
from services.core.catalog import Catalog
from services.core.lease import Lease
from services.core.registry import resolve_release
from services.core.settings import Settings
from services.core.tables import retraining_runs
from services.core.types import JobKind
from services.eval.app import create_app
from services.eval.mlflow_aliases import MOVES
from services.eval.mlflow_child import run_child
from services.eval.named import ReleaseNames
from services.eval.promote import Meant, Promotions
from services.eval.release_log import ReleaseLog
from services.eval.retrain_run import RetrainingRun
from services.eval.retraining import RetrainingStore
from services.eval.store import Dataset, Evaluation
from services.eval.worker import Worker
from tests.calls import client_of, problem_of
from tests.mlflow_server import FILES, add_version, start_mlflow
from tests.releases import Places, make_release
from tests.server import Server, free_port, start_service
from tests.verdicts import add_verdict
from tests.waiting import until

NEW, OTHER = "capstone@" + "1" * 12, "capstone@" + "2" * 12
REASON = "The old one answers in the wrong language."


@dataclass
class Registry:
    """Version 1 is NEW, 2 is OTHER. The shipped release becomes the third, when it is first replaced."""

    server: Server
    client: Any  # MLflow's own
    places: Places
    shipped: str

    def aliases(self) -> dict[str, str]:
        return {alias: str(version) for alias, version in self.client.get_registered_model(MODEL).aliases.items()}


@dataclass
class Desk:
    settings: Settings
    catalog: Catalog
    http: httpx.Client
    registry: Registry

    def promote(self, release: str = CHALLENGER, **body: str) -> httpx.Response:
        return self.http.post("/v1/releases", json={"release": release} | body)

    def rollback(self) -> httpx.Response:
        return self.http.post("/v1/releases/rollback")

    def releases(self) -> dict[str, Any]:
        return dict(self.http.get("/v1/releases").raise_for_status().json())

    def ends(self) -> list[str]:
        return [change["status"] for change in self.releases()["data"]]

    def meant(self, **changes: Any) -> dict[str, Any]:
        """What is noted before NEW takes the place of the shipped release."""
        meant = Meant("tester", NEW, "1", self.registry.shipped, from_version=None, previous_version=None)
        return asdict(replace(meant, **changes))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("mlflow")
    places = make_release(folder)
    server = start_mlflow(folder)
    try:
        client = MlflowClient(server.url, registry_uri=server.url)
        client.create_registered_model(MODEL)
        experiment = client.create_experiment("made")
        for number, release in enumerate((NEW, OTHER), 1):
            assert add_version(client, release, experiment, FILES, folder / f"made{number}") == str(number)
        yield Registry(server, client, places, resolve_release(places.folder, places.models_dir).id)
    finally:
        server.kill()


@pytest.fixture
def settings(registry: Registry, tmp_path: Path) -> Settings:
    for alias in (CHAMPION, PREVIOUS, CHALLENGER):
        registry.client.delete_registered_model_alias(MODEL, alias)
    registry.client.set_registered_model_alias(MODEL, CHALLENGER, "1")
    return Settings(
        data_dir=tmp_path / "data",
        models_dir=registry.places.models_dir,
        release_dir=registry.places.folder,
        encoder="hashing",
        mlflow_uri=registry.server.url,
    )


@contextmanager
def served(settings: Settings, registry: Registry) -> Iterator[Desk]:
    """The eval service alone, in a thread."""
    port = free_port()
    config = uvicorn.Config(create_app(settings), port=port, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    catalog = Catalog(settings.catalog_url)
    try:
        until(lambda: server.started)
        with client_of(f"http://127.0.0.1:{port}") as http:
            yield Desk(settings, catalog, http, registry)
    finally:
        server.should_exit = True
        thread.join(30)
        catalog.close()


@pytest.fixture
def desk(settings: Settings, registry: Registry) -> Iterator[Desk]:
    with served(settings, registry) as desk:
        yield desk


def test_the_first_promotion_keeps_the_shipped_release_to_go_back_to(desk: Desk, tmp_path: Path) -> None:
    registry = desk.registry
    before = desk.releases()
    assert before["aliases"] == {
        "champion": {"release": registry.shipped, "version": None},
        "challenger": {"release": NEW, "version": "1"},
        "previous": None,
    }
    assert before["data"] == []
    problem_of(desk.rollback(), 409, "nothing_to_roll_back")

    verdict = add_verdict(desk.catalog, registry.shipped, NEW, 0.2)
    response = desk.promote(by="Ada")
    assert response.status_code == 201, response.text
    change = response.json()
    assert (change["kind"], change["status"], change["by"]) == ("promotion", "done", "Ada")
    assert (change["from_release"], change["release"], change["version"]) == (registry.shipped, NEW, "1")
    assert (change["gate_passed"], change["verdict_id"], change["override_reason"]) == (True, verdict, None)
    told = desk.http.get(change["verdict_url"]).raise_for_status().json()
    assert told["passed"] and told["champion"]["release"] == registry.shipped
    third = registry.aliases()[PREVIOUS]
    assert registry.aliases() == {CHAMPION: "1", CHALLENGER: "1", PREVIOUS: third}

    rolled = desk.rollback()
    assert rolled.status_code == 201, rolled.text
    assert registry.aliases() == {CHAMPION: third, CHALLENGER: "1", PREVIOUS: "1"}
    aliases = open_aliases(desk.settings)
    live = aliases.resolve(CHAMPION)
    assert live is not None and live.release == registry.shipped
    files = aliases.fetch(live, tmp_path / "releases")
    assert resolve_release(files, registry.places.models_dir).id == registry.shipped, "every byte of it is there"
    aliases.close()

    history = desk.releases()
    assert history["aliases"]["champion"] == {"release": registry.shipped, "version": third}
    assert [(one["kind"], one["status"], one["release"]) for one in history["data"]] == [
        ("rollback", "done", registry.shipped),
        ("promotion", "done", NEW),
    ]
    assert history["data"][0]["gate_passed"] is None and "127.0.0.1" in history["data"][0]["by"]
    page = desk.http.get("/v1/releases", params={"limit": 1}).json()
    assert page["data"] == history["data"][:1] and page["has_more"]
    older = desk.http.get("/v1/releases", params={"limit": 1, "after": page["next"]}).json()
    assert older["data"] == history["data"][1:] and not older["has_more"]

    assert desk.rollback().status_code == 201  # and forth again
    assert registry.aliases()[CHAMPION] == "1"
    problem_of(desk.promote(), 409, "conflict")  # it is champion already


def test_a_challenger_that_waits_becomes_live_when_somebody_approves_it(desk: Desk) -> None:
    run_id, url = waiting_run(desk), "/v1/retraining-runs/{}/approve"
    problem_of(desk.http.post(url.format(run_id)), 409, "gate_not_passed")  # judged against another champion
    assert desk.http.get(f"/v1/retraining-runs/{run_id}").json()["status"] == "waiting_approval"
    add_verdict(desk.catalog, desk.registry.shipped, NEW, 0.2)
    approved = desk.http.post(url.format(run_id), json={"by": "Ada"})
    assert approved.status_code == 200, approved.text
    assert (approved.json()["status"], approved.json()["decided_by"]) == ("promoted", "Ada")
    assert desk.registry.aliases()[CHAMPION] == "1"
    [change] = desk.releases()["data"]
    assert (change["by"], change["gate_passed"]) == ("Ada", True) and change["id"] in approved.json()["detail"]
    problem_of(desk.http.post(url.format(run_id)), 409, "not_waiting_approval")
    cut_off = waiting_run(desk)  # the process died between promoting and saying so
    assert desk.http.post(url.format(cut_off)).json()["status"] == "promoted"
    assert len(desk.releases()["data"]) == 1, "it was live already"


@pytest.mark.parametrize(("below_bar", "status"), [([], "promoted"), (["generator"], "waiting_approval")])
def test_promoted_by_itself_is_only_what_passes_its_own_bar_too(desk: Desk, below_bar: list[str], status: str) -> None:
    """The last step of a run whose evaluation has ended, with promotion switched to automatic."""
    verdict = add_verdict(desk.catalog, desk.registry.shipped, NEW, 0.2)
    run_id = waiting_run(desk, outcome=None, facts={"below_bar": below_bar})
    settings = desk.settings.model_copy(update={"retrain_promote": "auto"})
    job = desk.catalog.jobs.claim("worker", 60, JobKind.retraining)
    assert job is not None
    aliases = open_aliases(settings)
    names = ReleaseNames(settings, aliases)
    running = RetrainingRun(settings, desk.catalog, names, Promotions(settings, desk.catalog.database, names))
    evaluation = Evaluation(
        id="eval_1",
        dataset=Dataset("set_1", "story", "3" * 64),
        collection="default",
        release=CHALLENGER,
        release_id=NEW,
        against_id=None,
        created_at=0.0,
        summary=None,
        tracking=None,
        verdict={"id": verdict, "passed": True, "why": []},
        job=job,
    )
    with Lease(desk.catalog.jobs, job, "worker", 60, threading.Event()) as lease:
        running._decide(lease, RetrainingStore(desk.catalog).get(run_id), evaluation)
    aliases.close()
    run = desk.http.get(f"/v1/retraining-runs/{run_id}").json()
    assert (run["status"], run["verdict"]) == (status, verdict)
    assert desk.registry.aliases().get(CHAMPION) == ("1" if status == "promoted" else None)
    assert run["decided_by"] == (f"retraining {run_id}" if status == "promoted" else None)


def waiting_run(desk: Desk, **values: Any) -> str:
    """A run whose challenger is version 1, as an alert and a worker leave it."""
    with desk.catalog.database.write() as connection:
        run_id = RetrainingStore(desk.catalog).open(
            connection, {"name": "A", "labels": {}, "starts_at": 0.0}, "default"
        )
        reached = {"version": "1", "release": NEW, "outcome": "waiting_approval"} | values
        connection.execute(sa.update(retraining_runs).where(retraining_runs.c.id == run_id).values(**reached))
    return run_id


def test_without_a_pass_for_exactly_these_two_nothing_becomes_live(desk: Desk) -> None:
    shipped, before = desk.registry.shipped, desk.registry.aliases()
    assert problem_of(desk.promote(), 409, "gate_not_passed")["verdict"] is None
    add_verdict(desk.catalog, OTHER, NEW, 0.2)  # against another champion
    add_verdict(desk.catalog, shipped, OTHER, 0.2)  # of another challenger
    add_verdict(desk.catalog, NEW, shipped, 0.2)  # the other way round
    assert problem_of(desk.promote(), 409, "gate_not_passed")["verdict"] is None
    add_verdict(desk.catalog, shipped, NEW, 0.2)
    newest = add_verdict(desk.catalog, shipped, NEW, -0.1)  # asked again, and worse
    verdict = problem_of(desk.promote("1"), 409, "gate_not_passed")["verdict"]
    assert (verdict["id"], verdict["passed"]) == (newest, False) and "quality" in verdict["why"][0]
    for name in ("99", "capstone@" + "f" * 12, "previous"):
        problem_of(desk.promote(name), 404, "unknown_release")
    assert desk.registry.aliases() == before and desk.releases()["data"] == []


def test_an_override_needs_a_reason_and_is_kept_for_ever(desk: Desk) -> None:
    for reason in ("", "   ", "why not", "          because           ", "x" * 1_001):
        problem_of(desk.promote(override_reason=reason), 422, "invalid_request")
    refused = add_verdict(desk.catalog, desk.registry.shipped, NEW, 0.0)
    assert desk.promote(NEW, override_reason=f"  {REASON} ", by="Grace").status_code == 201
    [change] = desk.releases()["data"]
    assert (change["override_reason"], change["gate_passed"], change["by"]) == (REASON, False, "Grace")
    assert change["verdict_id"] == refused
    assert desk.registry.aliases()[CHAMPION] == "1"


def test_the_commands_say_what_was_done_and_why_not(desk: Desk) -> None:
    def capstone(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, [*words, "--url", str(desk.http.base_url)], env={"COLUMNS": "200"})
        return done.exit_code, done.stdout

    shipped = desk.registry.shipped
    code, said = capstone("releases")
    assert code == 0 and re.search(
        rf"champion +{shipped}, as shipped\nchallenger +{NEW}, version 1\nprevious +none", said
    )
    assert capstone("rollback")[0] == 1
    verdict = add_verdict(desk.catalog, shipped, NEW, -0.1)
    code, said = capstone("promote")
    assert code == 1 and "(gate_not_passed)" in said and "quality: the difference" in said
    code, said = capstone("promote", "99")
    assert code == 2 and "(unknown_release)" in said
    code, said = capstone("promote", "1", "--override-reason", REASON)
    line = f"promotion done: {shipped} -> {NEW}, version 1, by {getpass.getuser()}, gate not passed ({verdict})"
    assert code == 0 and line in said and f"overridden: {REASON}" in said
    code, said = capstone("rollback", "--reason", "It was slower after all.")
    assert code == 0 and f"rollback done: {NEW} -> {shipped}" in said and "slower after all" in said
    code, said = capstone("releases")
    assert code == 0 and said.count(" done: ") == 2 and f"previous    {NEW}, version 1" in said


def test_promotions_at_the_same_time_are_one_after_the_other(desk: Desk) -> None:
    for release in (NEW, OTHER):
        add_verdict(desk.catalog, desk.registry.shipped, release, 0.2)
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda name=name: answers.append(desk.promote(name))) for name in ("1", "2", "1", "2")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(answers) == 4
    [winner] = [answer.json() for answer in answers if answer.status_code == 201]
    refusals = [answer for answer in answers if answer.status_code != 201]
    codes = {answer.json()["code"] for answer in refusals}
    assert codes <= {"release_in_progress", "gate_not_passed", "conflict"}, codes
    assert desk.registry.aliases()[CHAMPION] == winner["version"]
    assert desk.ends() == ["done"]


def test_while_mlflow_is_away_nothing_begins_and_the_history_can_be_read(desk: Desk) -> None:
    add_verdict(desk.catalog, desk.registry.shipped, NEW, 0.2)
    group = desk.registry.server.process.pid
    os.killpg(group, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor() as pool:  # both wait for it until they give up
            promoted, read = pool.submit(desk.promote), pool.submit(desk.releases)
        problem_of(promoted.result(), 503, "unavailable")
        assert int(promoted.result().headers["retry-after"]) > 0
        told = read.result()
        assert told["aliases"] is None and "does not answer" in told["registry"] and told["data"] == []
    finally:
        os.killpg(group, signal.SIGCONT)
    assert desk.promote().status_code == 201


def test_an_mlflow_that_is_too_slow_to_move_the_aliases_leaves_them(settings: Settings, registry: Registry) -> None:
    """As if it went away after the intent: the child process is killed before it has begun."""
    with served(settings.model_copy(update={"promotion_timeout_s": 0.05}), registry) as desk:
        add_verdict(desk.catalog, registry.shipped, NEW, 0.2)
        response = desk.promote()
        problem_of(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) > 0
        [change] = desk.releases()["data"]
        assert change["status"] == "failed" and "did not answer within" in change["detail"]
        assert registry.aliases() == {CHALLENGER: "1"}


def test_a_process_that_is_killed_between_intent_and_alias_leaves_no_half_promotion(
    settings: Settings, registry: Registry
) -> None:
    env = {
        "CAPSTONE_MODELS_DIR": str(registry.places.models_dir),
        "CAPSTONE_RELEASE_DIR": str(registry.places.folder),
        "CAPSTONE_MLFLOW_URI": registry.server.url,
    }
    doomed = start_service("services.eval.app:create_app", env, settings.data_dir).wait_ready()
    catalog = Catalog(settings.catalog_url)
    add_verdict(catalog, registry.shipped, NEW, 0.2)
    log = ReleaseLog(catalog.database)

    def promote() -> None:
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{doomed.url}/v1/releases", json={"release": "1"}, timeout=60, trust_env=False)

    client = threading.Thread(target=promote)
    client.start()
    until(lambda: log.unfinished() is not None)
    doomed.kill()
    client.join(60)
    catalog.close()
    assert registry.aliases() == {CHALLENGER: "1"}, "its child process has died with it"
    with served(settings, registry) as desk:
        assert desk.ends() == ["unfinished"]
        assert desk.promote().status_code == 201
        assert desk.ends() == ["done", "failed"]
        assert registry.aliases()[CHAMPION] == "1"


def test_a_crash_after_the_champion_moved_is_a_promotion_that_was_done(desk: Desk) -> None:
    log, client = ReleaseLog(desk.catalog.database), desk.registry.client
    client.set_registered_model_alias(MODEL, CHAMPION, "2")
    log.begin("promotion", desk.meant(from_release=OTHER, from_version="2"))
    client.set_registered_model_alias(MODEL, PREVIOUS, "2")
    client.set_registered_model_alias(MODEL, CHAMPION, "1")
    assert desk.ends() == ["unfinished"]
    Worker(desk.settings, desk.catalog, threading.Event()).tidy()
    [change] = desk.releases()["data"]
    assert change["status"] == "done" and "live all the same" in change["detail"]
    assert desk.registry.aliases() == {CHAMPION: "1", PREVIOUS: "2", CHALLENGER: "1"}


@pytest.mark.parametrize("before", [None, "1"])
def test_a_crash_between_the_two_aliases_is_put_back(desk: Desk, before: str | None) -> None:
    log, client = ReleaseLog(desk.catalog.database), desk.registry.client
    client.set_registered_model_alias(MODEL, CHAMPION, "2")
    log.begin("promotion", desk.meant(from_release=OTHER, from_version="2", previous_version=before))
    client.set_registered_model_alias(MODEL, PREVIOUS, "2")
    Worker(desk.settings, desk.catalog, threading.Event()).tidy()
    assert desk.ends() == ["failed"]
    assert desk.registry.aliases() == {CHAMPION: "2", CHALLENGER: "1"} | ({PREVIOUS: before} if before else {})


def test_what_a_crash_left_does_not_stand_in_the_way_for_ever(desk: Desk) -> None:
    """The version that `previous` named is gone, or somebody else has moved the aliases: then nobody touches them."""
    log, client = ReleaseLog(desk.catalog.database), desk.registry.client
    client.set_registered_model_alias(MODEL, CHAMPION, "2")
    client.set_registered_model_alias(MODEL, PREVIOUS, "2")
    log.begin("promotion", desk.meant(from_release=OTHER, from_version="2", previous_version="999"))
    Worker(desk.settings, desk.catalog, threading.Event()).tidy()
    [change] = desk.releases()["data"]
    assert change["status"] == "failed" and "'previous' could not be put back" in change["detail"]
    client.set_registered_model_alias(MODEL, PREVIOUS, "1")
    log.begin("promotion", desk.meant(version="3", from_release=OTHER, from_version="2"))
    problem_of(desk.promote("2"), 409, "conflict")  # it is champion already, and the way is free
    assert desk.ends() == ["failed", "failed"]
    assert desk.registry.aliases() == {CHAMPION: "2", PREVIOUS: "1", CHALLENGER: "1"}


def test_a_crash_is_not_settled_while_mlflow_is_away_and_is_later(settings: Settings, registry: Registry) -> None:
    away = settings.model_copy(update={"mlflow_uri": "http://user:secret@127.0.0.1:9"})
    with served(away, registry) as desk:
        ReleaseLog(desk.catalog.database).begin("promotion", desk.meant())
        Worker(away, desk.catalog, threading.Event()).tidy()
        told = problem_of(desk.promote(), 503, "unavailable")
        assert "secret" not in str(told) and desk.ends() == ["unfinished"]
    with served(settings, registry) as desk:
        Worker(settings, desk.catalog, threading.Event()).tidy()
        assert desk.ends() == ["failed"]


def test_an_alias_that_somebody_moved_meanwhile_stops_the_promotion(desk: Desk) -> None:
    """What the child process is told to expect is not so any more: it moves nothing."""
    folder = desk.settings.data_dir
    moves = {"expected": {CHAMPION: "2"}, "shipped": None, "aliases": [[CHAMPION, "1"]]}
    (folder / MOVES).write_text(json.dumps(moves))
    said = run_child(desk.settings, "services.eval.mlflow_aliases", folder, within_s=60, wait=lambda: time.sleep(0.05))
    assert said is not None and "version 2 was expected" in said
    assert CHAMPION not in desk.registry.aliases()
