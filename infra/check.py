"""`python -m infra.check`: what promtool and amtool say of the rules, of their tests and of both configurations.

Without the tools on this machine it says so and ends well; `--bring` downloads them first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from infra.k8s.check import check_chart
from infra.tools import bring, find

_HERE = Path(__file__).parent


def commands() -> list[list[str]]:
    """Tool and arguments; each has to exit with 0."""
    prometheus = _HERE / "prometheus"
    tests = sorted(str(path) for path in (prometheus / "tests").glob("*.yml"))
    return [
        ["promtool", "check", "config", str(prometheus / "prometheus.yml")],  # and the files with rules that it names
        ["promtool", "test", "rules", *tests],
        ["amtool", "check-config", str(_HERE / "alertmanager" / "alertmanager.yml")],
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bring", action="store_true", help="download the tools if they are not here")
    find_tool = bring if parser.parse_args().bring else find
    failed = check_chart()
    for tool, *arguments in commands():
        program = find_tool(tool)
        if program is None:
            print(f"not checked, {tool} is not here (`make watch` brings it): {' '.join(arguments[:2])}")
            continue
        done = subprocess.run([str(program), *arguments], capture_output=True, text=True)
        print(f"{'passed' if done.returncode == 0 else 'FAILED'} {tool} {' '.join(arguments[:2])}")
        if done.returncode:
            print(done.stdout + done.stderr)
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
