"""The loop, driven whole: `python -m tests.loop.drive`, about 8 minutes.

`capstone up` with the real models, a real Prometheus and a real Alertmanager over the committed rules. People ask about
the example, and correct some answers; then they ask something else. The drift alarm becomes an alert, the alert a
retraining run, the run a challenger (`dvc repro` with models/smoke.yaml, in a clone), the challenger a verdict. The
models of the smoke parameters are poor, so the gate should say no; what is checked is that it decides, on what was
frozen, that one run was opened however often the alert was told, and that the service answered all the while. Exits
with 1 if a check fails.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml
from rich.console import Console

from models.params import merged
from tests.calls import EXAMPLE, client_of, ingest
from tests.checks import Checks
from tests.notifications import alert, notification
from tests.questions import jsonl
from tests.server import ROOT, start
from tests.watchers import Watcher, alertmanager, prometheus

TOKEN = "the-drive-s-own-token"
WITHIN_S = 8 * 60.0  # from the alert to the decision
JUDGED_ON = 8
CORRECTED = 6
# As few as the rules of drift take: what is asked afterwards has nothing in common with it.
DRIFT = {"reference_rows": 20, "window_rows": 10, "min_rows": 10, "in_a_row": 1}
SHIFTED = (
    "Wie lange muss ein Hefeteig gehen, bevor man ihn backt?",
    "Which chess opening answers the king's pawn with the c-pawn?",
    "¿Cuántas patas tiene una araña y cuántas una hormiga?",
    "What is the boiling point of ethanol at sea level in kelvin?",
    "Welche Farbe hat der Himmel auf dem Mars am Abend?",
    "Who sang the title song of the third film of that series about a spy?",
    "Combien de joueurs y a-t-il dans une équipe de handball?",
    "How much flour goes into a cake for twelve guests with allergies?",
    "Which vaccine needs a second dose after six months?",
    "Wann wurde die erste Straßenbahn in dieser Stadt elektrisch betrieben?",
)

console = Console(highlight=False)


def main() -> int:
    checks = Checks(console)
    with tempfile.TemporaryDirectory(prefix="capstone-loop-") as name:
        folder = Path(name)
        (folder / "token").write_text(TOKEN)
        server = start(environment(folder), folder / "data")
        try:
            server.wait_ready(300)
            where = server.url.removeprefix("http://")
            with (
                client_of(server.url) as http,
                alertmanager(f"{server.url}/v1/alerts", folder / "token", folder) as alerts,
                prometheus(where, folder, alerts.url) as watching,
            ):
                drive(checks, http, watching, alerts)
        except BaseException:
            console.print(server.tail(), markup=False)
            raise
        finally:
            server.kill()
    console.print(f"{checks.failed} failed")
    return 1 if checks.failed else 0


def environment(folder: Path) -> dict[str, str]:
    """Everything on a small scale but the models that serve."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    small = {"gate": {"min_questions": JUDGED_ON // 2, "draws": 1000}, "drift": DRIFT}
    (folder / "params.yaml").write_text(yaml.safe_dump(merged(params, small)))
    return {
        "CAPSTONE_PARAMS": str(folder / "params.yaml"),
        "CAPSTONE_TRACK_EVALUATIONS": "false",
        "CAPSTONE_DRIFT_EVERY_S": "1",
        "CAPSTONE_ALERT_TOKEN": TOKEN,
        "CAPSTONE_RETRAIN_PROJECT": str(ROOT),
        "CAPSTONE_RETRAIN_OVERLAY": str(ROOT / "models" / "smoke.yaml"),
        "CAPSTONE_RETRAIN_DATASET": "drive",
        "CAPSTONE_TRAIN_DATA": os.environ.get("CAPSTONE_TRAIN_DATA", ""),
    }


def drive(checks: Checks, http: httpx.Client, watching: Watcher, alerts: Watcher) -> None:
    ingest(http, EXAMPLE.read_bytes(), EXAMPLE.name)
    rows = about_the_example()
    keep_dataset(http, rows[:JUDGED_ON])
    before = http.get("/v1/releases").json()["aliases"]["champion"]

    told = [ask(http, row["question"]) for row in rows[JUDGED_ON : JUDGED_ON + DRIFT["reference_rows"] - CORRECTED]]
    for row in rows[-CORRECTED:]:  # in other words, so that they are not the training questions that there are
        told.append(ask(http, f"I wonder: {row['question']}"))
        said = {"verdict": "down", "corrected_answer": row["answer"], "quote": row["quote"], "by": "the drive"}
        http.post(f"/v1/answers/{told[-1]['id']}/feedback", json=said).raise_for_status()
    wait_for("a reference", lambda: http.get("/v1/drift").json()["reference"] is not None, 60)
    for row in rows[-CORRECTED - DRIFT["window_rows"] : -CORRECTED]:
        ask(http, row["question"])
    wait_for("a judged window", lambda: [one["drift"] for one in windows(http)] in ([True], [False]), 120)
    same = [one["drift"] for one in windows(http)] == [False]
    checks.check("a window of the same traffic is steady", same)
    checks.check("nothing fires before the traffic shifts", not firing(alerts) and not runs(http))
    refuse_strangers(checks, http)

    begun = time.monotonic()
    for question in SHIFTED:
        ask(http, question)
    wait_for("an alert in Alertmanager", lambda: "DriftDetected" in firing(alerts), 120)
    drifted = [one["drift"] for one in windows(http)] == [True, False]
    checks.check("the shifted traffic fires DriftDetected", drifted, f"{time.monotonic() - begun:.0f} s")
    wait_for("a run", lambda: runs(http) != [], 60)
    [run] = runs(http)
    checks.check("the alert has opened a run", run["alert"]["name"] == "DriftDetected", run["id"])

    begun, steady = time.monotonic(), Steady(http, rows[0]["question"])
    wait_for("a training", lambda: run_now(http)["status"] == "running", 60)
    again = metric(http, 'alerts_received_total{outcome="replayed"}')
    wait_for("a repetition", lambda: metric(http, 'alerts_received_total{outcome="replayed"}') > again, 60)
    checks.check("the alert is repeated, and there is still one run", len(runs(http)) == 1)
    watching.kill()
    checks.check("without Prometheus the service answers", "answer" in ask(http, rows[1]["question"]))
    wait_for("the decision", lambda: run_now(http)["status"] not in ("queued", "running"), WITHIN_S)
    steady.end()
    report(checks, http, time.monotonic() - begun, before)
    checks.check("while it was retrained every question was answered", not steady.failed, f"{steady.asked} asked")


def report(checks: Checks, http: httpx.Client, took_s: float, before: Any) -> None:
    """What is left of the run."""
    run = run_now(http)
    console.print_json(json.dumps({name: run[name] for name in run if name != "log"}))
    decided = run["status"] in ("refused", "waiting_approval") and run["verdict"] is not None
    checks.check("the gate has decided", decided, run["detail"] or run["error"])
    if not decided:
        console.print(run["log"], markup=False)
        return
    checks.check(f"within {WITHIN_S:.0f} s", took_s < WITHIN_S, f"{took_s:.0f} s")
    names = [step["name"] for step in run["steps"] if step["ended_at"]]
    wanted = ["clone", "corrections", "dvc repro", "register"]
    checks.check(
        "every step was done once",
        names == ["snapshot", "training", *(f"training: {one}" for one in wanted), "evaluation"],
    )
    facts = run["facts"]
    used = facts["evaluation_from_feedback"] + facts["training_candidates"]
    checks.check("every correction was used", used == CORRECTED and facts["training_candidates"] > 0, str(facts))
    verdict = http.get(run["verdict_url"]).raise_for_status().json()
    checks.check("about the challenger, and the live release", verdict["challenger"]["release"] == run["release"])
    aliases = http.get("/v1/releases").json()["aliases"]
    checks.check("the challenger is registered", aliases["challenger"]["release"] == run["release"], run["release"])
    checks.check("what is live is as it was", aliases["champion"] == before, str(before))


def refuse_strangers(checks: Checks, http: httpx.Client) -> None:
    body = notification(alert(0))
    statuses = [
        http.post("/v1/alerts", json=body).status_code,
        http.post("/v1/alerts", json=body, headers={"Authorization": "Bearer wrong"}).status_code,
        http.post("/v1/alerts", content=b"{", headers={"Authorization": f"Bearer {TOKEN}"}).status_code,
    ]
    checks.check("strangers and nonsense open nothing", statuses == [401, 401, 422] and not runs(http), statuses)


class Steady:
    """Somebody who asks all the time."""

    def __init__(self, http: httpx.Client, question: str) -> None:
        self.asked = 0
        self.failed: list[str] = []
        self._ended = threading.Event()
        self._http, self._question = http, question
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._ended.wait(5):
            self.asked += 1
            try:
                ask(self._http, self._question)
            except httpx.HTTPError as error:
                self.failed.append(repr(error))

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def about_the_example() -> list[dict[str, Any]]:
    """Questions with answers, as a dataset has them."""
    with (ROOT / "models" / "data" / "questions.jsonl").open() as file:
        rows = [row for row in map(json.loads, file) if row["document"] == EXAMPLE.name and row["page"]]
    return [row | {"pages": [row["page"]]} for row in rows]


def keep_dataset(http: httpx.Client, rows: list[dict[str, Any]]) -> None:
    """Under the name `drive`. What is started with it need not be done."""
    files = {"file": ("drive.jsonl", jsonl(rows))}
    started = http.post("/v1/evaluations", files=files, data={"dataset": "drive"}).raise_for_status().json()
    http.post(f"{started['job']['url']}/cancel").raise_for_status()


def ask(http: httpx.Client, question: str) -> dict[str, Any]:
    return dict(http.post("/v1/answers", json={"question": question, "max_tokens": 48}).raise_for_status().json())


def windows(http: httpx.Client) -> list[dict[str, Any]]:
    """Newest first."""
    return list(http.get("/v1/drift").raise_for_status().json()["windows"])


def runs(http: httpx.Client) -> list[dict[str, Any]]:
    return list(http.get("/v1/retraining-runs").raise_for_status().json()["data"])


def run_now(http: httpx.Client) -> dict[str, Any]:
    return runs(http)[0]


def firing(alerts: Watcher) -> set[str]:
    return {one["labels"]["alertname"] for one in alerts.get("/api/v2/alerts?active=true")}


def metric(http: httpx.Client, series: str) -> float:
    lines = http.get("/metrics").raise_for_status().text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), 0.0)


def wait_for(what: str, there: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not there():
        if time.monotonic() > deadline:
            raise AssertionError(f"There was not {what} within {within_s:.0f} s.")
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
