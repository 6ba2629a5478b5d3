"""`python -m infra.check`: what linters say of workflows, containers, scripts, rules and configurations.

Prometheus' tools are the distribution's. Without them on this machine it says so and ends well; `--bring` downloads
them first.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from infra.linters import Command, commands
from infra.tools import PROGRAMS, ROOT, bring, find

# Tools of the environment first; and they find each other: actionlint asks shellcheck about each step.
_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bring", action="store_true", help="download Prometheus' tools if they are not here")
    bringing = parser.parse_args().bring
    failed = 0
    for command in commands():
        program = _program(command.tool, bringing)
        if program is None and command.tool in PROGRAMS:
            print(f"not checked, {command.tool} is not here (`make watch` brings it): {command.what}")
            continue
        problems = f"{command.tool} is not here: run `make setup`" if program is None else _run(program, command)
        print(f"{'passed' if problems is None else 'FAILED'} {command.what} ({Path(command.tool).name})")
        if problems is not None:
            print(problems)
            failed += 1
    return 1 if failed else 0


def _program(tool: str, bringing: bool) -> str | None:
    if tool not in PROGRAMS:
        return shutil.which(tool, path=_PATH)
    found = bring(tool) if bringing else find(tool)
    return str(found) if found else None


def _run(program: str, command: Command) -> str | None:
    """What the tool says, if it is not content."""
    environment = dict(os.environ) | {"PATH": _PATH, "NO_COLOR": "1"}
    done = subprocess.run([program, *command.arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
