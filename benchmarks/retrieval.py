"""Retrieval stage by stage, beside LangChain, on the same questions in the same run.

    python benchmarks/retrieval.py [--evalset DIR] [--no-langchain] [--data DIR]
    python benchmarks/retrieval.py --tune [--raw DIR] [--data DIR]

Ingests the manuals through a fresh server and asks it every answerable question over HTTP, started anew for each stage
with that stage's setting; the encoder as it came has an index of its own. LangChain runs the pipeline of
`ingest_langchain.py`. Prints hit@1, hit@5 and MRR@10 (a hit is a passage on a right page) with 95 % bootstrap intervals
over questions, the differences to dense search and to the encoder as it came with those of the paired bootstrap, and
the median time of one search.

`--tune` prints which weights and k0 of the fusion are best on the validation manuals of params.yaml, and what they gain
on its test manuals over the ones that ship: `release.retrieval` is to be chosen by it, not by the gold set. Neither
encoder nor classifier was trained on these manuals. Each question is asked once, and its rankings are fused again here.
The last row of each table is the encoder as it came, with the weights that ship.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from _side_by_side import REPOSITORY, capstone_server, interval
from ingest import langchain_script, pdf_files, upload, wait_for

K = 10
COLLECTION = "benchmark"
UNTUNED = "sentence"  # CAPSTONE_ENCODER: as it came
# Each stage by its settings; `default` is what serves: both rankings, and the first passages read and ranked anew. The
# last two have the encoder as it came, before it was tuned.
STAGES = {
    "dense": {"CAPSTONE_RETRIEVAL": "dense", "CAPSTONE_RERANK_DEPTH": "0"},
    "lexical": {"CAPSTONE_RETRIEVAL": "lexical", "CAPSTONE_RERANK_DEPTH": "0"},
    "hybrid": {"CAPSTONE_RETRIEVAL": "hybrid", "CAPSTONE_RERANK_DEPTH": "0"},
    "default": {},
    "dense, untuned": {"CAPSTONE_RETRIEVAL": "dense", "CAPSTONE_RERANK_DEPTH": "0", "CAPSTONE_ENCODER": UNTUNED},
    "default, untuned": {"CAPSTONE_ENCODER": UNTUNED},
}
SHARED = REPOSITORY.parent / "shared"
TUNE_ALL = 100  # passages asked for: those that are not among them have no chance of a place among K
TUNE_READ = {"CAPSTONE_RERANK_DEPTH": "25"}  # more than serving reads: other weights choose others to be read
TUNE_DENSE, TUNE_RERANK, TUNE_K0 = (1.0, 1.5, 2.0, 3.0, 4.0), (0.5, 1.0, 1.5, 2.0, 3.0), (5.0, 10.0, 20.0, 60.0)
TUNE_DEPTH = 50  # of the rankings that are fused, as in serving
TUNE_SHOWN = 8
Place = tuple[str, int]  # file name, page from 1


class Question(NamedTuple):
    text: str
    right: frozenset[Place]


class Answer(NamedTuple):
    places: list[Place]  # best first
    milliseconds: float


class Weights(NamedTuple):
    """Of the fusion; `lexical` is 1."""

    dense: float
    rerank: float
    k0: float


class Rankings(NamedTuple):
    """What one question has found: chunk ids, best first; the probability that it answers for those that were read."""

    question: Question
    dense: list[int]
    lexical: list[int]
    read: dict[int, float]
    places: dict[int, Place]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalset", type=Path, default=SHARED / "evalset")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "data" / "models", help="CAPSTONE_MODELS_DIR")
    parser.add_argument("--no-langchain", action="store_true")
    parser.add_argument("--tune", action="store_true", help="on held-out training questions: weights and k0")
    parser.add_argument("--raw", type=Path, default=REPOSITORY / "data" / "train" / "raw", help="manuals for --tune")
    parser.add_argument("--data", type=Path, help="data folder to keep; used as it is if it is there")
    arguments = parser.parse_args()
    models = arguments.models.resolve()
    if arguments.tune:
        with data_folder(arguments.data) as data:
            tune(models, arguments.raw, data)
        return
    files, asked = pdf_files(arguments.evalset / "pdf"), gold_questions(arguments.evalset)
    print(f"{len(asked)} questions, {len(files)} manuals", flush=True)
    answers: dict[str, list[Answer]] = {}
    if not arguments.no_langchain:
        answers["langchain"] = langchain(models, files, asked)
    with data_folder(arguments.data) as data:
        for stage, settings in STAGES.items():
            with server_over(files, data / settings.get("CAPSTONE_ENCODER", "tuned"), models, settings) as client:
                answers[stage] = [ask(client, question, K) for question in asked]
    table({name: [(rank(a.places, q), a.milliseconds) for a, q in zip(given, asked, strict=True)]
           for name, given in answers.items()})  # fmt: skip


def gold_questions(evalset: Path) -> list[Question]:
    rows = map(json.loads, (evalset / "questions.jsonl").read_text().splitlines())
    return [Question(row["question"], places(row["document"], row["pages"])) for row in rows if row["pages"]]


def training_questions(documents: Collection[str]) -> list[Question]:
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
def server_over(files: Sequence[Path], data: Path, models: Path, settings: Mapping[str, str]) -> Iterator[httpx.Client]:
    """A client of a server that has `files`; those that are in `data` are not ingested again."""
    with (
        capstone_server(data, models, settings=settings) as url,
        httpx.Client(base_url=url, timeout=60.0) as client,
    ):
        wait_for(client, [upload(client, file.name, file.read_bytes(), COLLECTION) for file in files], 3600)
        ask(client, Question("warm-up", frozenset()), K)
        yield client


def search(client: httpx.Client, question: Question, k: int) -> list[dict[str, Any]]:
    response = client.post("/v1/search", json={"query": question.text, "k": k, "collection": COLLECTION})
    found: list[dict[str, Any]] = response.raise_for_status().json()["results"]
    return found


def ask(client: httpx.Client, question: Question, k: int) -> Answer:
    begin = time.perf_counter()
    found = search(client, question, k)
    milliseconds = 1000 * (time.perf_counter() - begin)
    return Answer([place_of(passage) for passage in found], milliseconds)


def place_of(passage: Mapping[str, Any]) -> Place:
    return passage["document_name"], passage["page"]


def langchain(models: Path, files: Sequence[Path], asked: Sequence[Question]) -> list[Answer]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as questions:
        json.dump([question.text for question in asked], questions)
        questions.flush()
        encoder = str((models / "encoder").resolve())
        answers = langchain_script("retrieval_langchain.py", encoder, questions.name, str(K), *map(str, files))
    return [Answer([(name, page) for name, page in found], milliseconds) for found, milliseconds in answers]


def rank(places: Sequence[Place], question: Question) -> int | None:
    """From 1; None if no passage among the first K lies on a right page."""
    return next((at for at, place in enumerate(places[:K], 1) if place in question.right), None)


def measures(ranks: Sequence[int | None]) -> dict[str, list[float]]:
    """A value a question."""
    return {
        "hit@1": [float(at == 1) for at in ranks],
        "hit@5": [float(at is not None and at <= 5) for at in ranks],
        "MRR@10": [1 / at if at else 0.0 for at in ranks],
    }


def table(results: Mapping[str, Sequence[tuple[int | None, float]]]) -> None:
    found = {name: measures([at for at, _ in rows]) for name, rows in results.items()}
    for name, rows in results.items():
        print(f"{name:16} p50 {statistics.median(ms for _, ms in rows):.0f} ms")
        for measure, values in found[name].items():
            line = f"  {measure:7} {interval(values).text(3)}"
            for other in ("dense", f"{name}, untuned"):
                if other in found and other != name:
                    better = [ours - theirs for ours, theirs in zip(values, found[other][measure], strict=True)]
                    line += f"   to {other} {interval(better).text(3)}"
            print(line)
    sys.stdout.flush()


def tune(models: Path, raw: Path, data: Path) -> None:
    from models.params import load_params

    params = load_params(REPOSITORY / "params.yaml")
    manuals = {"validation": params.data.validation, "test": params.data.test}
    files = [raw / name for names in manuals.values() for name in names]
    found: dict[str, dict[str, list[Rankings]]] = {}  # by encoder and split
    for encoder in ("tuned", UNTUNED):
        with server_over(files, data / encoder, models, TUNE_READ | {"CAPSTONE_ENCODER": encoder}) as client:
            found[encoder] = {
                split: [rankings_of(client, question) for question in training_questions(names)]
                for split, names in manuals.items()
            }
    plan = params.release.retrieval
    ships = Weights(
        plan.fusion_dense_weight / plan.fusion_lexical_weight,
        plan.fusion_rerank_weight / plan.fusion_lexical_weight,
        plan.fusion_k0,
    )
    tried = [Weights(*each) for each in itertools.product(TUNE_DENSE, TUNE_RERANK, TUNE_K0)]
    depth = plan.rerank_depth
    values = {
        weights: {split: figures(own, weights, depth) for split, own in found["tuned"].items()}
        for weights in {*tried, ships}
    }
    untuned = {split: figures(own, ships, depth) for split, own in found[UNTUNED].items()}
    best = sorted(values, key=lambda weights: -statistics.fmean(values[weights]["validation"]["MRR@10"]))
    for split, names in manuals.items():
        print(f"\n{split}: {len(found['tuned'][split])} questions, {len(names)} manuals; each beside those that ship")
        for weights in [ships, *(each for each in best[:TUNE_SHOWN] if each != ships)]:
            label = f"dense {weights.dense:3}  rerank {weights.rerank:3}  k0 {weights.k0:4}"
            print(row(label, values[weights][split], values[ships][split]))
        print(row("untuned encoder", untuned[split], values[ships][split]), flush=True)


def row(label: str, ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]) -> str:
    cells = []
    for measure, values in ours.items():
        better = [a - b for a, b in zip(values, theirs[measure], strict=True)]
        cells.append(f"{measure} {statistics.fmean(values):.3f} {interval(better).text(3)}")
    return "   ".join([f"{label:33}", *cells])


def rankings_of(client: httpx.Client, question: Question) -> Rankings:
    found = search(client, question, TUNE_ALL)
    by_rank: dict[str, dict[int, int]] = {"dense": {}, "lexical": {}}
    for passage in found:
        for stage, own in by_rank.items():
            if stage in passage["ranks"]:
                own[passage["ranks"][stage]] = passage["chunk_id"]
    # A number below 0 keeps the place of a passage that is not among those found.
    ranked = {stage: [own.get(at, -at) for at in range(1, TUNE_DEPTH + 1)] for stage, own in by_rank.items()}
    read = {p["chunk_id"]: p["sufficiency"] for p in found if p["sufficiency"] is not None}
    return Rankings(question, **ranked, read=read, places={p["chunk_id"]: place_of(p) for p in found})


def figures(asked: Sequence[Rankings], weights: Weights, depth: int) -> dict[str, list[float]]:
    """As `services/api/retrieve.py` would order them with these weights, the first `depth` read."""
    from services.api.fuse import fuse

    ranks = []
    for one in asked:
        rankings = {"dense": one.dense, "lexical": one.lexical}
        weighed = {"dense": weights.dense, "lexical": 1.0, "rerank": weights.rerank}
        first = [item for item in list(fuse(rankings, weighed, weights.k0))[:depth] if item in one.read]
        rankings["rerank"] = sorted(first, key=lambda item: (-one.read[item], item))
        fused = [one.places[item] for item in fuse(rankings, weighed, weights.k0) if item in one.places]
        ranks.append(rank(fused, one.question))
    return measures(ranks)


if __name__ == "__main__":
    main()
