"""Retrieval and answers on the gold questions, through a fresh server, over HTTP.

    python benchmarks/gold.py [--evalset DIR] [--only retrieval|answers|all]

Starts `capstone up` on an empty data folder and runs the gold set's own `score.py` against it. Prints its JSON (means
with 95 % bootstrap intervals over questions) and the retrieval figures beside what this stage wants.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from _side_by_side import REPOSITORY, capstone_server

WANTED = {"hit@5": 0.75, "mrr@10": 0.64}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalset", type=Path, default=REPOSITORY.parent / "shared" / "evalset")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "data" / "models", help="CAPSTONE_MODELS_DIR")
    parser.add_argument("--only", choices=["retrieval", "answers", "all"], default="retrieval")
    arguments = parser.parse_args()
    if not (arguments.evalset / "score.py").exists():
        raise SystemExit(f"no gold set in {arguments.evalset}")
    with (
        tempfile.TemporaryDirectory() as scratch,
        capstone_server(Path(scratch) / "data", arguments.models.resolve()) as url,
    ):
        report = score(arguments.evalset, url, arguments.only)
    print(json.dumps(report, indent=1))
    for name, wanted in WANTED.items():
        if name in report:
            got = report[name]
            print(f"{name:7} {got['mean']:.3f} [{got['low']:.3f}, {got['high']:.3f}]  (wanted >= {wanted})")


def score(evalset: Path, url: str, only: str) -> dict[str, dict[str, float]]:
    options = ["--questions", str(evalset / "questions.jsonl"), "--pdf", str(evalset / "pdf"), "--upload"]
    command = [sys.executable, str(evalset / "score.py"), "--url", url, "--only", only, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
