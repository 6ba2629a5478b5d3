"""A jobs table in the catalog against DBOS 3.4: what each costs, and what kill -9 does to it.

    python benchmarks/job_engines.py [--kills 15] [--repetitions 8] [--seed 0]

Both run in the same environment (`.cache/bench-dbos`, made if missing), on the same disk, on SQLite with WAL and
`synchronous=FULL`, with the same polling interval and a fixed worker name, and their runs alternate. DBOS is given
its best case: its system tables share the catalog's file, so that document and workflow commit together.
About four minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from _side_by_side import CACHE, environment, interval, last_line, paired_ratio

PACKAGES = ("dbos==3.4.0", "sqlalchemy==2.1.9")
ENGINES = ("table", "dbos")
PAGES, CUT_PAGES = 40, 2  # of a document in the trials and in the sweeps, as the child has them
STALL_S = 20.0  # no new event for so long: whatever is unfinished is stuck
LEASE_S = 2.0  # of the take-over trial; elsewhere a worker comes back under its own name
TAKE_OVER_S = 10.0


@dataclass
class KillReport:
    kills: int = 0
    restart_s: list[float] = field(default_factory=list)
    acknowledged: int = 0
    lost: int = 0
    indexed_twice: int = 0
    stuck: int = 0
    in_flight_repeated: int = 0  # the page being read at the kill: at-least-once by nature
    repeated: int = 0  # pages read again although their checkpoint was held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=15, help="kill -9 of each engine")
    parser.add_argument("--repetitions", type=int, default=8, help="processes measured of each engine")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    python = environment("bench-dbos", PACKAGES)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="job-engines-") as scratch:
        root = Path(scratch)
        print(f"fdatasync of 4 kB on this disk: median {fdatasync_ms(root):.2f} ms\n")
        costs = measure_costs(python, root, arguments.repetitions)
        kills = kill_trials(python, root, arguments.kills, random.Random(arguments.seed))
        cuts = {engine: cut_enqueue(python, root, engine) for engine in (*ENGINES, "dbos-separate")}
        works = {engine: cut_work(python, root, engine) for engine in ENGINES}
        takeovers = {engine: take_over(python, root, engine) for engine in ENGINES}
    print_report(costs, kills, cuts, works, takeovers)


def child(python: Path, engine: str, mode: str, folder: Path, *options: str) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return [str(python), "-m", "job_engine_children.child", engine, mode, str(folder), *options]


def child_environment() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).resolve().parent)}


def measure_costs(python: Path, root: Path, repetitions: int) -> dict[str, dict[str, list[float]]]:
    """One fresh process and file a repetition, the engines in turn."""
    costs: dict[str, dict[str, list[float]]] = {engine: defaultdict(list) for engine in ENGINES}
    for repetition in range(repetitions):
        for engine in ENGINES if repetition % 2 == 0 else ENGINES[::-1]:
            begin = time.monotonic()
            line = last_line(
                child(python, engine, "measure", root / f"measure-{engine}-{repetition}"), env=child_environment()
            )
            result = json.loads(line)
            result["launch_s"] = result.pop("ready") - begin
            for name, value in result.items():
                costs[engine][name].append(value)
    return costs


class Life:
    """One run of a serving child, ended by kill -9."""

    def __init__(self, python: Path, engine: str, folder: Path, *options: str) -> None:
        self._path = folder / "events"
        self._command = child(python, engine, "serve", folder, *options)
        self._seen = self._path.stat().st_size if self._path.exists() else 0
        self.begin = time.monotonic()
        with (folder / "stderr").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=os.environ | child_environment(), stdout=log, stderr=log
            )

    def events(self) -> list[list[str]]:
        """`[kind, document, page, time]` of each event of this life so far."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._seen)
            return [line.split() for line in file.read().decode().splitlines()]

    def wait_for(self, reached: Callable[[list[list[str]]], bool], *, stall_s: float = STALL_S) -> bool:
        """Poll until `reached(events)`; False if no event comes for `stall_s` or the child dies."""
        count, last = 0, time.monotonic()
        while time.monotonic() - last < stall_s and self._process.poll() is None:
            events = self.events()
            if reached(events):
                return True
            if len(events) > count:
                count, last = len(events), time.monotonic()
            time.sleep(0.02)
        return False

    def first_done_s(self) -> float | None:
        return next((float(event[3]) - self.begin for event in self.events() if event[0] == "done"), None)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def kill_trials(python: Path, root: Path, kills: int, rng: random.Random) -> dict[str, KillReport]:
    """Lives of the engines alternate; the last life of each is left alone until it has nothing more to do."""
    reports = {engine: KillReport() for engine in ENGINES}
    folders = {engine: root / f"kill-{engine}" for engine in ENGINES}
    for folder in folders.values():
        folder.mkdir()
    for number in range(kills):
        at_launch, delay_s = number % 4 == 3, rng.uniform(0.0, 1.0)
        for engine, report in reports.items():
            life = Life(python, engine, folders[engine], "--documents", "1000000")
            if not at_launch:
                life.wait_for(lambda events: any(event[0] == "done" for event in events))
            time.sleep(delay_s)
            life.kill()
            report.kills += 1
            first = life.first_done_s()
            if number > 0 and not at_launch and first is not None:  # the first life starts, it does not restart
                report.restart_s.append(first)
    for engine, report in reports.items():
        finish(python, engine, folders[engine], report)
    return reports


def finish(python: Path, engine: str, folder: Path, report: KillReport) -> None:
    acknowledged = {line.split()[1] for line in (folder / "events").read_text().splitlines() if line.startswith("ack")}
    life = Life(python, engine, folder, "--documents", "0")
    life.wait_for(lambda _: acknowledged <= index_counts(folder).keys())
    life.kill()
    counts, present = index_counts(folder), set(query(folder, "SELECT id FROM documents"))
    report.acknowledged = len(acknowledged)
    report.lost = len(acknowledged - present)
    report.stuck = len((acknowledged & present) - counts.keys())
    report.indexed_twice = sum(count != PAGES for count in counts.values())
    held: set[tuple[str, str]] = set()
    started: Counter[tuple[str, str]] = Counter()
    for line in (folder / "events").read_text().splitlines():
        kind, document_id, number, _ = line.split()
        page = (document_id, number)
        if kind == "done":
            held.add(page)
        elif kind == "start":
            report.repeated += page in held
            report.in_flight_repeated += page not in held and started[page] > 0
            started[page] += 1


def query(folder: Path, statement: str, file: str = "catalog.sqlite") -> list[str]:
    with contextlib.closing(sqlite3.connect(folder / file, timeout=30)) as db:
        return [str(row[0]) for row in db.execute(statement)]


def index_counts(folder: Path) -> Counter[str]:
    """Index rows by document; each page of a document gives one."""
    return Counter(query(folder, "SELECT document_id FROM index_rows"))


def cut_once(python: Path, engine: str, folder: Path, *options: str) -> bool:
    """Run a child that dies at one chosen statement; True if it came through because there was no such statement."""
    command = child(python, engine, "cut", folder, *options)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | child_environment(), timeout=60, check=False
    )
    if "through" in done.stdout:
        return True
    if done.returncode != -signal.SIGKILL:
        raise RuntimeError(f"{engine}: the child ended with {done.returncode}, not by its own kill")
    return False


def cut_enqueue(python: Path, root: Path, engine: str) -> tuple[int, int]:
    """Die before each statement of one enqueue: (moments tried, documents left without a job or jobs without one)."""
    torn = 0
    for moment in itertools.count():
        folder = root / f"cut-{engine}-{moment}"
        through = cut_once(python, engine, folder, "--at", str(moment))
        document = bool(query(folder, "SELECT id FROM documents WHERE id = 'cut'"))
        if engine == "table":
            job = bool(query(folder, "SELECT id FROM jobs WHERE document_id = 'cut'"))
        else:
            file = "system.sqlite" if engine == "dbos-separate" else "catalog.sqlite"
            job = bool(query(folder, "SELECT 1 FROM workflow_status WHERE workflow_uuid = 'cut'", file))
        if through:
            if not (document and job):
                raise RuntimeError(f"{engine}: an undisturbed enqueue left document={document}, job={job}")
            return moment, torn
        torn += document != job
    raise AssertionError("count() does not end")


def wait_until_indexed(life: Life, folder: Path) -> None:
    life.wait_for(lambda _: bool(index_counts(folder)))


def cut_work(python: Path, root: Path, engine: str) -> tuple[int, int]:
    """Die before each statement of the worker in turn, restart: (moments tried, documents not indexed exactly once)."""
    wrong = 0
    for moment in itertools.count():
        folder = root / f"cut-work-{engine}-{moment}"
        through = cut_once(python, engine, folder, "--work", "--at", str(moment))
        life = Life(python, engine, folder, "--documents", "0")
        wait_until_indexed(life, folder)
        life.kill()
        wrong += index_counts(folder) != {"cut": CUT_PAGES}
        if through:
            return moment, wrong
    raise AssertionError("count() does not end")


def take_over(python: Path, root: Path, engine: str) -> float | None:
    """Seconds until a worker of another name finishes what a killed one had begun; None if it never does."""
    folder = root / f"take-over-{engine}"
    folder.mkdir()
    lease = ("--lease-s", str(LEASE_S))
    life = Life(python, engine, folder, "--worker", "worker-1", "--documents", "1", "--page-ms", "20", *lease)
    life.wait_for(lambda events: any(event[:3] == ["done", "doc-0000", "5"] for event in events))
    life.kill()
    heir = Life(python, engine, folder, "--worker", "worker-2", "--documents", "1", "--page-ms", "20", *lease)
    heir.wait_for(lambda _: "doc-0000" in index_counts(folder), stall_s=TAKE_OVER_S)
    heir.kill()
    return heir.first_done_s()


def fdatasync_ms(folder: Path) -> float:
    handle = os.open(folder / "probe", os.O_CREAT | os.O_WRONLY)
    spent = []
    for _ in range(100):
        begin = time.perf_counter()
        os.write(handle, bytes(4096))
        os.fdatasync(handle)
        spent.append(time.perf_counter() - begin)
    os.close(handle)
    return 1000 * statistics.median(spent)


def print_report(
    costs: dict[str, dict[str, list[float]]],
    kills: dict[str, KillReport],
    cuts: dict[str, tuple[int, int]],
    works: dict[str, tuple[int, int]],
    takeovers: dict[str, float | None],
) -> None:
    rows: list[tuple[str, list[str]]] = []
    for label, name, digits in (
        ("checkpoint a page (ms)", "page_ms", 2),
        ("enqueue (ms)", "enqueue_ms", 2),
        ("import + launch (s)", "launch_s", 2),
        ("resident memory (MB)", "rss_mb", 1),
    ):
        table, dbos = (costs[engine][name] for engine in ENGINES)
        ratio = paired_ratio(dbos, table).text()
        rows.append((label, [interval(table).text(digits), interval(dbos).text(digits), ratio]))
    both = [kills[engine] for engine in ENGINES]
    rows.append(("restart to first new page (s)", [interval(r.restart_s).text() if r.restart_s else "-" for r in both]))
    for label, name in (
        ("kill -9", "kills"),
        ("documents acknowledged", "acknowledged"),
        ("  lost", "lost"),
        ("  stuck", "stuck"),
        ("  indexed twice or in part", "indexed_twice"),
        ("  pages read again after checkpoint", "repeated"),
        ("  pages in flight read again", "in_flight_repeated"),
    ):
        rows.append((label, [str(getattr(report, name)) for report in both]))
    rows.append(("torn enqueues / moments killed at", [f"{cuts[e][1]} / {cuts[e][0]}" for e in ENGINES]))
    rows.append(("not indexed once / worker killed at", [f"{works[e][1]} / {works[e][0]}" for e in ENGINES]))
    late = [takeovers[engine] for engine in ENGINES]
    taken = [f"not in {TAKE_OVER_S:.0f}" if seconds is None else f"{seconds:.1f}" for seconds in late]
    rows.append((f"taken over by another worker (s, lease {LEASE_S:.0f} s)", taken))
    print(f"{'':44}{'jobs table':>22}{'DBOS':>22}{'ratio, pair by pair':>22}")
    for label, cells in rows:
        print(f"{label:44}" + "".join(f"{cell:>22}" for cell in cells))
    moments, torn = cuts["dbos-separate"]
    print(f"\nDBOS with its system tables in a file of their own (its default): {torn} of {moments} moments tear.")
    print(
        "Mean and 95 % bootstrap interval over alternating processes. The page in flight at a kill runs again in both."
    )


if __name__ == "__main__":
    main()
