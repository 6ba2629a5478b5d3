"""Encoder + LoRA adapter -> one set of weights, the same bytes on every machine.

The merged encoder is as fast as the one that it was tuned from, and its id, which names the vectors in a catalog,
is the hash of its bytes. So the sums must not depend on how a machine orders them: the adapter is stored in half
precision, whose products are exact in float64, and only the result is rounded, once, to float32.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.adapter import CONFIG, WEIGHTS
from models.sources import weights_file
from services.core.errors import ModelProblem

PREFIX, DOWN, UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def merge(adapter: Path, into: Path) -> None:
    """Add the adapter in the folder `adapter` to the weights in the folder `into`.

    W + alpha / r * B A (Hu et al. 2021), with A of shape (r, inputs) and B of (outputs, r). Raises ModelProblem if
    they do not fit each other.
    """
    path = weights_file(into, "encoder")
    weights, low = load_file(path), load_file(adapter / WEIGHTS)
    config = json.loads((adapter / CONFIG).read_bytes())
    scale = config["lora_alpha"] / config["r"]
    for name in sorted(low):
        if name.endswith(DOWN):
            target = name.removeprefix(PREFIX).removesuffix(DOWN) + ".weight"
            try:
                added = scale * (_exact(low[name.removesuffix(DOWN) + UP]) @ _exact(low[name]))
                weights[target] = (_exact(weights[target]) + added).to(weights[target].dtype)
            except (KeyError, RuntimeError) as error:
                raise ModelProblem(f"{adapter}: {name} does not fit the weights in {path.name} ({error}).") from error
    save_file(weights, path, metadata={"format": "pt"})


def _exact(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float64)
