"""What does a page, a search, an answer cost? Processor seconds, measured; energy, estimated from them.

    python benchmarks/energy.py [--watts-per-core 10] [--pdf DIR] [--questions 10]

Starts `capstone up`, and counts the user and system time of all its processes (from /proc) while it starts, ingests
PDFs, searches, answers, and stands idle for a minute. Processor seconds do not depend on who else uses the machine as
wall seconds do, but shared caches, and threads that wait by spinning, add some.

Energy is processor seconds times `--watts-per-core`: an ASSUMPTION, not a measurement. A server's core at work takes
some 5 to 15 W, memory, fans and the power supply's losses included; give your own. Where a meter can be read (RAPL, in
/sys/class/powercap) its figure stands beside: of the whole package, with whatever else runs on it. Virtual machines
have none.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from _side_by_side import REPOSITORY, capstone_server
from ingest import pdf_files, upload, wait_for

QUESTIONS = REPOSITORY / "models" / "data" / "questions.jsonl"
ABOUT = "fhs-3.0.pdf"
IDLE_S, HOUR_S = 60.0, 3600.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Account:
    """Prints a line of the table for each thing that is done."""

    def __init__(self, watts_per_core: float) -> None:
        self._watts = watts_per_core
        self._metered = joules() is not None
        print("meter: " + ("RAPL, of the whole package" if self._metered else "none can be read on this machine"))
        print(f"\n| what | processor seconds | energy at {watts_per_core:g} W a core |{' metered |' * self._metered}")
        print("|---|---|---|" + "---|" * self._metered)

    @contextmanager
    def of(self, name: str, parts: float) -> Iterator[None]:
        """What is done inside, divided by `parts`."""
        seconds, metered = processor_seconds(), joules()
        yield
        seconds = (processor_seconds() - seconds) / parts
        line = f"| {name} | {seconds:.2f} | {milliwatt_hours(seconds * self._watts):.2f} mWh |"
        if metered is not None and (now := joules()) is not None:
            line += f" {milliwatt_hours((now - metered) / parts):.2f} mWh |"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watts-per-core", type=float, default=10.0, help="assumed, of a core at work")
    parser.add_argument(
        "--pdf", type=Path, default=REPOSITORY / "examples", help="a folder; the example in it is asked"
    )
    parser.add_argument("--questions", type=int, default=10, help="each is searched for and answered once; at most 40")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "data" / "models", help="CAPSTONE_MODELS_DIR")
    given = parser.parse_args()
    files, questions = pdf_files(given.pdf), about_the_example(given.questions)
    account = Account(given.watts_per_core)
    with (
        tempfile.TemporaryDirectory() as scratch,
        capstone_server(Path(scratch) / "data", given.models.resolve(), ready_timeout_s=600) as url,
        httpx.Client(base_url=url, timeout=600) as client,
    ):
        pages = ingest(account, client, files)
        with account.of(f"a search (of {len(questions)})", len(questions)):
            for question in questions:
                client.post("/v1/search", json={"query": question}).raise_for_status()
        with account.of(f"an answer (of {len(questions)})", len(questions)):
            for question in questions:
                client.post("/v1/answers", json={"question": question}).raise_for_status()
        with account.of("an hour of standing idle (from a minute)", IDLE_S / HOUR_S):
            time.sleep(IDLE_S)
    print(f"\n{len(files)} files, {pages} pages")


def ingest(account: Account, client: httpx.Client, files: list[Path]) -> int:
    """Read all `files` twice, and count the second time, when models are loaded; returns how many pages that was."""
    wait_for(client, [upload(client, file.name, file.read_bytes(), "first") for file in files], timeout_s=3600)
    client.post("/v1/answers", json={"question": "What is /srv for?", "collection": "first"}).raise_for_status()
    (pages,) = (row["pages"] for row in client.get("/v1/collections").json()["data"])
    with account.of(f"ingest, a page (of {pages})", pages):
        wait_for(client, [upload(client, file.name, file.read_bytes(), "default") for file in files], timeout_s=3600)
    return int(pages)


def about_the_example(most: int) -> list[str]:
    rows = map(json.loads, QUESTIONS.read_text().splitlines())
    return [row["question"] for row in rows if row["document"] == ABOUT and row["kind"] != "unanswerable"][:most]


def processor_seconds() -> float:
    """User and system time of all descendants of this process, and of those they have waited for."""
    parents, ticks = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents[int(entry.name)], ticks[int(entry.name)] = int(fields[1]), sum(map(int, fields[11:15]))

    def ours(pid: int) -> bool:
        return pid in parents and (parents[pid] == os.getpid() or ours(parents[pid]))

    return TICK_S * sum(ticks[pid] for pid in ticks if ours(pid))


def joules() -> float | None:
    """The sum of the counters of all packages, which wrap around after hours; None where there is none to read."""
    try:
        meters = [int(path.read_text()) for path in Path("/sys/class/powercap").glob("intel-rapl:?/energy_uj")]
    except OSError:
        return None
    return sum(meters) / 1e6 if meters else None


def milliwatt_hours(joules: float) -> float:
    return joules / HOUR_S * 1000


if __name__ == "__main__":
    main()
