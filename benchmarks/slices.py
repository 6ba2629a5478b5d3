"""Whom does it serve worse? The same figures for groups of questions: bias, measured by slices.

    python benchmarks/slices.py [--evalset DIR] [--only gold|ways]

Starts `capstone up` on an empty data folder and has its own evaluation ask and judge every question, twice:

1. The gold set, by kind, document and length of the question; by its form (a sentence, or key words); and by how many
   of its words stand in the quote that answers it (`own words`: less than a third; else `the document's words`).
2. The answerable questions about the example document, each asked in several ways that mean the same: as written,
   without capitals and punctuation, with slips of the pen (two letters exchanged in every word of five letters or
   more), without articles, as key words, and in German, Spanish and Chinese (other_languages.jsonl, translated by us).
   The documents are in English, so this says what becomes of those who write otherwise.

Prints Markdown tables; brackets are 95 % bootstrap intervals over questions. `contained`: a short answer stands in what
is said; `page right`: of the citations, on a page that holds the answer; `found`: such a page is among the first five
passages' (of questions that have one); `refused`: answered with an abstention. For questions that the documents do not
answer, `refused` is what is wanted.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
from _side_by_side import REPOSITORY, capstone_server
from ingest import upload, wait_for

sys.path.append(str(REPOSITORY))

from services.core.intervals import intervals
from services.eval.summary import length_of

EXAMPLE = REPOSITORY / "examples" / "fhs-3.0.pdf"
QUESTIONS = REPOSITORY / "models" / "data" / "questions.jsonl"
LANGUAGES = Path(__file__).with_name("other_languages.jsonl")
NAMES = {"de": "German", "es": "Spanish", "zh": "Chinese"}
_ASKING = """what which who whom whose when where why how is are was were do does did can could may might must should"""
_LITTLE = """a an the of to in on at by for from with and or not it its this that these those i you we they my your our
their be been has have had will would there if as so than then into out up me one"""
ASKING = frozenset(_ASKING.split())
SMALL = ASKING | frozenset(_LITTLE.split())
COLUMNS = ("contained", "page right", "found", "refused")
WITHIN_S = 3 * 3600.0

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalset", type=Path, default=REPOSITORY.parent / "shared" / "evalset")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "data" / "models", help="CAPSTONE_MODELS_DIR")
    parser.add_argument("--only", choices=["gold", "ways"], help="one of the two")
    given = parser.parse_args()
    gold = given.evalset / "questions.jsonl"
    with tempfile.TemporaryDirectory() as scratch:
        settings = {"CAPSTONE_TRACK_EVALUATIONS": "false"}
        data, models = Path(scratch) / "data", given.models.resolve()
        with (
            capstone_server(data, models, settings=settings, ready_timeout_s=600) as url,
            httpx.Client(base_url=url, timeout=600) as http,
        ):
            if given.only != "ways" and gold.exists():
                ingest(http, "gold", sorted((given.evalset / "pdf").glob("*.pdf")))
                rows = [json.loads(line) for line in gold.read_text().splitlines()]
                show_gold(evaluated(http, "gold", rows))
            elif given.only != "ways":
                print(f"no gold set in {given.evalset}: its slices are left out")
            if given.only != "gold":
                ingest(http, "example", [EXAMPLE])
                show_ways(evaluated(http, "example", ways_of_asking()))


def ingest(http: httpx.Client, collection: str, files: Sequence[Path]) -> None:
    wait_for(http, [upload(http, file.name, file.read_bytes(), collection) for file in files], WITHIN_S)


def show_gold(judged: Sequence[Row]) -> None:
    answerable = [row for row in judged if row["answerable"]]
    print(f"\nThe gold set, {len(judged)} questions, {len(answerable)} of them answerable:\n")
    show("all", judged, lambda row: "answerable" if row["answerable"] else "unanswerable")
    show("kind", answerable, lambda row: row["kind"])
    show("document", answerable, lambda row: row["document"])
    show("length", answerable, lambda row: length_of(row["question"]))
    show("form", answerable, lambda row: form_of(row["question"]))
    show("words", answerable, wording_of)


def show_ways(judged: Sequence[Row]) -> None:
    ways = {row["kind"] for row in judged}
    print(f"\nThe same {len(judged) // len(ways)} questions, asked in {len(ways)} ways:\n")
    show("way of asking", judged, lambda row: row["kind"])


def show(name: str, judged: Sequence[Row], key: Callable[[Row], str]) -> None:
    """A Markdown table, one line for each value of `key`, in the order of first appearance."""
    groups: dict[str, list[Row]] = {}
    for row in judged:
        groups.setdefault(key(row), []).append(row)
    print(f"| {name} | questions | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    for value, rows in groups.items():
        table = {column: [figures_of(row)[column] for row in rows] for column in COLUMNS}
        cells = [f"{i.value:.2f} [{i.low:.2f}, {i.high:.2f}]" if i else "-" for i in intervals(table).values()]
        print(f"| {value} | {len(rows)} | {' | '.join(cells)} |")
    print(flush=True)


def figures_of(row: Row) -> dict[str, float | None]:
    release = row["systems"]["release"]
    metrics = release["metrics"]
    return {
        "contained": metrics["contains"],
        "page right": metrics["citation_precision"],
        "found": metrics["hit@5"],
        "refused": float(release["abstained"]),
    }


def form_of(question: str) -> str:
    """A sentence asks, by a mark or a word that asks; anything else is a search."""
    asks = question.rstrip().endswith("?") or bool(ASKING & set(content(question)))
    return "a sentence" if asks else "key words"


def wording_of(row: Row) -> str:
    asked = [word for word in content(row["question"]) if word not in SMALL]
    told = set(content(row["quote"]))
    shared = sum(word in told for word in asked) / max(1, len(asked))
    return "own words" if shared < 1 / 3 else "the document's words"


def content(text: str) -> list[str]:
    return re.findall(r"[\w/.+-]*\w", text.lower())


def ways_of_asking() -> list[Row]:
    """Every answerable question about the example in every way; the kind names the way."""
    rows = [json.loads(line) for line in QUESTIONS.read_text().splitlines()]
    about = [row for row in rows if row["document"] == EXAMPLE.name and row["kind"] != "unanswerable"]
    translated = {row["id"]: row for row in map(json.loads, LANGUAGES.read_text().splitlines())}

    def in_language(code: str) -> Callable[[Row], str]:
        return lambda row: str(translated[row["id"]][code])

    ways: dict[str, Callable[[Row], str]] = {
        "as written": lambda row: str(row["question"]),
        "no capitals, no punctuation": lambda row: plain(row["question"]),
        "slips of the pen": lambda row: slipped(row["question"]),
        "no articles": lambda row: without(row["question"], frozenset(("a", "an", "the"))),
        "key words": lambda row: without(plain(row["question"]), SMALL),
        **{name: in_language(code) for code, name in NAMES.items()},
    }
    return [
        {**row, "id": f"{row['id']}, {name}", "kind": name, "question": way(row), "pages": [row["page"]]}
        for name, way in ways.items()
        for row in about
    ]


def plain(question: str) -> str:
    return re.sub(r"[?!,;:\"]|\.(?=\s|$)", "", question).lower()


def without(question: str, left_out: frozenset[str]) -> str:
    return " ".join(word for word in question.split() if word.lower() not in left_out)


def slipped(question: str) -> str:
    """Two letters in the middle of each longer word change places; names such as /var/tmp are copied, so they stay."""
    return re.sub(
        r"(?<![\w/.-])[A-Za-z]{5,}(?![\w/.-])",
        lambda found: found[0][:2] + found[0][3] + found[0][2] + found[0][4:],
        question,
    )


def evaluated(http: httpx.Client, collection: str, rows: Sequence[Row]) -> list[Row]:
    """What the platform's own evaluation judges of each row. Raises AssertionError if it does not succeed in time."""
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    form = {"dataset": collection, "collection": collection}
    started = http.post("/v1/evaluations", files={"file": ("rows.jsonl", body)}, data=form)
    assert started.is_success, started.text
    evaluation, deadline = started.json(), time.monotonic() + WITHIN_S
    while (job := http.get(evaluation["job"]["url"]).json())["status"] in ("queued", "running"):
        assert time.monotonic() < deadline, job
        time.sleep(1)
    assert job["status"] == "succeeded", job
    report = http.get(f"/v1/evaluations/{evaluation['id']}/report", headers={"Accept": "application/json"})
    return list(report.raise_for_status().json()["questions"])


if __name__ == "__main__":
    main()
