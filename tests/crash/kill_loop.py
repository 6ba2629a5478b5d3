"""Kill the platform at random moments of real work, and prove that nothing is lost, doubled or stuck.

    python -m tests.crash.kill_loop [--kills 50] [--seed N] [--pdf DIR] [--budget-s 600] [--encoder hashing]

First every file is ingested undisturbed, for comparison. Then `capstone up` runs on an empty folder while a client
uploads, deletes and searches, and SIGKILL hits the whole process group, the server alone or the worker alone; part of
the kills are aimed at a phase, the others fall anywhere. After each the platform is started again at once on the same
data (a killed worker must come back by itself). In the end everything is compared: with what the client was told, row
by row with the undisturbed ingest, and search by search with the vectors in the catalog.

Exits with 1 if any check failed, and then keeps the folder with the data and the log.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.crash.loop import DIE_WITHIN_S, PHASES, TARGETS, KillLoop
from tests.crash.machine import ROOT, START_WITHIN_S, Platform, free_port, still_alive, wait_for
from tests.crash.traffic import Pdf, example_set, list_documents, pdf_set
from tests.crash.verify import (
    Ingested,
    Report,
    age_files,
    check_catalog,
    check_files,
    check_http,
    counts,
    ingested,
    reading,
)

DRAIN_STALL_S = 90.0  # no document has ended for so long: stuck


def ingest_undisturbed(platform: Platform, pdfs: list[Pdf], console: Console) -> dict[str, Ingested]:
    """What one clean ingest of each file leaves, by SHA-256."""
    platform.start()
    platform.wait_ready()
    hashes = {}
    with httpx.Client(base_url=platform.url, timeout=60.0, trust_env=False) as http:
        for pdf in pdfs:
            answer = http.post("/v1/documents", files={"file": (pdf.name, pdf.data)})
            hashes[answer.raise_for_status().json()["id"]] = pdf.sha256
        drain(http, console)
    platform.stop()
    with reading(platform.catalog) as connection:
        return {hashes[document_id]: run for document_id, run in ingested(connection).items()}


def drain(http: httpx.Client, console: Console) -> None:
    """Wait until no document waits or is in work; returns also when none has ended for a long time."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("documents done")
        left, since = -1, time.monotonic()
        while left and time.monotonic() - since < DRAIN_STALL_S:
            rows = list_documents(http.request)
            now = sum(row["status"] in ("queued", "running") for row in rows)
            if now != left:
                left, since = now, time.monotonic()
            progress.update(task, completed=len(rows) - left, total=len(rows))
            time.sleep(0.25)


def judge(loop: KillLoop, pdfs: list[Pdf], clean: dict[str, Ingested], console: Console) -> dict[str, Ingested]:
    """All checks, on the platform as it is, after one more kill at rest, and after an orderly end."""
    platform, report = loop.platform, loop.report
    with httpx.Client(base_url=platform.url, timeout=60.0, trust_env=False) as http:
        drain(http, console)
    now = check_catalog(report, platform.catalog, loop.ledger, clean)
    check_http(report, platform.url, platform.catalog, loop.ledger, pdfs)
    platform.kill("group")
    age_files(platform.data_dir / "files")
    platform.start()
    platform.wait_ready()
    crumb = platform.data_dir / "files" / "doc_left_by_a_crash.part"
    wait_for(lambda: not crumb.exists(), START_WITHIN_S)
    check_files(report, platform.data_dir / "files", platform.catalog)
    check_http(report, platform.url, platform.catalog, loop.ledger, pdfs)
    family = platform.family()
    status = platform.stop()
    wait_for(lambda: not still_alive(family), DIE_WITHIN_S)
    report.check("an orderly end leaves no process", [f"exit {status}"] if status != 0 else still_alive(family))
    again = Report()
    check_catalog(again, platform.catalog, loop.ledger, clean)
    report.check("the same after one more start", [f for found in again.findings.values() for f in found])
    return now


def show(console: Console, loop: KillLoop, now: dict[str, Ingested]) -> None:
    table = Table("kills of", *PHASES, "all", title="Kills by what was hit and what it was doing")
    for target in TARGETS:
        row = [loop.kills[target, phase] for phase in PHASES]
        table.add_row(f"the {target}", *(str(count) for count in row), str(sum(row)))
    totals = [sum(loop.kills[target, phase] for target in TARGETS) for phase in PHASES]
    table.add_row("[bold]all", *(f"[bold]{count}" for count in totals), f"[bold]{sum(totals)}")
    console.print(table)
    hit = ", ".join(f"{count} of {name}" for name, count in sorted(loop.requests_hit.items()))
    console.print(f"requests in flight when the server was killed: {hit}", soft_wrap=True)
    if loop.takeovers_s:
        longest_s, seen = max(loop.takeovers_s), len(loop.takeovers_s)
        console.print(f"jobs in work taken over by a new worker within {longest_s:.1f} s ({seen} times seen)")
    ledger, report = loop.ledger, loop.report
    figures = counts(ledger, now) | {
        "repeats": ledger.repeats,
        "lost": report.count("no acknowledged document is missing", "each is ready, or failed with a reason"),
        "duplicates": report.count("no bytes twice in a collection", "no chunk twice", "published once"),
        "stuck": report.count("no job is stuck"),
    }
    console.print("  ".join(f"{name} [bold]{value}[/bold]" for name, value in figures.items()), soft_wrap=True)
    reasons = Counter(run.error_code for run in now.values() if run.status == "failed")
    console.print(f"reasons of failed documents: {dict(reasons)}")


def print_verdict(console: Console, report: Report) -> None:
    """Each check, what it found, and the closing line."""
    for name, found in report.findings.items():
        console.print(f"[{'red' if found else 'green'}]{'FAILED' if found else 'passed'}[/] {name}")
        for item in found[:5]:
            console.print(f"         {item}", markup=False, soft_wrap=True)
    failed = report.failed()
    console.print(f"{len(report.findings) - failed} passed, {failed} failed", highlight=False)


def choose_pdfs(folder: Path, console: Console) -> list[Pdf]:
    if any(folder.glob("*.pdf")):
        return pdf_set(folder)
    console.print(f"[yellow]No PDF in {folder}: copies of the example document are used instead.[/yellow]")
    return example_set(ROOT / "examples" / "fhs-3.0.pdf")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="of the random moments (default: another each time)")
    parser.add_argument("--pdf", type=Path, default=ROOT.parent / "shared" / "evalset" / "pdf", help="gold manuals")
    parser.add_argument("--budget-s", type=float, default=600.0, help="seconds for all up to the last kill")
    parser.add_argument("--encoder", choices=["tuned", "sentence", "hashing"], default="tuned")
    arguments = parser.parse_args()
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
    console, begun = Console(), time.monotonic()
    pdfs = choose_pdfs(arguments.pdf, console)
    console.print(f"{len(pdfs)} files, seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="capstone-crash-"))
    platforms = [Platform(folder / name, arguments.encoder, free_port()) for name in ("clean", "killed")]
    try:
        clean = ingest_undisturbed(platforms[0], pdfs, console)
        console.print(f"ingested undisturbed in {time.monotonic() - begun:.0f} s, the start included")
        loop = KillLoop(platforms[1], pdfs, clean, seed)
        left_s = max(arguments.budget_s - (time.monotonic() - begun), arguments.budget_s / 2)
        kill_with_progress(loop, arguments.kills, left_s, console)
        now = judge(loop, pdfs, clean, console)
    finally:
        for platform in platforms:
            platform.end()
    show(console, loop, now)
    console.print(f"{time.monotonic() - begun:.0f} s, seed {seed}")
    if loop.report.failed():
        console.print(f"data and logs are kept in {folder}")
    else:
        shutil.rmtree(folder)
    print_verdict(console, loop.report)
    return 1 if loop.report.failed() else 0


def kill_with_progress(loop: KillLoop, kills: int, budget_s: float, console: Console) -> None:
    text = TextColumn("{task.description}")
    columns = (TextColumn("kills"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), text)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=kills)
        begun, done = time.monotonic(), 0

        def tell(text: str) -> None:
            nonlocal done
            done += 1
            progress.update(task, advance=1, description=text)
            if not console.is_terminal and done % 10 == 0:
                print(f"{done} kills after {time.monotonic() - begun:.0f} s, {text}", flush=True)

        loop.run(kills, budget_s, tell)


if __name__ == "__main__":
    sys.exit(main())
