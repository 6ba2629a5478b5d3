"""`python -m tests.watch`: does every expression of rules and dashboards return data from the real platform?

`capstone up` with the real models takes in the example and answers a few questions; a real Prometheus with the
committed configuration scrapes it. Each expression has to parse and to return a number within two minutes; those that
need what does not happen meanwhile are named in _RARE, with the reason. A real Alertmanager is sent alerts before, and
has to tell and to hold back the right ones. Exits with 1 if a check fails.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import yaml
from rich.console import Console

from tests.calls import client_of
from tests.checks import Checks
from tests.server import ROOT, Server, start
from tests.watch import traffic
from tests.watch.alertmanager import check_alertmanager
from tests.watch.expressions import expressions
from tests.watchers import Watcher, prometheus

_START_WITHIN_S = 600.0
_WITHIN_S = 120.0
# What a minute of a healthy platform cannot show.
_RARE = {
    "capstone-releases: Shadow, 1 h A": "needs a challenger in a registry; tests/integration/test_shadow.py has one",
    "capstone-releases: Retrainings A": "needs a retraining; the catalog tells of none until there was one",
}


def main() -> int:
    console = Console(highlight=False)
    checks = Checks(console)
    with tempfile.TemporaryDirectory(prefix="capstone-watch-") as folder:
        check_alertmanager(Path(folder), checks)
        server = start(_settings(Path(folder)), Path(folder) / "data")
        try:
            _watch(server.wait_ready(_START_WITHIN_S), Path(folder), checks)
        except BaseException:
            console.print(server.tail(), markup=False)
            raise
        finally:
            server.kill()
    console.print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


def _settings(folder: Path) -> dict[str, str]:
    """One request may wait, so that of four at once some are refused; few answers make a window of drift."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params.setdefault("drift", {}).update(reference_rows=20, window_rows=10, min_rows=2)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return {
        "CAPSTONE_MAX_WAITING_GENERATIONS": "1",
        "CAPSTONE_TRACK_EVALUATIONS": "false",
        "CAPSTONE_ALERT_TOKEN": traffic.ALERT_TOKEN,
        "CAPSTONE_PARAMS": str(folder / "params.yaml"),
    }


def _watch(server: Server, folder: Path, checks: Checks) -> None:
    with prometheus(server.url.removeprefix("http://"), folder) as watching, client_of(server.url) as http:
        traffic.before(http)
        for _ in range(2):  # a rate needs a first value and a later one
            traffic.others(http)
            traffic.answers(http)
            _next_scrape(watching)
        _check_expressions(watching, checks)
        _check_rules(watching, checks)


def _next_scrape(watching: Watcher) -> None:
    """Wait until two more scrapes are in."""
    count = 'count_over_time(up{app="capstone"}[10m])'
    seen = sum(watching.query(count))
    deadline = time.monotonic() + _WITHIN_S
    while sum(watching.query(count)) < seen + 2:
        assert time.monotonic() < deadline, watching.get("/api/v1/targets")
        time.sleep(0.5)


def _check_expressions(watching: Watcher, checks: Checks) -> None:
    left = dict(expressions())
    checks.check("one that is never there returns nothing", not watching.has_data("capstone_no_such_metric"))
    deadline = time.monotonic() + _WITHIN_S
    for where in _RARE.keys() & left.keys():
        watching.query(left.pop(where))  # it has to parse
    total = len(left)
    while left and time.monotonic() < deadline:
        left = {where: expr for where, expr in left.items() if not watching.has_data(expr)}
        time.sleep(1 if left else 0)
    for where, expr in left.items():
        checks.check(where, False, f"no data: {expr}")
    checks.check("expressions return data", not left, f"{total - len(left)} of {total}; not asked for: {len(_RARE)}")


def _check_rules(watching: Watcher, checks: Checks) -> None:
    rules = [rule for group in watching.get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
    broken = [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule.get("lastError")]
    checks.check("rules are evaluated without errors", not broken, broken or len(rules))
    firing = [alert["labels"] for alert in watching.get("/api/v1/alerts")["data"]["alerts"]]
    urgent = [labels["alertname"] for labels in firing if labels["severity"] == "critical"]
    checks.check("no urgent alert about a platform that is well", not urgent, urgent)


if __name__ == "__main__":
    sys.exit(main())
