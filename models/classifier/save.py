"""A trained classifier <-> its folder: everything but the word embeddings, which stay with the base.

The word embeddings are not trained, so half of the bytes need not be kept twice. What is left may be written in half
precision; `compare_forms` shows what that changes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import DistilBertForSequenceClassification

from services.core.classifier import CONFIG, WEIGHTS, WORD_EMBEDDINGS, Classifier, ClassifierConfig, Input, load_model
from services.core.errors import ModelProblem
from services.core.registry import Manifest, ModelFiles, Origin, Training, read_manifest, write_manifest

ROLE = "classifier"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a folder tells beside its weights. `source` is what it was trained on, in words."""

    config: ClassifierConfig
    training: Training
    source: str
    licence: str

    @classmethod
    def of(cls, files: ModelFiles) -> Facts:
        """The facts of a classifier that is already in a folder. Raises ModelProblem if they are not all there."""
        if files.training is None:
            raise ModelProblem(f"{files.folder} holds no trained classifier: its manifest tells of no training.")
        origin = read_manifest(files.folder).origin
        return cls(ClassifierConfig.read(files.folder), files.training, origin.source, origin.licence)


def save_classifier(
    folder: Path, model: DistilBertForSequenceClassification, facts: Facts, dtype: torch.dtype = torch.float32
) -> Manifest:
    """Write `model` to the empty `folder` with `dtype` (float32 or float16). The caller makes the folder durable.

    Raises ModelProblem if a weight is not finite in that precision.
    """
    tensors = {name: tensor.detach().to("cpu", dtype) for name, tensor in model.state_dict().items()}
    del tensors[WORD_EMBEDDINGS]
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelProblem(f"{facts.config.name}: the weights {name} are not finite as {dtype}; nothing is saved.")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS, {"format": "pt"})
    config = model.config.to_diff_dict()
    config |= {
        "architectures": ["DistilBertForSequenceClassification"],
        "model_type": model.config.model_type,
        "dtype": str(dtype).removeprefix("torch."),
        "id2label": dict(enumerate(facts.config.labels)),
        "label2id": {label: index for index, label in enumerate(facts.config.labels)},
    }
    for key in ("transformers_version", "_name_or_path"):
        config.pop(key, None)
    _write(folder / "config.json", config)
    _write(folder / CONFIG, asdict(facts.config))
    origin = Origin(ROLE, facts.config.name, facts.source, facts.training.data_sha256, facts.licence)
    return write_manifest(folder, origin, facts.training)


def rewrite(files: ModelFiles, base: ModelFiles, folder: Path, dtype: torch.dtype) -> Manifest:
    """Write the verified classifier `files` to the empty `folder` with another precision."""
    return save_classifier(folder, load_model(files.folder, base.folder), Facts.of(files), dtype)


def compare_forms(trained: Classifier, shipped: Classifier, inputs: Sequence[Input]) -> dict[str, Any]:
    """How far two forms of one classifier are apart on `inputs`: probability differences, and how many labels flip."""
    first, second = trained.classify(inputs), shipped.classify(inputs)
    differences = [
        max(abs(a.scores[label] - b.scores[label]) for label in trained.labels)
        for a, b in zip(first, second, strict=True)
    ]
    return {
        "trained": trained.id,
        "shipped": shipped.id,
        "inputs": len(inputs),
        "largest_probability_difference": float(np.max(differences)),
        "mean_probability_difference": float(np.mean(differences)),
        "label_flips": sum(a.label != b.label for a, b in zip(first, second, strict=True)),
    }


def _write(path: Path, body: Any) -> None:
    path.write_text(json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
