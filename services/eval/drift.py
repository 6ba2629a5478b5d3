"""A window of captures beside a reference -> tests, each with a score that is above its threshold where it drifted.

The vectors of the questions are compared as a whole, each figure by itself. Evidently compares the figures, and makes
the page for people; it is large, so it runs in a child process (`drift_report.py`).
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.captures import Rows
from services.core.drift_rules import DriftRules
from services.core.errors import JobProblem
from services.eval.child import DETAIL_MAX_CHARS, run_child

QUESTIONS = "questions"
INPUT, OUTPUT, REPORT = "input.json", "p_values.json", "report.html"  # of the child, in its folder
_CHILD = "services.eval.drift_report"
_SMALLEST_P = 1e-300

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DriftTest:
    """`score` above `threshold` is drift, which is to say a `p_value` at or below the level of the test.

    Of the questions, the score is the squared distance of the two samples (MMD); of a figure, -log10 of the p-value.
    """

    name: str
    score: float
    threshold: float
    p_value: float
    drift: bool

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def questions_test(reference: Vectors, window: Vectors, rules: DriftRules) -> DriftTest:
    """Do both samples of unit vectors, (n, dim) and (m, dim), come from the same questions?

    The biased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, equation 5) with a Gaussian kernel
    as wide as the median distance inside the reference. Its distribution without drift comes from exchanging rows
    between the two, so p = (1 + those at least as large) / (1 + permutations) is valid for any sizes. The same rows
    give the same score.
    """
    both = np.concatenate([reference, window]).astype(np.float64)
    squared = np.maximum(2.0 - 2.0 * both @ both.T, 0.0)
    inside = squared[: len(reference), : len(reference)][np.triu_indices(len(reference), 1)]
    width = float(np.median(inside)) or 1.0  # a squared distance; 0 where all are the same question
    kernel = np.exp(-squared / (2.0 * width))
    weights = np.full(len(both), 1.0 / len(reference))
    weights[len(reference) :] = -1.0 / len(window)
    rng = np.random.default_rng(rules.seed)
    drawn = rng.permuted(np.tile(weights, (rules.permutations, 1)), axis=1)
    score = float(weights @ kernel @ weights)
    without = np.sort(np.einsum("ij,ij->i", drawn @ kernel, drawn))[::-1]
    allowed = math.floor(rules.questions_level * (rules.permutations + 1) + 1e-9) - 1  # draws that may be as large
    threshold = float(without[allowed]) + 1e-12  # sums in another order differ by less
    as_large = int((without >= score - 1e-12).sum())
    p_value = (1 + as_large) / (1 + rules.permutations)
    return DriftTest(QUESTIONS, score, threshold, p_value, score > threshold)


def figure_tests(p_values: Mapping[str, float], rules: DriftRules) -> list[DriftTest]:
    threshold = -math.log10(rules.figure_level)
    found = {name: -math.log10(max(p_values[name], _SMALLEST_P)) for name in rules.figures}
    return [DriftTest(name, score, threshold, p_values[name], score > threshold) for name, score in found.items()]


def drifted(tests: Sequence[DriftTest]) -> bool:
    return any(test.drift for test in tests)


def judge(
    reference: Rows, window: Rows, rules: DriftRules, *, within_s: float, wait: Callable[[], None]
) -> tuple[list[DriftTest], bytes]:
    """The tests, and the page of Evidently. `wait()` is called meanwhile; what it raises ends the judging.

    Raises JobProblem `drift_not_judged` if Evidently cannot do it.
    """
    with tempfile.TemporaryDirectory(prefix="capstone-drift-") as name:
        folder = Path(name)
        asked = {"reference": reference.figures, "window": window.figures, "tested": rules.figures}
        (folder / INPUT).write_text(json.dumps(asked | {"level": rules.figure_level}))
        detail = run_child(_CHILD, folder, {}, what="Evidently", within_s=within_s, wait=wait)
        if detail is not None:
            raise JobProblem("drift_not_judged", f"The window could not be judged: {detail[-DETAIL_MAX_CHARS:]}")
        p_values = json.loads((folder / OUTPUT).read_text())
        html = (folder / REPORT).read_bytes()
    return [questions_test(reference.vectors, window.vectors, rules), *figure_tests(p_values, rules)], html
