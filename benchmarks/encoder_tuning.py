"""Would a contrastive fine-tune of the encoder on the training questions find more?

    python benchmarks/encoder_tuning.py [--prepared DIR] [--epochs 1] [--learning-rate 2e-5] [--limit N]

Trains a copy of the encoder on (question, passage that answers, nearest passage that does not) with in-batch negatives
(sentence-transformers, MultipleNegativesRankingLoss) on the training manuals of `dvc repro prepare`. Then both encoders
search the manuals of validation and of test for their answerable questions: each question among all passages of its own
manual that the prepared data holds. Prints hit@1, hit@5 and MRR@10 with 95 % bootstrap intervals, dense alone, and the
paired difference. It writes nothing.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _side_by_side import REPOSITORY
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import batch_to_device

from models import bootstrap
from models.classifier.data import Example, read_examples
from services.core.types import embedding_text

SUFFICIENT = "sufficient"
WARMUP = 0.1
REPORT_EVERY = 50


class Triple(NamedTuple):
    question: str
    answers: str
    does_not: str


class Asked(NamedTuple):
    question: str
    right: frozenset[int]  # indices of passages
    manual: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, default=REPOSITORY / "data" / "train" / "prepared")
    parser.add_argument("--encoder", type=Path, default=REPOSITORY / "data" / "models" / "encoder")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--limit", type=int, help="training questions; all unless given")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    triples = triples_of(read_examples(given.prepared / "pairs.train.jsonl"), given.seed)[: given.limit]
    held_out = {name: read_examples(given.prepared / f"pairs.{name}.jsonl") for name in ("validation", "test")}
    model = SentenceTransformer(str(given.encoder), device="cpu", local_files_only=True)
    before = {name: ranks(model, rows) for name, rows in held_out.items()}
    tune(model, triples, given)
    after = {name: ranks(model, rows) for name, rows in held_out.items()}
    for name in held_out:
        print(f"\n{name}: {len(before[name])} questions")
        table(before[name], after[name])


def triples_of(rows: Sequence[Example], seed: int) -> list[Triple]:
    """One a question that has an answer and a passage without it, in random order."""
    groups: dict[str, dict[bool, list[Example]]] = defaultdict(lambda: {True: [], False: []})
    for row in rows:
        groups[row.group][row.label == SUFFICIENT].append(row)
    found = [
        Triple(own[True][0].text, passage(own[True][0]), passage(own[False][0]))
        for own in groups.values()
        if own[True] and own[False]
    ]
    random.Random(seed).shuffle(found)
    return found


def passage(row: Example) -> str:
    return embedding_text(row.section, row.text_pair or "")


def tune(model: SentenceTransformer, triples: Sequence[Triple], given: argparse.Namespace) -> None:
    loss_of = MultipleNegativesRankingLoss(model)
    steps = given.epochs * (len(triples) // given.batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.learning_rate)
    warmup = max(1, int(WARMUP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup)))
    )
    model.train()
    begun, seen = time.perf_counter(), 0.0
    for step in range(steps):
        at = step * given.batch % (len(triples) - given.batch + 1)
        batch = triples[at : at + given.batch]
        features: list[Any] = [
            batch_to_device(model.tokenize([triple[column] for triple in batch]), torch.device("cpu"))
            for column in range(3)
        ]
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(features, torch.empty(0))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        seen += loss.item()
        if (step + 1) % REPORT_EVERY == 0:
            print(f"  step {step + 1} of {steps}, loss {seen / REPORT_EVERY:.3f}, "
                  f"{time.perf_counter() - begun:.0f} s", flush=True)  # fmt: skip
            seen = 0.0
    model.eval()


def ranks(model: SentenceTransformer, rows: Sequence[Example]) -> NDArray[np.float64]:
    """For each answerable question the rank, from 1, of the first passage that answers it, in its own manual."""
    texts: dict[str, dict[str, int]] = defaultdict(dict)  # by manual: passage -> index
    right: dict[str, set[int]] = defaultdict(set)
    asked: dict[str, tuple[str, str]] = {}
    for row in rows:
        manual = row.document or ""
        index = texts[manual].setdefault(passage(row), len(texts[manual]))
        asked[row.group] = (row.text, manual)
        if row.label == SUFFICIENT:
            right[row.group].add(index)
    vectors = {manual: encode(model, list(own)) for manual, own in texts.items()}
    found = []
    groups = sorted(right)
    questions = encode(model, [asked[group][0] for group in groups])
    for group, vector in zip(groups, questions, strict=True):
        order = np.argsort(-(vectors[asked[group][1]] @ vector), kind="stable")
        found.append(1 + min(int(np.flatnonzero(order == index)[0]) for index in right[group]))
    return np.array(found, float)


def encode(model: SentenceTransformer, texts: Sequence[str]) -> NDArray[np.float32]:
    return np.asarray(model.encode(list(texts), normalize_embeddings=True, batch_size=64), np.float32)


def table(before: NDArray[np.float64], after: NDArray[np.float64]) -> None:
    figures: dict[str, Callable[[NDArray[np.float64]], list[float]]] = {
        "hit@1": lambda r: (r <= 1).astype(float).tolist(),
        "hit@5": lambda r: (r <= 5).astype(float).tolist(),
        "MRR@10": lambda r: np.where(r <= 10, 1 / r, 0.0).tolist(),
    }
    print(f"{'':8}{'as it is':26}{'fine-tuned':26}fine-tuned minus as it is")
    for name, of in figures.items():
        cells = [bootstrap.mean(of(r)).text() for r in (before, after)]
        print(f"{name:8}{cells[0]:26}{cells[1]:26}{bootstrap.difference(of(after), of(before)).text()}")


if __name__ == "__main__":
    main()
