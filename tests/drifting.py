"""Captures that were made up, and rules small enough for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from services.core.captures import FIGURES, Capture, Kind
from services.core.drift_rules import DriftRules

KIND = Kind("capstone@one", "hashing-384")
OTHER = Kind("capstone@two", "hashing-384")
RULES = DriftRules(
    reference_rows=40,
    window_rows=20,
    min_rows=5,
    level=0.02,
    permutations=199,
    seed=1,
    in_a_row=2,
    figures=["question_words", "top_score", "abstained"],
)


def captures(count: int, kind: Kind = KIND, start: int = 0) -> list[Capture]:
    """Each one's figures are its number."""
    return [
        Capture(kind, "default", 1e9, np.full(4, at, np.float32), dict.fromkeys(FIGURES, float(at)))
        for at in range(start, start + count)
    ]


def write_params(folder: Path, rules: DriftRules = RULES) -> Path:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({"drift": rules.model_dump()}))
    return path
