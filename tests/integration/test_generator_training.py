"""The generator's training with a tiny base: real processes, real checkpoints, real kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from models.files import write_jsonl
from tests.classifiers import make_base, make_classifier
from tests.tiny import examples, params_file, tiny_generator

LORA = {"rank": 4, "alpha": 8, "first_layer": 1}
TRAINING = {"epochs": 16, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 0.01, "evaluate_every": 5}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    """A working folder with a tiny base and 24 examples to train on."""
    folder = tmp_path_factory.mktemp("train")
    tiny_generator(folder / "models", models_dir / "generator")
    make_classifier(folder / "classifier" / "model", make_base(folder / "models"))
    prepared = folder / "prepared"
    prepared.mkdir()
    rows = examples(32)
    write_jsonl(prepared / "examples.train.jsonl", rows[:24])
    write_jsonl(prepared / "examples.validation.jsonl", rows[24:])
    (prepared / "facts.json").write_text(json.dumps({"data_sha256": "a" * 64}))
    params_file(folder / "params.yaml", {"generator": {"lora": LORA, "training": TRAINING}})
    return folder


def command(place: Path, out: Path, *more: str) -> list[str]:
    options = {"params": place / "params.yaml", "models-dir": place / "models", "prepared": place / "prepared"}
    options["classifier"] = place / "classifier"
    flags = [f"--{name}={value}" for name, value in {**options, "out": out}.items()]
    return ["-m", "models.generator.train", *flags, *more]


def environment(place: Path, processes: int = 1) -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": str(2 // processes)}
    return {**os.environ, **threads, "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}", "DO_NOT_TRACK": "1"}


def run(place: Path, out: Path, processes: int = 1) -> dict[str, Any]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    done = subprocess.run(
        [sys.executable, *launcher, *command(place, out)],
        env=environment(place, processes),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads((out / "curve.json").read_bytes()))


@pytest.fixture(scope="module")
def whole(place: Path) -> tuple[Path, dict[str, Any]]:
    out = place / "whole"
    return out, run(place, out)


def test_the_loss_falls_and_the_best_weights_are_kept(whole: tuple[Path, dict[str, Any]]) -> None:
    out, curve = whole
    losses = [point["loss"] for point in curve["validation"]]
    assert losses == sorted(losses, reverse=True)  # steadily
    assert curve["best_step"] == min(curve["validation"], key=lambda point: point["loss"])["step"]
    config = json.loads((out / "adapter" / "adapter_config.json").read_bytes())
    assert config["base_model_name_or_path"].startswith("tiny-llama@")
    assert config["layers_to_transform"] == [1, 2]
    assert not out.with_name("whole.work").exists()


def test_a_killed_training_goes_on_where_it_was(place: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    out = place / "killed"
    work = out.with_name("killed.work")
    process = subprocess.Popen([sys.executable, *command(place, out)], env=environment(place))
    deadline = time.monotonic() + 120
    while not list(work.glob("checkpoint-5/trainer_state.json")):
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    torn = work / "checkpoint-999"  # as if the kill had come while a checkpoint was being written
    torn.mkdir()
    (torn / "adapter_model.safetensors").write_bytes(b"half")

    curve = run(place, out)
    assert curve["validation"] == whole[1]["validation"]
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (out / "adapter" / name).read_bytes() == (whole[0] / "adapter" / name).read_bytes()


def test_two_processes_give_the_curve_of_one(place: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    curve = run(place, place / "shared", processes=2)
    assert [point["step"] for point in curve["validation"]] == [point["step"] for point in whole[1]["validation"]]
    for name in ("train", "validation"):
        ours, theirs = ([point["loss"] for point in c[name]] for c in (curve, whole[1]))
        assert ours == pytest.approx(theirs, rel=0.01)


@pytest.mark.parametrize(
    ("overlay", "said"),
    [
        ({"lora": {"first_layer": 3}}, "has 3 layers"),
        ({"lora": {"targets": ["no_such_layer"]}}, "no_such_layer"),
        ({"training": {"batch_size": 5}}, "cannot be cut into micro-batches"),
        ({"base_precision": "nf4"}, "needs an NVIDIA GPU"),
        ({"max_tokens": 64}, "no example that its sentences answer"),
        ({"lora": {"rank": 0}}, "generator.lora.rank"),
    ],
)
def test_parameters_that_do_not_fit(place: Path, tmp_path: Path, overlay: dict[str, Any], said: str) -> None:
    if overlay.get("base_precision") == "nf4" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    trained = {"lora": LORA | overlay.get("lora", {}), "training": TRAINING | overlay.get("training", {})}
    params = params_file(tmp_path / "params.yaml", {"generator": {**overlay, **trained}})
    options = command(place, tmp_path / "out")
    done = subprocess.run(
        [sys.executable, *(f"--params={params}" if part.startswith("--params=") else part for part in options)],
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
