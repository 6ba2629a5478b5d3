"""Stage train_classifier as a process, with a tiny base: what it writes, what it refuses, what half precision loses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from models.classifier.calibrate import read_thresholds
from models.classifier.save import Facts, compare_forms, rewrite
from models.classifier.train import train_stage
from models.errors import BadInput
from models.files import write_jsonl
from models.params import load_params
from services.core.classifier import WORD_EMBEDDINGS, TransformersClassifier, load_model, word_embeddings
from services.core.registry import ModelFiles, resolve, verify
from tests.classifiers import make_base
from tests.tiny import params_file

TRAINING = {
    "max_steps": None,
    "epochs": 3,
    "batch_size": 8,
    "micro_batch_size": 8,
    "learning_rate": 0.003,
    "evaluate_every": 10,
}
STRETCHES = {
    "words": 4,
    "draws": 1,
    "negatives": 2,
    "cloze": 8,
    "training": {**TRAINING, "epochs": 1, "max_steps": None},
}
DATA_SHA256 = "a" * 64


def pairs(questions: range) -> list[dict[str, Any]]:
    """Rows of pairs.*.jsonl: each question asks for a letter, and one of three passages has it."""
    rows = []
    for question in questions:
        for rank in range(1, 4):
            right = rank == question % 3 + 1
            rows.append(
                {
                    "id": f"q{question}/{rank}",
                    "text": f"is there {'abc'[question % 3]}?",
                    "text_pair": "yes, there it is." if right else "nothing of the kind.",
                    "label": "sufficient" if right else "insufficient",
                    "group": f"q{question}",
                    "document": "made.pdf",
                    "retrieval_rank": rank,
                    "retrieval_score": 1 / rank,
                }
            )
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    make_base(folder / "models")
    prepared = folder / "prepared"
    write_jsonl(prepared / "pairs.train.jsonl", pairs(range(40)))
    write_jsonl(prepared / "pairs.validation.jsonl", pairs(range(40, 52)))
    for part, questions in (("train", range(40)), ("validation", range(40, 52))):
        rows = [{"id": f"q{question}", "quote": "there it is"} for question in questions]
        write_jsonl(prepared / f"examples.{part}.jsonl", rows)
    (prepared / "facts.json").write_text(json.dumps({"data_sha256": DATA_SHA256}))
    params_file(folder / "params.yaml", {"classifier": {"training": TRAINING, "stretches": STRETCHES}})
    return folder


def command(place: Path, out: Path, **options: Path) -> list[str]:
    paths = {"params": place / "params.yaml", "models-dir": place / "models", "prepared": place / "prepared"}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in {**paths, "out": out, **options}.items()]
    return [sys.executable, "-u", "-m", "models.classifier.train", *flags]


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}", "OMP_NUM_THREADS": "1"}


def run(place: Path, out: Path, **options: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(place, out, **options), env=environment(place), capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    out = place / "classifier"
    done = run(place, out)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "validation rows accuracy" in done.stdout
    return out


@pytest.fixture(scope="module")
def base(place: Path) -> ModelFiles:
    return resolve(place / "models", "classifier-base")


def test_the_folder_is_a_verified_classifier(trained: Path, base: ModelFiles) -> None:
    assert {path.name for path in trained.iterdir()} == {"model", "curve.json", "figures.json"}
    files = verify(trained / "model")
    assert (files.role, files.name) == ("classifier", "sufficiency")
    assert files.training is not None
    assert (files.training.base, files.training.data_sha256) == (base.id, DATA_SHA256)
    figures = json.loads((trained / "figures.json").read_bytes())["validation"]
    assert files.training.metrics["roc_auc"] == figures["roc_auc"]
    assert not list(trained.parent.glob(".classifier*")), "checkpoints or scratch folders are left"


def test_it_has_learned(trained: Path, base: ModelFiles) -> None:
    figures = json.loads((trained / "figures.json").read_bytes())["validation"]
    assert figures["roc_auc"] > 0.95 and figures["gold_first"] > 0.9
    classifier = TransformersClassifier(verify(trained / "model"), base, threads=1)
    results = classifier.classify([(row["text"], row["text_pair"]) for row in pairs(range(60, 70))])
    right = [result.label == row["label"] for result, row in zip(results, pairs(range(60, 70)), strict=True)]
    assert sum(right) > 0.9 * len(right)
    assert 0 < read_thresholds(trained)["sufficient"] < 1


def test_word_embeddings_stay_those_of_the_base(trained: Path, base: ModelFiles) -> None:
    weights = load_file(trained / "model" / "model.safetensors")
    assert WORD_EMBEDDINGS not in weights
    assert "distilbert.embeddings.position_embeddings.weight" in weights
    model = load_model(trained / "model", base.folder)
    assert torch.equal(model.distilbert.embeddings.word_embeddings.weight, word_embeddings(base.folder))


def test_transformers_config_tells_the_labels(trained: Path) -> None:
    config = json.loads((trained / "model" / "config.json").read_bytes())
    assert config["id2label"] == {"0": "insufficient", "1": "sufficient"}
    assert config["architectures"] == ["DistilBertForSequenceClassification"] and config["dtype"] == "float32"


def test_half_precision_loses_nothing(trained: Path, base: ModelFiles, tmp_path: Path) -> None:
    full = verify(trained / "model")
    (tmp_path / "half").mkdir()
    rewrite(full, base, tmp_path / "half", torch.float16)
    half = verify(tmp_path / "half")
    assert half.id != full.id and Facts.of(half) == Facts.of(full)
    sizes = [(files.folder / "model.safetensors").stat().st_size for files in (half, full)]
    assert sizes[0] < 0.6 * sizes[1]
    inputs = [(row["text"], row["text_pair"]) for row in pairs(range(60, 80))]
    one, other = (TransformersClassifier(files, base, threads=1) for files in (full, half))
    found = compare_forms(one, other, inputs)
    assert found["inputs"] == 60 and found["label_flips"] == 0
    assert 0 < found["largest_probability_difference"] < 0.02
    assert compare_forms(one, one, inputs)["largest_probability_difference"] == 0


def test_a_run_killed_after_the_stretches_does_not_learn_them_again(place: Path, trained: Path) -> None:
    """What the first part leaves is taken up, and gives the same classifier as a run that was not cut off."""
    out = place / "killed"
    work = place / ".killed.work"
    process = subprocess.Popen(command(place, out), env=environment(place), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "sufficiency, whole: step 20 " in line:  # the checkpoint of step 10 is there then
            process.kill()
            break
    process.wait(timeout=60)
    assert (work / "stretches.safetensors").is_file() and not out.exists()
    done = run(place, out)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "sufficiency, stretches: step" not in done.stdout and "sufficiency, whole: goes on from" in done.stdout
    assert verify(out / "model").id == verify(trained / "model").id and not work.exists()


def test_the_same_training_gives_the_same_classifier(place: Path, trained: Path) -> None:
    again = place / "again"
    assert run(place, again).returncode == 0
    assert verify(again / "model").id == verify(trained / "model").id


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("pairs.train.jsonl", None, "pairs.train.jsonl: it cannot be read"),
        ("pairs.train.jsonl", [], "pairs.train.jsonl: it holds no rows"),
        ("pairs.validation.jsonl", [{"text": "a", "text_pair": "b"}], "pairs.validation.jsonl, row 1: label:"),
        ("pairs.train.jsonl", [pairs(range(1))[1]] * 9, "all 9 rows have the label 'insufficient'"),
        ("pairs.train.jsonl", pairs(range(2)), "it has 6 training rows, fewer than one batch of 8"),
        (
            "pairs.validation.jsonl",
            [{**row, "label": "perhaps"} if n else row for n, row in enumerate(pairs(range(3)))],
            "its labels are not insufficient and sufficient",
        ),
    ],
)
def test_bad_rows_end_with_a_sentence_and_leave_nothing(
    place: Path, tmp_path: Path, name: str, rows: list[dict[str, Any]] | None, message: str
) -> None:
    for path in (place / "prepared").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if rows is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out" / "classifier"
    with pytest.raises(BadInput) as caught:
        train_stage(load_params(place / "params.yaml"), place / "models", tmp_path, out, Console())
    assert message in str(caught.value)
    assert not out.parent.exists()


def test_a_missing_file_ends_the_process_with_its_name(place: Path, tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(json.dumps({"data_sha256": DATA_SHA256}))
    done = run(place, tmp_path / "out", prepared=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "pairs.train.jsonl: it cannot be read" in done.stderr and "dvc repro" in done.stderr


def test_a_missing_base_ends_with_a_sentence(place: Path, tmp_path: Path) -> None:
    done = run(place, tmp_path / "out", models_dir=tmp_path)
    assert done.returncode == 2
    assert "There is no model in" in done.stderr and "capstone fetch" in done.stderr
