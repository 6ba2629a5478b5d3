"""A classifier of one's own: the three lines of the manual, with topics that any machine of ours has at hand."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from models.classifier.data import Example, read_examples, split
from models.classifier.own import train_own
from models.classifier.params import ClassifierParams
from models.errors import BadInput
from models.params import load_params
from services.core.classifier import TransformersClassifier
from services.core.registry import resolve, verify

ROOT = Path(__file__).resolve().parents[2]
FIELDS = "${Section}\t${Package}\t${binary:Summary}\n"
FEWEST = 20  # rows of a topic
MANUALS = 8


@pytest.fixture
def params() -> ClassifierParams:
    """Those of the project, but as short as a topic needs."""
    ours = load_params(ROOT / "params.yaml").classifier
    schedule = ours.training.model_copy(
        update={
            "epochs": 5,
            "batch_size": 16,
            "micro_batch_size": 16,
            "learning_rate": 4e-4,
            "max_steps": 125,
            "evaluate_every": 40,
        }
    )
    return ours.model_copy(update={"training": schedule, "max_tokens": 48})


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So small batches gain nothing from a second thread, and on busy cores two wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def base_dir(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models with the real base, and a tracking store of our own."""
    if not (models_dir / "classifier-base" / "manifest.json").is_file():
        pytest.skip("the classifier's base is not fetched: run `make weights`")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "classifier-base").symlink_to(models_dir / "classifier-base")
    return tmp_path / "models"


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    """`rows` are (label, text); labels with fewer than FEWEST rows are left out."""
    known = {label for label, count in Counter(label for label, _ in rows).items() if count >= FEWEST}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([text, label] for label, text in rows if label in known)
    return path


def topics(path: Path) -> Path:
    """Installed Debian packages: name and summary -> section. Where there are few, our questions by manual."""
    if shutil.which("dpkg-query") is None:
        return manuals(path)
    listed = subprocess.run(["dpkg-query", "-W", "-f", FIELDS], capture_output=True, text=True, check=True).stdout
    cells = [line.split("\t") for line in sorted(listed.splitlines())]
    rows = [(section, f"{package}: {summary}") for section, package, summary in cells if section and summary]
    return manuals(path) if len(rows) < 300 else write_csv(path, rows)


def manuals(path: Path) -> Path:
    """Our questions -> the manual each is asked of; the MANUALS with the most."""
    lines = (ROOT / "models" / "data" / "questions.jsonl").read_text().splitlines()
    asked = [(row["document"], row["question"]) for row in map(json.loads, lines)]
    chosen = {document for document, _ in Counter(document for document, _ in asked).most_common(MANUALS)}
    return write_csv(path, [row for row in asked if row[0] in chosen])


def test_topics_are_learned_and_served(params: ClassifierParams, base_dir: Path, tmp_path: Path) -> None:
    data, out = topics(tmp_path / "topics.csv"), base_dir / "classifiers" / "topics"
    train_own(params, base_dir, data, "topics", "Apache-2.0", out, Console())

    assert [path.name for path in (base_dir / "classifiers").iterdir()] == ["topics"]
    report = json.loads((out / "figures.json").read_bytes())["test"]
    ours, majority = (report["systems"][name] for name in ("classifier", "majority"))
    for figure in ("accuracy", "macro_f1"):
        assert ours[figure]["low"] > majority[figure]["high"], (figure, ours, majority)
        assert report["classifier_is_better_by"]["majority"][figure]["low"] > 0.05

    served = TransformersClassifier(verify(out), resolve(base_dir, "classifier-base"), threads=1)
    test = held_out(data, params)
    results = served.classify([example.input for example in test])
    right = np.mean([result.label == example.label for result, example in zip(results, test, strict=True)])
    assert right == pytest.approx(ours["accuracy"]["value"], abs=1e-3)
    assert {example.label for example in test} == set(served.labels) == set(report["labels"])


def held_out(data: Path, params: ClassifierParams) -> list[Example]:
    shares = {"validation": params.validation_share, "test": params.test_share}
    return split(read_examples(data), data, **shares, seed=params.training.seed)[2]


@pytest.mark.parametrize("name", ["", "Topics", "../topics", "a b"])
def test_a_name_that_is_no_folder_is_refused(
    params: ClassifierParams, base_dir: Path, tmp_path: Path, name: str
) -> None:
    data = write_csv(tmp_path / "rows.csv", [("ab"[n % 2], f"text {n}") for n in range(60)])
    with pytest.raises(BadInput, match="cannot name a classifier"):
        train_own(params, base_dir, data, name, "Apache-2.0", base_dir / "classifiers" / "x", Console())
    assert not (base_dir / "classifiers").exists()
