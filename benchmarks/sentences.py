"""Which sentences should make an answer? Fits `release.sentences` of params.yaml, and shows what each choice is worth.

    python benchmarks/sentences.py [--raw DIR] [--questions N] [--data DIR]

Ingests the validation and test manuals of params.yaml (from `data/train/raw`, where `python -m models.data.fetch` puts
them), asks N of the questions about each of the two sets, and takes down every sentence of the passages that an answer
is looked for in. A logistic regression tells how much the classifier's opinion of a sentence, what its passage was
worth to the search, and the likeness to the question say of whether a sentence on the right page holds a short answer;
it is fitted on both sets, since three weights cannot learn a manual by heart. It prints these, and how sure of an
answer one has to be (`release.min_answerability`) for the stated share of the validation questions to be answered.
Then, for answers of up to so many sentences: containment, token F1, their mean (the quality of the gate), the share of
citations on the right page, and words; on validation questions, by which one chooses, and on test questions. Last, over
both sets: what the plan that ships loses or gains when one signal is left out or replaced. No generator takes part.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from _side_by_side import REPOSITORY, capstone_server, interval
from ingest import upload, wait_for
from retrieval import data_folder
from sklearn.linear_model import LogisticRegression

from models.classifier.abstention import Question, threshold
from models.params import load_params
from services.api.choose import leading, log_odds, ranked
from services.api.orders import evidence_without_orders
from services.api.resources import ApiResources, open_resources
from services.core.answer_metrics import contains_any, token_f1
from services.core.evidence import Evidence, Sentence, answerability, evidence_of, sufficiency
from services.core.plan import SentencePlan
from services.core.release import ANSWER
from services.core.settings import Settings
from services.core.telemetry import Telemetry
from services.core.types import Passage

SPLITS = ("validation", "test")
SIGNALS, ALL = ("sentence", "retrieval", "cosine"), ("sentence", "passage", "retrieval", "cosine")
OTHERS = {
    "without the search's opinion of the passage": ("sentence", "cosine"),
    "the classifier's opinion of it instead": ("sentence", "passage", "cosine"),
    "both": ALL,
    "without the likeness to the question": ("sentence", "retrieval"),
}
SAME_PAGE, SHARES, MOST = (0.0, 0.75, 1.5, 2.0), (0.25, 0.5), (1, 2, 3, 4, 5)


class Asked(NamedTuple):
    """A question with an answer, and what an answer to it would be made of."""

    row: Mapping[str, Any]
    passages: list[Passage]
    sufficiency: list[float]
    relevance: list[float]
    evidence: Evidence
    cosines: list[float]
    sure: float  # that it can be answered
    answered: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, default=REPOSITORY / "data" / "train" / "raw", help="where the manuals are")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "data" / "models", help="CAPSTONE_MODELS_DIR")
    parser.add_argument("--questions", type=int, default=1000, help="of each split, at most")
    parser.add_argument("--data", type=Path, help="data folder to keep; used as it is if it is there")
    arguments = parser.parse_args()
    params, models = load_params(REPOSITORY / "params.yaml"), arguments.models.resolve()
    manuals = {"validation": params.data.validation, "test": params.data.test}
    with data_folder(arguments.data) as data:
        with capstone_server(data, models) as url, httpx.Client(base_url=url, timeout=60.0) as client:
            files = [(arguments.raw / name, split) for split, names in manuals.items() for name in names]
            wait_for(client, [upload(client, file.name, file.read_bytes(), split) for file, split in files], 3600)
        settings = Settings(data_dir=data, models_dir=models, release_dir=REPOSITORY / "release", release_poll_s=0)
        with open_resources(settings, Telemetry()) as parts:
            asked = {
                split: [ask(parts, row, split) for row in questions(set(names), arguments.questions)]
                for split, names in manuals.items()
            }
    most = params.classifier.max_refused
    kept = threshold([Question(one.row["id"], True, one.sure) for one in asked["validation"]], most)
    print(f"answerability from which {1 - most:.0%} of the validation questions are answered: {kept:.3f}")
    everything = [one for split in SPLITS for one in asked[split]]
    weights = fit(everything, SIGNALS)
    print("fitted:", json.dumps({name: round(weight, 2) for name, weight in weights.items()}))
    print(f"\n{'':28}" + "".join(f"{name:>44}" for name in SPLITS))
    print(f"{'most share same_page':28}" + "  contained    F1  quality   page  words"[-44:].rjust(44) * 2)
    for most in MOST:
        for share in SHARES if most > 1 else SHARES[:1]:
            for same_page in SAME_PAGE if most > 1 else SAME_PAGE[:1]:
                plan = SentencePlan(**weights, same_page=same_page, share=share, most=most)
                cells = "".join(shown(asked[split], plan).rjust(44) for split in SPLITS)
                print(f"{most:4} {share:5} {same_page:9}       {cells}")
    shipped = params.release.sentences
    print(f"\nas shipped, of {len(everything)} questions: {figures(everything, shipped)}")
    for name, signals in OTHERS.items():
        plan = shipped.model_copy(update=dict.fromkeys(ALL, 0.0) | fit(everything, signals))
        print(f"{name}: {figures(everything, plan, shipped)}")
    print(f"the classifier's sentence alone: {figures(everything, SentencePlan(), shipped)}")


def questions(documents: set[str], count: int) -> list[dict[str, Any]]:
    lines = (REPOSITORY / "models" / "data" / "questions.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["page"] and row["document"] in documents]
    return random.Random(5).sample(rows, min(count, len(rows)))


def ask(parts: ApiResources, row: Mapping[str, Any], collection: str) -> Asked:
    """What the answerer reads for the question, by the same parts."""
    live, question = parts.live, row["question"]
    assert live.own is not None and live.release is not None
    found = live.retriever.search(collection, question, live.retriever.plan.answer_passages)
    passages, windows = found.passages, live.retriever.windows(found.passages)
    evidence = evidence_without_orders(evidence_of(question, passages, live.own, windows), passages)
    sufficient = sufficiency(question, passages, live.own)
    vectors = parts.encoder.encode([question, *(sentence.text for sentence in evidence.sentences)])
    sure = answerability(sufficient, evidence)
    answered = bool(evidence.sentences) and sure >= live.release.thresholds[ANSWER]
    relevance = [found.relevance[passage.chunk_id] for passage in passages]
    cosines = [float(x) for x in vectors[1:] @ vectors[0]]
    return Asked(row, passages, sufficient, relevance, evidence, cosines, sure, answered)


def fit(asked: Sequence[Asked], signals: Sequence[str]) -> dict[str, float]:
    """Weights of a logistic regression, over the questions of which a sentence holds an answer; none is below 0."""
    features, labels = [], []
    for one in asked:
        holds = [holds_answer(one, sentence) for sentence in one.evidence.sentences]
        if any(holds):
            for sentence, cosine in zip(one.evidence.sentences, one.cosines, strict=True):
                known = {
                    "sentence": log_odds(sentence.score),
                    "passage": log_odds(one.sufficiency[sentence.passage]),
                    "retrieval": one.relevance[sentence.passage],
                    "cosine": cosine,
                }
                features.append([known[name] for name in signals])
            labels += holds
    model = LogisticRegression(C=100, max_iter=2000).fit(np.array(features), labels)
    return {name: max(0.0, float(weight)) for name, weight in zip(signals, model.coef_[0], strict=True)}


def holds_answer(one: Asked, sentence: Sentence) -> bool:
    return right_page(one, sentence) and contains_any(sentence.text, one.row["short_answers"]) == 1.0


def right_page(one: Asked, sentence: Sentence) -> bool:
    passage = one.passages[sentence.passage]
    pages = [part.page for part in sentence.parts] or [passage.page]
    return passage.document_name == one.row["document"] and one.row["page"] in pages


def chosen(one: Asked, plan: SentencePlan) -> list[Sentence]:
    """The sentences of the answer; none where there is none."""
    ranking = ranked(one.evidence, plan, one.sufficiency, one.relevance, one.cosines)
    return leading(ranking, plan, one.passages) if one.answered else []


def contained(one: Asked, plan: SentencePlan) -> float:
    return contains_any(said(chosen(one, plan)), one.row["short_answers"])


def page_precision(one: Asked, given: Sequence[Sentence]) -> float:
    """The share of citations on a right page; there is at least one."""
    return statistics.fmean(right_page(one, sentence) for sentence in given)


def figures(asked: Sequence[Asked], plan: SentencePlan, other: SentencePlan | None = None) -> str:
    """Means over the questions that are answered; with another plan, what `plan` has more, question by question."""
    answered, cells = [one for one in asked if one.answered], []
    for name, figure in (("contained", contained), ("page", lambda one, plan: page_precision(one, chosen(one, plan)))):
        values = [figure(one, plan) - (figure(one, other) if other else 0.0) for one in answered]
        cells.append(f"{name} {interval(values).text(3)}")
    return ", ".join(cells)


def said(sentences: Sequence[Sentence]) -> str:
    return " ".join(sentence.text for sentence in sentences)


def shown(asked: Sequence[Asked], plan: SentencePlan) -> str:
    answers = [(one, chosen(one, plan)) for one in asked]
    holding = statistics.fmean(contains_any(said(given), one.row["short_answers"]) for one, given in answers)
    likeness = statistics.fmean(token_f1(said(given), one.row["answer"]) for one, given in answers)
    pages = statistics.fmean(page_precision(one, given) for one, given in answers if given)
    words = statistics.fmean(len(said(given).split()) for _, given in answers if given)
    return f"{holding:9.3f} {likeness:7.3f} {(holding + likeness) / 2:7.3f} {pages:7.3f} {words:5.0f}"


if __name__ == "__main__":
    main()
