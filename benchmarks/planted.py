"""Does the gate see a release that is really worse, and one that is really better? Over real evaluations.

    python benchmarks/planted.py [--manuals DIR] [--answers extractive|generated]

Starts `capstone up` on an empty data folder with the release that ships, and plants three more in its registry:
`worse`, the same with the two labels of its classifier exchanged, so that it takes what does not answer for what does;
`shuffled`, the same with the rows of its adapter's weights in another order, so that it says other words than it
learned; and `same`, which differs by its name alone. Each comparison is one evaluation that asks both releases every
question in turn, as `capstone evaluate --release ... --against champion` does, about the example document (and manuals
in DIR). Then what is said is tried: promotions that must be refused, an override, one that must pass, a rollback.
Prints each verdict, with the gate's own intervals. Exit code 1 if anything comes out otherwise.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import torch
from _side_by_side import REPOSITORY, capstone_server
from safetensors.torch import load_file, save_file

sys.path.append(str(REPOSITORY))

from services.core.aliases import MODEL
from services.core.registry import read_manifest, resolve_release, write_manifest, write_release
from services.core.version import git_commit
from tests.calls import client_of, ingest

EXAMPLE = REPOSITORY / "examples" / "fhs-3.0.pdf"
SHIPPED = REPOSITORY / "release"
QUESTIONS = REPOSITORY / "models" / "data" / "questions.jsonl"
WITHIN_S = 3600.0
REASON = "A benchmark wants to see the worse release replaced by the better one."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=REPOSITORY / "data" / "models", help="CAPSTONE_MODELS_DIR")
    parser.add_argument("--manuals", type=Path, help="a folder of further PDFs that questions.jsonl asks about")
    parser.add_argument("--answers", choices=["extractive", "generated"], default="extractive")
    given = parser.parse_args()
    manuals = [EXAMPLE, *sorted(given.manuals.glob("*.pdf") if given.manuals else [])]
    models, wrong = given.models.resolve(), []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        shipped = resolve_release(SHIPPED, models).id
        worse = planted(root / "worse", models, "worse")
        shuffled = planted(root / "shuffled", models, "shuffled")
        same = planted(root / "same", models, "same")
        made = {"worse": worse, "shuffled": shuffled, "same": same}
        numbers = {name: registered(root, name, release) for name, release in made.items()}
        settings = {"CAPSTONE_ANSWERS": given.answers, "CAPSTONE_TRACK_EVALUATIONS": "false"}
        with capstone_server(root / "data", models, settings=settings) as url, client_of(url) as http:
            for manual in manuals:
                ingest(http, manual.read_bytes(), manual.name)
            rows = questions({manual.name for manual in manuals})
            print(f"shipped {shipped}, {made}; {len(rows)} questions, {given.answers}")
            upload(http, rows)

            def judged(name: str, release: str, wanted: bool) -> None:
                passed = compared(http, name, release)
                if passed is not wanted:
                    wrong.append(f"{name}: the gate says {passed}")

            def tried(name: str, path: str, body: dict[str, str], wanted: int) -> None:
                answer = http.post(path, json=body)
                code = answer.json().get("code", "")
                print(f"{name:40} {answer.status_code} {code}", flush=True)
                if answer.status_code != wanted:
                    wrong.append(f"{name}: {answer.text}")

            judged("shuffled against shipped", numbers["shuffled"], False)
            tried("promote shuffled", "/v1/releases", {"release": numbers["shuffled"]}, 409)
            judged("worse against shipped", numbers["worse"], False)
            tried("promote worse", "/v1/releases", {"release": numbers["worse"]}, 409)
            judged("same against shipped", numbers["same"], False)
            tried("promote same", "/v1/releases", {"release": numbers["same"]}, 409)
            override = {"release": numbers["worse"], "override_reason": REASON}
            tried("promote worse with an override", "/v1/releases", override, 201)
            judged("shipped against worse", shipped, True)
            tried("promote shipped", "/v1/releases", {"release": shipped}, 201)
            tried("roll back", "/v1/releases/rollback", {}, 201)
    for line in wrong:
        print(f"NOT AS IT SHOULD BE: {line}")
    raise SystemExit(1 if wrong else 0)


def planted(folder: Path, models: Path, name: str) -> str:
    """A copy of the shipped release in `folder`, called `name`, spoilt if it is one that should be; returns its id."""
    shipped = resolve_release(SHIPPED, models)
    shutil.copytree(SHIPPED, folder)
    if name == "worse":
        place = folder / "classifier"
        tensors = load_file(place / "model.safetensors")
        for tensor in ("classifier.weight", "classifier.bias"):
            tensors[tensor] = tensors[tensor].flip(0).contiguous()
        save_file(tensors, place / "model.safetensors", {"format": "pt"})
        known = read_manifest(SHIPPED / "classifier")
        write_manifest(place, known.origin, known.training)
    if name == "shuffled":
        place = folder / "adapter"
        tensors = load_file(place / "adapter_model.safetensors")
        order = torch.Generator().manual_seed(7)
        for tensor, rows in tensors.items():
            tensors[tensor] = rows[torch.randperm(len(rows), generator=order)].contiguous()
        save_file(tensors, place / "adapter_model.safetensors", {"format": "pt"})
        known = read_manifest(SHIPPED / "adapter")
        write_manifest(place, known.origin, known.training)
    release = write_release(
        folder,
        models,
        name=name,
        prompt=shipped.prompt,
        thresholds=shipped.thresholds,
        plan=shipped.plan,
        sentences=shipped.sentences,
        git_commit=git_commit(),
    )
    return release.id


def registered(root: Path, name: str, release: str) -> str:
    """The number of a new version in the registry that the server will have, as `make register` makes one."""
    from mlflow import MlflowClient

    folder = root / "data" / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri, registry_uri=uri)
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    known = client.get_experiment_by_name("planted")
    experiment = known.experiment_id if known else client.create_experiment("planted", (folder / "artifacts").as_uri())
    run = client.create_run(experiment).info
    client.log_artifacts(run.run_id, str(root / name), "release")
    tags = {"release": release}
    return str(client.create_model_version(MODEL, f"{run.artifact_uri}/release", run.run_id, tags=tags).version)


def questions(documents: set[str]) -> list[dict[str, Any]]:
    """The training set's questions about `documents`, in the form that an evaluation takes."""
    rows = [json.loads(line) for line in QUESTIONS.read_text().splitlines()]
    return [
        {**row, "pages": [row["page"]] if row.get("page") and row["kind"] != "unanswerable" else []}
        for row in rows
        if row["document"] in documents
    ]


def upload(http: httpx.Client, rows: list[dict[str, Any]]) -> None:
    """Keep the questions under the name `planted`, without asking them."""
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    response = http.post("/v1/evaluations", files={"file": ("planted.jsonl", body)}, data={"dataset": "planted"})
    response.raise_for_status()
    http.post(f"{response.json()['job']['url']}/cancel").raise_for_status()


def compared(http: httpx.Client, name: str, release: str) -> bool:
    """Evaluate `release` against the champion, print the verdict, and return whether it passes."""
    begun = time.monotonic()
    form = {"dataset": "planted", "release": release, "against": "champion"}
    evaluation = http.post("/v1/evaluations", data=form).raise_for_status().json()
    while http.get(evaluation["job"]["url"]).json()["status"] in ("queued", "running"):
        time.sleep(1)
        if time.monotonic() - begun > WITHIN_S:
            raise SystemExit(f"{name}: not finished after {WITHIN_S:.0f} s")
    evaluation = http.get(f"/v1/evaluations/{evaluation['id']}").json()
    if evaluation["status"] != "succeeded":
        raise SystemExit(f"{name}: {evaluation['error']}")
    verdict = evaluation["verdict"]
    print(f"\n{name}: {'passes' if verdict['passed'] else 'does not pass'} ({time.monotonic() - begun:.0f} s)")
    if verdict["url"]:
        for metric, one in http.get(verdict["url"]).json()["metrics"].items():
            change = f"{one['estimate']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
            sides = f"{one['champion']:.3f} -> {one['challenger']:.3f}"
            print(
                f"    {metric:20} {sides:18} {one['compare']:10} {change}, held {one['passed']}, gained {one['gained']}"
            )
    for line in verdict["why"]:
        print(f"    {line}", flush=True)
    return bool(verdict["passed"])


if __name__ == "__main__":
    main()
