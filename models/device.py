"""Where the offline path computes: on the GPU if there is one."""

from __future__ import annotations

import torch


def device() -> str:
    """PyTorch's name of it."""
    return "cuda" if torch.cuda.is_available() else "cpu"
