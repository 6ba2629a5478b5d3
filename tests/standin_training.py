"""What stands in for a training: the same arguments, the same files, in a moment. `python -m tests.standin_training`

Its first option says how it behaves: `register N ID` tells that version N, the release ID, was registered; `fail`
ends with a sentence; `wait FILE` starts a child, writes both process ids to FILE, and goes on when FILE.go is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--register", nargs=2)
    options.add_argument("--wait", type=Path)
    options.add_argument("--fail", action="store_true")
    options.add_argument("--snapshot", type=Path, required=True)
    options.add_argument("--work", type=Path, required=True)
    given = options.parse_args()
    step = {"name": "stand in", "began_at": time.time()}
    _tell(given.work, step)
    candidates = (given.snapshot / "candidates.jsonl").read_text().splitlines()
    print(f"start {len(_starts(given.work))} with {len(candidates)} candidates")
    if given.wait is not None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        given.wait.with_suffix(".part").write_text(json.dumps([os.getpid(), child.pid]))
        given.wait.with_suffix(".part").replace(given.wait)
        while not given.wait.with_suffix(".go").exists():
            time.sleep(0.02)
        child.kill()
    if given.fail:
        print("params.yaml: it is not what was wanted.")
        return 2
    _tell(given.work, step | {"ended_at": time.time()})
    version, release = given.register
    result = {"version": version, "release": release, "below_bar": []}
    (given.work / "result.json").write_text(json.dumps(result))
    return 0


def _tell(work: Path, step: dict[str, object]) -> None:
    with (work / "steps.jsonl").open("a") as file:
        file.write(json.dumps(step) + "\n")


def _starts(work: Path) -> list[str]:
    return [line for line in (work / "steps.jsonl").read_text().splitlines() if "ended_at" not in line]


if __name__ == "__main__":
    sys.exit(main())
