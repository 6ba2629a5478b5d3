"""How often does the gate pass what it should not, and what does it see? On simulated releases.

    python benchmarks/gate.py [--comparisons 200] [--questions 180] [--unanswerable 36] [--scores A B]

A comparison asks both releases the same questions, drawn anew for each comparison. How hard a question is belongs to
the question; what a release makes of it in one run is chance: two runs of one release differ. Containment by kind of
question comes from reports/generator.json, the share answered and refused from reports/classifier.json. `--scores`
takes two real tables instead, and lets a coin decide for each question whose scores are whose: then nothing has
changed, and the noise is real. Intervals are 95 % Wilson intervals (Wilson 1927). Exit code 1 if the level is not kept.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _side_by_side import REPOSITORY
from numpy.typing import NDArray

from models.params import load_params
from services.core.gate_rules import GateRules
from services.core.intervals import wilson
from services.eval.compare import compare
from services.eval.gate import aligned
from services.eval.scores import read_scores

METRICS = ("quality", "citation_precision", "abstention", "latency")
SPREAD = 0.5  # of chances around their mean, as a Beta's two parameters together: most questions are nearly decided
CITED = 0.7  # of the citations, the share that is on a right page
SECONDS, SLOWNESS, JITTER = 4.0, 0.4, 0.15  # of an answer; logarithmic spread over questions, and over runs
REFUSING = 0.25  # of the time of an answer
BATCH = 200  # comparisons judged at once; bounds the memory

Floats = NDArray[np.float64]
Pair = tuple[Floats, Floats]  # champion and challenger: (comparisons, questions, metrics)


@dataclass(frozen=True)
class Release:
    """What is planted: shares of wrong things made right (above 0) or of right things made wrong, and time."""

    quality: float = 0.0
    citations: float = 0.0
    abstention: float = 0.0
    slower: float = 1.0


@dataclass(frozen=True)
class World:
    """`contained` is the chance of a right answer by kind, `kinds` the share of each kind."""

    kinds: Floats
    contained: Floats
    answered: float
    refused: float
    questions: int
    unanswerable: int

    @classmethod
    def of(cls, reports: Path, questions: int, unanswerable: int) -> World:
        kinds = json.loads((reports / "generator.json").read_bytes())["slices"]["kind"].values()
        counts = np.array([kind["questions"] for kind in kinds], float)
        contained = np.array([kind["contains"]["value"] for kind in kinds])
        abstention = json.loads((reports / "classifier.json").read_bytes())["abstention"]
        answered, refused = (abstention[name]["value"] for name in ("answerable_answered", "unanswerable_refused"))
        return cls(counts / counts.sum(), contained, answered, refused, questions, unanswerable)

    def pairs(self, rng: np.random.Generator, comparisons: int, challenger: Release) -> Pair:
        shape = (comparisons, self.questions)
        open_ended = np.broadcast_to(np.arange(self.questions) < self.unanswerable, shape)
        kind = rng.choice(len(self.kinds), shape, p=self.kinds)
        chances = {
            "right": _chances(rng, self.contained[kind]),
            "cited": _chances(rng, np.full(shape, CITED)),
            "decided": _chances(rng, np.where(open_ended, self.refused, self.answered)),
            "seconds": SECONDS * np.exp(SLOWNESS * rng.standard_normal(shape)),
        }
        old, new = (_run(rng, open_ended, chances, release) for release in (Release(), challenger))
        return old, new


def _chances(rng: np.random.Generator, mean: Floats) -> Floats:
    inside = np.clip(mean, 0.02, 0.98)
    return rng.beta(SPREAD * inside, SPREAD * (1 - inside))


def _moved(chance: Floats, by: float) -> Floats:
    return chance + by * (1 - chance) if by >= 0 else chance * (1 + by)


def _run(
    rng: np.random.Generator, open_ended: NDArray[np.bool_], chances: dict[str, Floats], release: Release
) -> Floats:
    """Scores (comparisons, questions, metrics) of one run, NaN where a metric does not apply."""
    shape = open_ended.shape
    decided = rng.random(shape) < _moved(chances["decided"], release.abstention)
    speaks = decided != open_ended
    right = rng.random(shape) < _moved(chances["right"], release.quality)
    said = np.where(right, rng.beta(8, 3, shape), rng.beta(1, 6, shape))
    quality = np.where(open_ended, np.nan, np.where(speaks, said, 0.0))
    cited = rng.random(shape) < _moved(chances["cited"], release.citations)
    citations = np.where(speaks & ~open_ended, cited.astype(float), np.nan)
    seconds = chances["seconds"] * release.slower * np.exp(JITTER * rng.standard_normal(shape))
    seconds = np.where(speaks, seconds, REFUSING * seconds)
    return np.stack([quality, citations, decided.astype(float), seconds], axis=-1)


def shuffled(first: Floats, second: Floats, rng: np.random.Generator, comparisons: int) -> Pair:
    """Questions drawn anew from two real tables (questions, metrics), whose is whose by a coin for each."""
    picks = rng.integers(0, len(first), (comparisons, len(first)))
    coin = (rng.random(picks.shape) < 0.5)[..., np.newaxis]
    one, other = first[picks], second[picks]
    return np.where(coin, one, other), np.where(coin, other, one)


def passed(make: Callable[[int], Pair], comparisons: int, rules: GateRules) -> int:
    return sum(int(compare(*make(size), rules).passed.sum()) for size in batches(comparisons))


def batches(comparisons: int) -> Iterator[int]:
    for start in range(0, comparisons, BATCH):
        yield min(BATCH, comparisons - start)


PLANTED = {
    "better in quality, half of the wrong made right": Release(quality=0.5),
    "better in quality, a fifth of the wrong made right": Release(quality=0.2),
    "better in quality, a tenth of the wrong made right": Release(quality=0.1),
}
WORSE = {
    "worse in quality": Release(quality=-0.3),
    "better in quality, worse in citations": Release(quality=0.5, citations=-0.4),
    "better in quality, worse in abstention": Release(quality=0.5, abstention=-0.2),
    "better in quality, 1.5 times as slow": Release(quality=0.5, slower=1.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--questions", type=int, default=180)
    parser.add_argument("--unanswerable", type=int, default=36)
    parser.add_argument("--scores", type=Path, nargs=2, help="real tables of two releases, as `capstone gate` takes")
    parser.add_argument("--seed", type=int, default=11)
    given = parser.parse_args()
    rules = load_params(REPOSITORY / "params.yaml").gate
    rng = np.random.default_rng(given.seed)
    if given.scores:
        champion, challenger = map(read_scores, given.scores)
        _, first, second = aligned(champion, challenger, rules)
        kept = told("no change (real scores)", lambda n: shuffled(first, second, rng, n), given.comparisons, rules)
        raise SystemExit(0 if kept <= rules.level else 1)
    assert tuple(rules.metrics) == METRICS, "the simulation knows these metrics only"
    world = World.of(REPOSITORY / "reports", given.questions, given.unanswerable)
    print(
        f"{given.comparisons} comparisons a line, of {given.questions} questions each, "
        f"{given.unanswerable} of them unanswerable"
    )

    def share(name: str, planted: Release) -> float:
        return told(name, lambda n: world.pairs(rng, n, planted), given.comparisons, rules)

    false = share("no change", Release())
    print(f"{'':52}(wanted <= {rules.level})")
    for name, planted in PLANTED.items():
        share(name, planted)
    worse = [share(name, planted) for name, planted in WORSE.items()]
    print(f"{'':52}(wanted 0 for each that is worse)")
    print(f"{time.process_time():.1f} s of processor time")
    raise SystemExit(0 if false <= rules.level and not any(worse) else 1)


def told(name: str, make: Callable[[int], Pair], comparisons: int, rules: GateRules) -> float:
    """Print, and return, the share that passes."""
    count = passed(make, comparisons, rules)
    low, high = wilson(count, comparisons)
    print(f"{name:52}passes {count / comparisons:.3f} [{low:.3f}, {high:.3f}]", flush=True)
    return count / comparisons


if __name__ == "__main__":
    main()
