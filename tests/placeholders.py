"""A running platform for the commands in the documents, and what their placeholders stand for on it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from services.core.aliases import CHALLENGER, MODEL
from services.core.catalog import Catalog
from services.core.keys import KeyStore
from services.core.registry import resolve_release
from tests.calls import EXAMPLE, WITHIN_S, ended, ingest, upload
from tests.papers import story
from tests.releases import make_another, make_release
from tests.server import ROOT, Server, start
from tests.shell_blocks import Command
from tests.verdicts import add_verdict, table
from tests.waiting import until

QUESTION = "What is /srv for?"
CAPTURED = 40  # answers that are there from the start: a reference of half of them, and enough for a window
_JOB = re.compile(r"job_[0-9a-f]{28}")
_RULES: dict[str, dict[str, Any]] = {  # so that a few questions say something
    "gate": {"min_questions": 3},
    "drift": {"reference_rows": CAPTURED // 2, "window_rows": 1_000, "min_rows": 5},
}


@dataclass
class Desk:
    """Somebody's folder and terminal beside a platform. Whatever a placeholder needs is made when it is first asked."""

    server: Server
    http: httpx.Client
    folder: Path
    env: Mapping[str, str]
    shipped: str = ""  # ids of releases: of the one that it began with, and of the registry's challenger
    challenger: str = ""
    _ids: dict[str, str] = field(default_factory=dict)

    def written_for(self, command: Command) -> str:
        """The command with this platform's address and identifiers in it, and nothing else changed."""
        text = command.text.replace("http://127.0.0.1:8000", self.server.url)
        if "/cancel" in text:
            return text.replace("JOB", self._cancellable_job())
        if "-X DELETE" in text:
            return text.replace("DOC", self._spare_document())
        for name in ("DOC", "JOB", "EVALUATION", "VERDICT", "WINDOW", "KEY_ID", r"ans_\.\.\."):
            if re.search(rf"(?<![A-Za-z]){name}(?![A-Za-z_])", text):
                text = re.sub(rf"(?<![A-Za-z]){name}(?![A-Za-z_])", self.id_of(name), text)
        return text

    def run(self, command: Command) -> subprocess.CompletedProcess[str]:
        """As a person would: Python blocks by Python, all else by the shell. Then its jobs are waited for."""
        text = self.written_for(command)
        words = (
            [sys.executable, "-c", text] if command.language == "python" else ["bash", "-euo", "pipefail", "-c", text]
        )
        done = subprocess.run(
            words, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
        for job in set(_JOB.findall(done.stdout)):
            if "-X DELETE" not in text:
                ended(self.http, job)
        return done

    def need(self, placeholder: str) -> None:
        self.id_of(placeholder)

    def id_of(self, placeholder: str) -> str:
        if placeholder not in self._ids:
            self._make(placeholder)
        return self._ids[placeholder]

    def _make(self, placeholder: str) -> None:
        if placeholder in ("DOC", "JOB"):
            document = ingest(self.http, EXAMPLE.read_bytes(), EXAMPLE.name)
            self._ids |= {"DOC": document["id"], "JOB": document["job"]["id"]}
        elif placeholder == r"ans_\.\.\.":
            self.id_of("DOC")
            answer = self.http.post("/v1/answers", json={"question": QUESTION}).raise_for_status().json()
            self._ids[placeholder] = answer["id"]
        elif placeholder in ("EVALUATION", "VERDICT"):
            against = placeholder == "VERDICT"
            found = self._evaluation(against) or self._new_evaluation(against)
            self._ids[placeholder] = found["verdict"]["id"] if against else found["id"]
        elif placeholder == "KEY_ID":
            catalog = self._catalog()
            self._ids[placeholder] = KeyStore(catalog.database).create("read", name="leaked")[0].id
            catalog.close()
        elif placeholder == "WINDOW":
            window = self.http.post("/v1/drift/windows").raise_for_status().json()
            ended(self.http, window["job"]["id"])
            self._ids[placeholder] = window["id"]

    def _evaluation(self, against: bool) -> dict[str, Any] | None:
        """One that a command has started, under the name that the documents give its questions."""
        known = self.http.get("/v1/evaluations").raise_for_status().json()["data"]
        mine = (one for one in known if one["status"] == "succeeded" and one["dataset"]["name"] == "mine")
        return next((one for one in mine if bool(one["verdict"]) == against), None)

    def _new_evaluation(self, against: bool) -> dict[str, Any]:
        self.id_of("DOC")
        form = {"dataset": "mine"} | ({"release": CHALLENGER, "against": "champion"} if against else {})
        files = {"file": ("questions.jsonl", (self.folder / "questions.jsonl").read_bytes())}
        started = self.http.post("/v1/evaluations", data=form, files=files).raise_for_status().json()
        ended(self.http, started["job"]["id"])
        return dict(self.http.get(f"/v1/evaluations/{started['id']}").raise_for_status().json())

    def _cancellable_job(self) -> str:
        return str(upload(self.http, story("the slow train", 400)).raise_for_status().json()["job"]["id"])

    def _spare_document(self) -> str:
        return str(ingest(self.http, story("the short note", 1))["id"])

    # Releases ------------------------------------------------------------------------------------------------------

    def let_pass(self) -> None:
        """The gate's word that the challenger may take the place of the shipped release, which is live."""
        self.shipped_is_live()
        catalog = self._catalog()
        add_verdict(catalog, self.shipped, self.challenger, gain=0.1)
        catalog.close()

    def promoted_once(self) -> None:
        """There is a release to go back to."""
        if self._alias("previous") is None:
            self.let_pass()
            self.http.post("/v1/releases", json={"release": CHALLENGER}).raise_for_status()

    def shipped_is_live(self) -> None:
        if self._alias("champion") == self.challenger:
            self.http.post("/v1/releases/rollback").raise_for_status()

    def shipped_was_asked(self) -> None:
        """Drift is told of the release that gave the newest answer: let it be the one that has a reference."""
        self.shipped_is_live()

        def asked() -> bool:
            self.http.post("/v1/answers", json={"question": QUESTION, "max_tokens": 2}).raise_for_status()
            return bool(self.http.get("/v1/drift").raise_for_status().json()["release"] == self.shipped)

        until(asked)

    def _catalog(self) -> Catalog:
        return Catalog(f"sqlite:///{Path(self.env['CAPSTONE_DATA_DIR']) / 'catalog.db'}")

    def _alias(self, name: str) -> str | None:
        named = self.http.get("/v1/releases").raise_for_status().json()["aliases"][name]
        return named["release"] if named else None


def folder_of_a_user(folder: Path) -> Path:
    """A checkout with the files that the documents speak of; what commands write there is not written into ours."""
    folder.mkdir(parents=True)
    for entry in ROOT.iterdir():
        if entry.name not in (".git", ".venv", "data"):
            (folder / entry.name).symlink_to(entry)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "folder" / "of" / "pdfs").mkdir(parents=True)
    (folder / "manual.pdf").write_bytes(story("the manual", 2))
    (folder / "folder" / "of" / "pdfs" / "other.pdf").write_bytes(story("the other one", 2))
    rows = (json.loads(line) for line in (ROOT / "models" / "data" / "questions.jsonl").read_text().splitlines())
    about = [row for row in rows if row["document"] == EXAMPLE.name and row["kind"] != "unanswerable"]
    lines = [json.dumps({**row, "pages": [row["page"]]}) + "\n" for row in about[:3]]  # as many as the gate wants
    (folder / "questions.jsonl").write_text("".join(lines))
    for name, quality in (("champion", 0.4), ("challenger", 0.6)):
        scores = table(f"capstone@{name}", quality)
        said = {"release": scores.release, "questions_sha256": scores.questions_sha256, "scores": scores.values}
        (folder / f"{name}.json").write_text(json.dumps(said))
    return folder


def environment(server: Server, folder: Path, data_dir: Path) -> dict[str, str]:
    """A terminal in which `.venv` is active; curl says nothing but the body, and fails where the platform refuses."""
    (folder / ".curlrc").write_text("silent\nshow-error\nfail-with-body\nmax-time = 100\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CAPSTONE_")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ours = {"U": server.url, "CAPSTONE_URL": server.url, "CAPSTONE_DATA_DIR": str(data_dir), "KEY": "any"}
    clean |= ours | {"CURL_HOME": str(folder), "PATH": path, "PYTHONPATH": str(ROOT)}
    return clean | {"COLUMNS": "160", "NO_COLOR": "1", "TERM": "dumb"}


def small_platform(root: Path) -> tuple[Server, str, str]:
    """`capstone up` with a release of tiny weights, another one that a real MLflow calls `challenger`, and answers that
    were captured; and the ids of both."""
    places = make_release(root / "made")
    other = make_another(places, root / "other", seed=11, name="other")
    challenger = resolve_release(other.folder, other.models_dir).id
    rules = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, changes in _RULES.items():
        rules[section] |= changes
    (root / "params.yaml").write_text(yaml.safe_dump(rules))
    data_dir = root / "data"
    _register(data_dir / "mlflow", other.folder, challenger)
    env = {
        "CAPSTONE_RELEASE_DIR": str(places.folder),
        "CAPSTONE_MODELS_DIR": str(places.models_dir),
        "CAPSTONE_PARAMS": str(root / "params.yaml"),
        "CAPSTONE_ENCODER": "hashing",
        "CAPSTONE_JOB_POLL_S": "0.05",
        "CAPSTONE_RELEASE_POLL_S": "0.2",
        "CAPSTONE_DRIFT_EVERY_S": "0.2",
        "CAPSTONE_TRACK_EVALUATIONS": "false",
    }
    return start(env, data_dir), resolve_release(places.folder, places.models_dir).id, challenger


def _register(folder: Path, release: Path, release_id: str) -> None:
    """Version 1 in the registry that the platform has when none is set, as `make register` makes one."""
    from mlflow import MlflowClient

    folder.mkdir(parents=True)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri, registry_uri=uri)
    client.create_registered_model(MODEL)
    run = client.create_run(client.create_experiment("made", (folder / "artifacts").as_uri())).info
    client.log_artifacts(run.run_id, str(release), "release")
    source = f"{run.artifact_uri}/release"
    version = client.create_model_version(MODEL, source, run.run_id, tags={"release": release_id})
    client.set_registered_model_alias(MODEL, CHALLENGER, version.version)


def ask_much(http: httpx.Client, questions: int = CAPTURED) -> None:
    """Answers for drift to be told by: half of them become the reference."""
    for number in range(questions):
        http.post("/v1/answers", json={"question": f"{QUESTION} {number}", "max_tokens": 2}).raise_for_status()
    until(lambda: http.get("/v1/drift").raise_for_status().json()["reference"] is not None)
