"""Retrieval and answers on the gold questions, through a fresh server, over HTTP.

    python benchmarks/gold.py [--evalset DIR] [--only retrieval|answers|all] [--compare]

Starts `capstone up` on an empty data folder and runs the gold set's own `score.py` against it. Prints its JSON (means
with 95 % bootstrap intervals over questions) and the figures beside what this stage wants. `answerability_auc` says
how well the number that decides about abstention tells answerable from unanswerable questions (ROC-AUC; from the log of
answers); `risk at coverage` is the share of unanswerable questions among so many of the surest. `--compare` asks twice
more for the answers, of the base without its adapter and of the document's best sentences, and prints all three.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from _side_by_side import REPOSITORY, capstone_server, interval

WANTED = {
    "hit@1": 0.64, "hit@5": 0.86, "mrr@10": 0.73, "contains": 0.45, "citation_page_precision": 0.65, "answered": 0.8,
    "abstained_when_unanswerable": 0.5, "answerability_auc": 0.75,
}  # fmt: skip
COVERAGES = (0.25, 0.5, 0.75, 1.0)
ANSWERS = (
    "contains", "rouge_l", "token_f1", "citation_page_precision", "unverified_citations", "answered",
    "abstained_when_unanswerable", "answer_ms",
)  # fmt: skip
OTHERS = {"base without adapter": {"ADAPTER": "false"}, "extractive only": {"ANSWERS": "extractive"}}

Report = dict[str, dict[str, float]]  # by name: mean, low and high of a figure, or p50 and p95 of a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalset", type=Path, default=REPOSITORY.parent / "shared" / "evalset")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "data" / "models", help="CAPSTONE_MODELS_DIR")
    parser.add_argument("--only", choices=["retrieval", "answers", "all"], default="retrieval")
    parser.add_argument("--compare", action="store_true", help="also base without adapter, and extractive only")
    arguments = parser.parse_args()
    if not (arguments.evalset / "score.py").exists():
        raise SystemExit(f"no gold set in {arguments.evalset}")
    with tempfile.TemporaryDirectory() as scratch:
        data, models = Path(scratch) / "data", arguments.models.resolve()
        with capstone_server(data, models) as url:
            report = score(arguments.evalset, url, arguments.only, "--upload")
        if arguments.only != "retrieval":
            report |= abstention(data / "catalog.db", arguments.evalset / "questions.jsonl")
        print(json.dumps(report, indent=1))
        for name, wanted in WANTED.items():
            if name in report:
                print(f"{name:23} {shown(report[name])}  (wanted >= {wanted})")
        reports = {"as shipped": report}
        for name, settings in OTHERS.items() if arguments.compare else ():
            chosen = {f"CAPSTONE_{key}": value for key, value in settings.items()}
            with capstone_server(data, models, settings=chosen) as url:
                reports[name] = score(arguments.evalset, url, "answers")
    if arguments.compare:
        print(table(reports))


def score(evalset: Path, url: str, only: str, *more: str) -> Report:
    options = ["--questions", str(evalset / "questions.jsonl"), "--pdf", str(evalset / "pdf"), *more]
    command = [sys.executable, str(evalset / "score.py"), "--url", url, "--only", only, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    report: Report = json.loads(done.stdout)
    return report


def abstention(catalog: Path, questions: Path) -> Report:
    """The questions that were answered, ordered by how sure it was that they can be: ROC-AUC, and risk by coverage."""
    rows = map(json.loads, questions.read_text().splitlines())
    answerable = {row["question"]: bool(row["pages"]) for row in rows}
    with contextlib.closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)) as connection:
        bodies = [json.loads(body) for (body,) in connection.execute("SELECT body FROM answers")]
    found = [(body["answerability"], answerable[body["question"]]) for body in bodies]
    rng = random.Random(7)
    areas = sorted(area(rng.choices(found, k=len(found))) for _ in range(1_000))
    report: Report = {"answerability_auc": {"mean": area(found), "low": areas[25], "high": areas[974]}}
    surest = sorted(found, reverse=True)
    for coverage in COVERAGES:
        kept = surest[: round(coverage * len(surest))]
        report[f"risk at coverage {coverage:g}"] = interval([float(not can) for _, can in kept])._asdict()
    return report


def area(found: Sequence[tuple[float, bool]]) -> float:
    """The chance that an answerable question is surer than an unanswerable one; ties count half (Hanley 1982)."""
    sure = {can: [number for number, which in found if which is can] for can in (True, False)}
    pairs = len(sure[True]) * len(sure[False])
    won = sum((a > b) + 0.5 * (a == b) for a in sure[True] for b in sure[False])
    return won / pairs if pairs else 0.5


def shown(figure: Mapping[str, float]) -> str:
    if "p50" in figure:
        return f"{figure['p50']:.0f} ms"
    return f"{figure['mean']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def table(reports: Mapping[str, Report]) -> str:
    """One line a figure of the answers, one column a system; a figure that a report does not have is a dash."""
    lines = ["".join([" " * 28, *(f"{name:24}" for name in reports)])]
    for name in ANSWERS:
        cells = [shown(report[name]) if name in report else "-" for report in reports.values()]
        lines.append("".join([f"{name:28}", *(f"{cell:24}" for cell in cells)]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
