"""A trained adapter <-> its folder: adapter_config.json, adapter_model.safetensors, manifest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from services.core.errors import ModelProblem
from services.core.registry import Manifest, ModelFiles, Origin, Training, write_manifest

LICENCE = "Apache-2.0"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # PEFT's names


def save_adapter(folder: Path, model: Any, name: str, training: Training) -> Manifest:
    """Write the adapter of the PEFT model `model` to `folder`. The caller makes it durable."""
    for facts in model.peft_config.values():
        facts.base_model_name_or_path = training.base  # not the path the base happened to lie at
    model.save_pretrained(folder, safe_serialization=True)
    config = json.loads((folder / CONFIG).read_bytes())
    config["target_modules"] = sorted(config["target_modules"])  # a set, written in another order by every process
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)  # an empty form; our card is made from the figures
    return _manifest(folder, name, training)


def rewrite_adapter(files: ModelFiles, folder: Path, dtype: torch.dtype) -> Manifest:
    """Write the verified adapter `files` to the new folder `folder` with another precision.

    Raises ModelProblem if a weight is not finite in that precision, or the adapter tells of no training.
    """
    if files.training is None:
        raise ModelProblem(f"{files.folder} holds no trained adapter: its manifest tells of no training.")
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(files.folder / WEIGHTS).items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelProblem(f"{files.id}: the weights {name} are not finite as {dtype}; nothing is saved.")
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    shutil.copyfile(files.folder / CONFIG, folder / CONFIG)
    return _manifest(folder, files.name, files.training)


def _manifest(folder: Path, name: str, training: Training) -> Manifest:
    return write_manifest(folder, Origin("adapter", name, "trained", training.data_sha256, LICENCE), training)
