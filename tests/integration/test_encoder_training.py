"""The encoder's training with a tiny base: real processes, and the encoder that comes of it finds more."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from safetensors.torch import load_file

from models.classifier.data import read_examples
from models.encoder.evaluate import report
from models.fetch import fetch_all
from models.files import read_yaml, write_jsonl
from models.progress import Steps
from services.core.encoder import open_encoder
from services.core.registry import resolve, verify
from tests.tiny import params_file, tiny_bert

NAMES = ("anchor", "bell", "chart", "deck", "engine", "flag", "galley", "hull")
PARTS = ("brass", "copper", "felt", "glass", "iron", "linen", "oak", "rope")  # of each, in this order
WORDS = [*NAMES, *PARTS, "what", "is", "the", "made", "of", "?", "it", "needs", "."]
TRAINING = {"epochs": 80, "batch_size": 8, "micro_batch_size": 8, "learning_rate": 0.01, "evaluate_every": 20}
LORA = {"rank": 8, "alpha": 16}


def rows(split: str) -> list[dict[str, Any]]:
    """Which part belongs to which name can only be learned: no word of the question is in the passage. Both splits ask
    the same, since so small a model learns by heart; `reports/encoder.json` is about manuals that were not seen."""
    found = []
    for at, (name, part) in enumerate(zip(NAMES, PARTS, strict=True)):
        other = PARTS[(at + 1) % len(PARTS)]
        for label, text in (("sufficient", part), ("insufficient", other)):
            found.append(
                {
                    "text": f"what is the {name} made of?",
                    "text_pair": f"it needs {text}.",
                    "label": label,
                    "group": f"{split}-{name}",
                    "document": "made.pdf",
                }
            )
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    (folder / "bert").mkdir()
    tiny_bert(folder / "bert", WORDS)
    prepared = folder / "prepared"
    prepared.mkdir()
    for split in ("train", "validation"):
        write_jsonl(prepared / f"pairs.{split}.jsonl", rows(split))
    (prepared / "facts.json").write_text(json.dumps({"data_sha256": "a" * 64}))
    write_params(folder, {})
    fetch_all(folder / "params.yaml", folder / "models", Console(file=io.StringIO()), ["encoder"])
    return folder


def write_params(folder: Path, encoder: dict[str, Any]) -> None:
    path = params_file(folder / "params.yaml", {"encoder": {"lora": LORA, "training": TRAINING}})
    body = read_yaml(path, remedy="")
    for role, source in {"encoder": "path:bert", "encoder-tuned": "lora:encoder+adapter"}.items():
        body["bases"][role] = {"name": f"tiny-{role}", "source": source, "licence": "Apache-2.0"}
    body["encoder"] |= encoder
    path.write_text(yaml.safe_dump(body))


def run(place: Path, out: Path) -> subprocess.CompletedProcess[str]:
    options = {"params": place / "params.yaml", "models-dir": place / "models", "prepared": place / "prepared"}
    flags = [f"--{name}={value}" for name, value in {**options, "out": out}.items()]
    tracking = {"MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}", "DO_NOT_TRACK": "1"}
    env = {**os.environ, **tracking, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "models.encoder.train", *flags]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def adapter(place: Path) -> Path:
    done = run(place, place / "adapter")
    assert done.returncode == 0, done.stderr[-3000:]
    return place / "adapter"


def test_the_loss_falls_and_what_is_written_is_whole_and_half_precise(place: Path, adapter: Path) -> None:
    curve = json.loads((adapter / "curve.json").read_bytes())
    losses = [point["loss"] for point in curve["validation"]]
    assert losses[-1] < losses[0] / 2
    files = verify(adapter)
    assert files.training is not None and files.training.base == resolve(place / "models", "encoder").id
    assert files.training.metrics["validation_loss"] == pytest.approx(min(losses))
    assert {str(tensor.dtype) for tensor in load_file(adapter / "adapter_model.safetensors").values()} == {
        "torch.float16"
    }
    assert not adapter.with_name("adapter.work").exists()


def test_the_tuned_encoder_finds_more(place: Path, adapter: Path) -> None:
    fetch_all(place / "params.yaml", place / "models", Console(file=io.StringIO()))
    tuned, base = (open_encoder(kind, place / "models", 1) for kind in ("tuned", "sentence"))
    asked = read_examples(place / "prepared" / "pairs.validation.jsonl")
    found = report(asked, tuned, base, Steps(Console(file=io.StringIO())))
    assert (found["questions"], found["manuals"]) == (len(NAMES), {"made.pdf": len(PARTS)})
    assert found["systems"]["tuned"]["hit@1"]["value"] >= 0.9
    assert found["systems"]["base"]["hit@1"]["value"] <= 0.5
    assert found["passes"]


def test_training_again_gives_the_same_bytes(place: Path, adapter: Path) -> None:
    done = run(place, place / "again")
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("adapter_model.safetensors", "adapter_config.json", "curve.json"):
        assert (place / "again" / name).read_bytes() == (adapter / name).read_bytes()


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ({"lora": {**LORA, "targets": ["no_such_layer"]}}, "encoder.lora.targets do not fit tiny-encoder@"),
        ({"scale": 0}, "encoder.scale: Input should be greater than 0"),
    ],
)
def test_what_cannot_be_trained_is_told(place: Path, adapter: Path, encoder: dict[str, Any], said: str) -> None:
    write_params(place, encoder)
    try:
        done = run(place, place / "refused")
    finally:
        write_params(place, {})
    assert done.returncode == 2 and said in done.stderr
    assert not (place / "refused").exists()
