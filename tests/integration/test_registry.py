"""The registry against real folders: only an unchanged model is resolved."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from services.core.errors import ModelProblem
from services.core.registry import MANIFEST, Origin, Training, read_manifest, resolve, verify, write_manifest

ORIGIN = Origin("encoder", "tiny", "path:somewhere", "0" * 64, "Apache-2.0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 8)
    (folder / "config.json").write_text("{}")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling": "mean"}')
    write_manifest(folder, ORIGIN)
    return folder


def test_unchanged_folder_is_resolved(folder: Path) -> None:
    files = resolve(folder.parent, "encoder")
    assert (files.role, files.name, files.folder) == ("encoder", "tiny", folder)
    assert files.id.startswith("tiny@") and len(files.id) == len("tiny@") + 12


def test_id_follows_the_bytes_only(folder: Path) -> None:
    first = verify(folder)
    (folder / MANIFEST).unlink()
    same_bytes = write_manifest(folder, Origin("encoder", "tiny", "wheel:other==1", "1" * 64, "MIT"))
    assert same_bytes.id == first.id
    assert verify(folder).manifest_sha256 != first.manifest_sha256
    (folder / "config.json").write_text("{ }")
    assert write_manifest(folder, ORIGIN).id != first.id


@pytest.mark.parametrize("position", [0, 1000, 2047])
def test_one_flipped_bit_is_refused(folder: Path, position: int) -> None:
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[position] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelProblem, match=r"model\.safetensors has changed: .*capstone fetch"):
        resolve(folder.parent, "encoder")


def test_missing_file_is_refused(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ModelProblem, match=r"1_Pooling/config\.json cannot be read .*capstone fetch"):
        verify(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "1_Pooling/extra.pkl", "adapter_config.json", "modeling.py"])
def test_unlisted_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"x")
    with pytest.raises(ModelProblem, match=rf"{name} is not listed"):
        verify(folder)


def test_unlisted_linked_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "2_Dense").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelProblem, match="2_Dense is not listed"):
        verify(folder)


@pytest.mark.parametrize("name", ["model.pt", "weights.pickle", "code.py", "optimizer.bin"])
def test_file_that_runs_code_is_refused_even_if_listed(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"x")
    write_manifest(folder, ORIGIN)
    with pytest.raises(ModelProblem, match=f"{name} is of a kind that is never loaded"):
        verify(folder)


def test_no_folder_is_a_problem_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelProblem, match=r"There is no model in .*capstone fetch"):
        resolve(tmp_path, "generator")


def test_folder_of_another_role_is_refused(folder: Path) -> None:
    folder.rename(folder.parent / "generator")
    with pytest.raises(ModelProblem, match="for the role 'encoder'"):
        resolve(folder.parent, "generator")


def test_edited_manifest_is_refused(folder: Path) -> None:
    """Weights and their hash changed together still do not have the recorded id."""
    body = json.loads((folder / MANIFEST).read_text())
    body["files"]["config.json"]["bytes"] = 3
    (folder / MANIFEST).write_text(json.dumps(body))
    with pytest.raises(ModelProblem, match="its id should be"):
        verify(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 2, "reads format 1"),
        ("files", {"../secret.json": {"sha256": "0" * 64, "bytes": 1}}, "outside its folder"),
        ("files", {os.sep + "etc/passwd": {"sha256": "0" * 64, "bytes": 1}}, "outside its folder"),
        ("files", ["config.json"], "is damaged"),
        ("files", {"config.json": {"bytes": 2}}, "is damaged"),
    ],
)
def test_damaged_manifest_is_refused(folder: Path, key: str, value: object, message: str) -> None:
    body = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**body, key: value}))
    with pytest.raises(ModelProblem, match=message):
        verify(folder)


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', "\x00"])
def test_manifest_that_is_not_one_is_refused(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content)
    with pytest.raises(ModelProblem, match="is damaged"):
        verify(folder)


TRAINING = Training("base@0123456789ab", "1" * 64, "2" * 64, "3" * 40, {"accuracy": 0.75, "loss": 0.5})


def test_the_training_is_kept_and_leaves_the_id_alone(folder: Path) -> None:
    bare = verify(folder)
    assert bare.training is None
    assert write_manifest(folder, ORIGIN, TRAINING).training == TRAINING
    assert (verify(folder).training, verify(folder).id) == (TRAINING, bare.id)
    assert read_manifest(folder).training == TRAINING


@pytest.mark.parametrize(
    "training", [{}, [], "x", {"base": "x"}, {"metrics": []}, {"metrics": {"loss": None}}, {"metrics": {"loss": "low"}}]
)
def test_a_damaged_training_is_refused(folder: Path, training: object) -> None:
    write_manifest(folder, ORIGIN, TRAINING)
    body = json.loads((folder / MANIFEST).read_text())
    whole = {**body["training"], **training} if isinstance(training, dict) and "metrics" in training else training
    (folder / MANIFEST).write_text(json.dumps({**body, "training": whole}))
    with pytest.raises(ModelProblem, match="is damaged"):
        verify(folder)
