"""Retrieval stage by stage, beside LangChain, on the same questions in the same run.

    python benchmarks/retrieval.py [--evalset DIR] [--no-langchain] [--data DIR]
    python benchmarks/retrieval.py --tune [--documents R-FAQ.pdf ...]

Ingests the manuals once through a fresh server and asks it every answerable question over HTTP, started anew for each
stage with that stage's setting. LangChain runs the pipeline of `ingest_langchain.py`. Prints hit@1, hit@5 and MRR@10
(a hit is a passage on a right page) with 95 % bootstrap intervals over questions, the difference to dense search with
that of the paired bootstrap, and the median time of one search.

`--tune` prints figures for weights and k0 of the fusion on the training questions and manuals instead: what
`release.retrieval` in params.yaml says is to be chosen by it, not by the gold set.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from _side_by_side import REPOSITORY, capstone_server, interval
from ingest import langchain_script, pdf_files, upload, wait_for

K = 10
DEPTH = 50  # of the rankings that are fused for --tune
COLLECTION = "benchmark"
# Each stage by its settings; `default` is what serves: both rankings, and the first passages read and ranked anew.
STAGES = {
    "dense": {"CAPSTONE_RETRIEVAL": "dense", "CAPSTONE_RERANK_DEPTH": "0"},
    "lexical": {"CAPSTONE_RETRIEVAL": "lexical", "CAPSTONE_RERANK_DEPTH": "0"},
    "hybrid": {"CAPSTONE_RETRIEVAL": "hybrid", "CAPSTONE_RERANK_DEPTH": "0"},
    "default": {},
}
SHARED = REPOSITORY.parent / "shared"
TUNE_K0 = (0, 2, 5, 10, 20, 60)
TUNE_WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5)
Place = tuple[str, int]  # file name, page from 1


class Question(NamedTuple):
    text: str
    right: frozenset[Place]


class Answer(NamedTuple):
    chunks: list[int]  # best first
    places: list[Place]
    milliseconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalset", type=Path, default=SHARED / "evalset")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "data" / "models", help="CAPSTONE_MODELS_DIR")
    parser.add_argument("--no-langchain", action="store_true")
    parser.add_argument("--tune", action="store_true", help="on the training questions: weights and k0")
    parser.add_argument("--trainset", type=Path, default=SHARED / "trainset" / "pdf", help="manuals for --tune")
    parser.add_argument("--documents", nargs="+", help="only these of the training manuals")
    parser.add_argument("--data", type=Path, help="data folder to keep; used as it is if it is there")
    arguments = parser.parse_args()
    models = arguments.models.resolve()
    if arguments.tune:
        files = [file for file in pdf_files(arguments.trainset) if file.name in (arguments.documents or [file.name])]
        with data_folder(arguments.data) as data:
            tune(models, training_questions({file.name for file in files}), files, data)
        return
    files, asked = pdf_files(arguments.evalset / "pdf"), gold_questions(arguments.evalset)
    print(f"{len(asked)} questions, {len(files)} manuals", flush=True)
    answers: dict[str, list[Answer]] = {}
    if not arguments.no_langchain:
        answers["langchain"] = langchain(models, files, asked)
    with data_folder(arguments.data) as data:
        for stage in STAGES:
            with stage_of(data, models, stage, files) as client:
                answers[stage] = [ask(client, question, K) for question in asked]
    table({name: [(rank(a, q), a.milliseconds) for a, q in zip(given, asked, strict=True)]
           for name, given in answers.items()})  # fmt: skip


def gold_questions(evalset: Path) -> list[Question]:
    rows = map(json.loads, (evalset / "questions.jsonl").read_text().splitlines())
    return [Question(row["question"], places(row["document"], row["pages"])) for row in rows if row["pages"]]


def training_questions(documents: set[str]) -> list[Question]:
    rows = map(json.loads, (REPOSITORY / "models" / "data" / "questions.jsonl").read_text().splitlines())
    return [
        Question(row["question"], places(row["document"], [row["page"]]))
        for row in rows
        if row["page"] and row["document"] in documents
    ]


def places(document: str, pages: Sequence[int]) -> frozenset[Place]:
    return frozenset((document, page) for page in pages)


@contextmanager
def data_folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch) / "data"


@contextmanager
def stage_of(data: Path, models: Path, stage: str, files: Sequence[Path]) -> Iterator[httpx.Client]:
    """A client of a server that retrieves by `stage` over `files`; those that are in `data` are not ingested again."""
    with (
        capstone_server(data, models, settings=STAGES[stage]) as url,
        httpx.Client(base_url=url, timeout=60.0) as client,
    ):
        wait_for(client, [upload(client, file.name, file.read_bytes(), COLLECTION) for file in files], 3600)
        ask(client, Question("warm-up", frozenset()), K)
        yield client


def ask(client: httpx.Client, question: Question, k: int) -> Answer:
    begin = time.perf_counter()
    response = client.post("/v1/search", json={"query": question.text, "k": k, "collection": COLLECTION})
    milliseconds = 1000 * (time.perf_counter() - begin)
    found: list[dict[str, Any]] = response.raise_for_status().json()["results"]
    chunks = [passage["chunk_id"] for passage in found]
    return Answer(chunks, [(passage["document_name"], passage["page"]) for passage in found], milliseconds)


def langchain(models: Path, files: Sequence[Path], asked: Sequence[Question]) -> list[Answer]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as questions:
        json.dump([question.text for question in asked], questions)
        questions.flush()
        encoder = str((models / "encoder").resolve())
        answers = langchain_script("retrieval_langchain.py", encoder, questions.name, str(K), *map(str, files))
    return [Answer([], [(name, page) for name, page in found], milliseconds) for found, milliseconds in answers]


def rank(answer: Answer, question: Question) -> int | None:
    """From 1; None if no passage among the first K lies on a right page."""
    return next((at for at, place in enumerate(answer.places[:K], 1) if place in question.right), None)


def measures(ranks: Sequence[int | None]) -> dict[str, list[float]]:
    """A value a question."""
    return {
        "hit@1": [float(at == 1) for at in ranks],
        "hit@5": [float(at is not None and at <= 5) for at in ranks],
        "MRR@10": [1 / at if at else 0.0 for at in ranks],
    }


def table(results: Mapping[str, Sequence[tuple[int | None, float]]]) -> None:
    dense = measures([at for at, _ in results["dense"]])
    for name, rows in results.items():
        print(f"{name:10} p50 {statistics.median(ms for _, ms in rows):.0f} ms")
        for measure, values in measures([at for at, _ in rows]).items():
            line = f"  {measure:7} {interval(values).text(3)}"
            if name != "dense":
                better = [ours - theirs for ours, theirs in zip(values, dense[measure], strict=True)]
                line += f"   to dense {interval(better).text(3)}"
            print(line)
    sys.stdout.flush()


def tune(models: Path, asked: Sequence[Question], files: Sequence[Path], data: Path) -> None:
    from services.api.fuse import fuse

    print(f"{len(asked)} training questions, {len(files)} manuals", flush=True)
    rankings = {}
    for stage in ("dense", "lexical"):
        with stage_of(data, models, stage, files) as client:
            rankings[stage] = [ask(client, question, DEPTH) for question in asked]
    place = {chunk: where for answers in rankings.values() for answer in answers
             for chunk, where in zip(answer.chunks, answer.places, strict=True)}  # fmt: skip

    def figures(weight: float, k0: float) -> dict[str, list[float]]:
        weights = {"dense": 1.0, "lexical": weight}
        ranks = []
        for at, question in enumerate(asked):
            fused = fuse({stage: answers[at].chunks for stage, answers in rankings.items()}, weights, k0)
            ranks.append(rank(Answer([], [place[chunk] for chunk in fused], 0.0), question))
        return measures(ranks)

    for stage, answers in rankings.items():
        alone = measures([rank(answer, question) for answer, question in zip(answers, asked, strict=True)])
        print(f"{stage:20} " + "  ".join(f"{name} {interval(values).text(3)}" for name, values in alone.items()))
    for k0 in TUNE_K0:
        for weight in TUNE_WEIGHTS:
            means = {name: statistics.fmean(values) for name, values in figures(weight, k0).items()}
            print(f"k0 {k0:3}  lexical {weight:3}   " + "  ".join(f"{name} {mean:.3f}" for name, mean in means.items()))


if __name__ == "__main__":
    main()
