"""The process that is measured and killed: `python -m job_engine_children.child ENGINE MODE FOLDER [options]`.

Times are written as `time.monotonic()`, which on Linux is one clock for all processes.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import signal
import sqlite3
import threading
import time
from pathlib import Path

import sqlalchemy as sa

from job_engine_children.catalog import POLL_S, Engine, PageDone, ReadPage

PAGES = 40
CUT_PAGES = 2
BACKLOG = 3  # documents waiting: there is always work at a kill, and an end within reach after the last
TEXT = "Words of a page, about as many as a page of a manual holds. " * 40  # 2.4 kB


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=["table", "dbos", "dbos-separate"])
    parser.add_argument("mode", choices=["serve", "measure", "cut"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worker", default="worker-1")
    parser.add_argument("--page-ms", type=float, default=4.0, help="time a page takes to read, in serve")
    parser.add_argument("--documents", type=int, default=0, help="serve: upload until so many are acknowledged")
    parser.add_argument("--lease-s", type=float, default=30.0)
    parser.add_argument("--at", type=int, default=0, help="cut: die before this statement")
    parser.add_argument("--work", action="store_true", help="cut: count the worker's statements, not the enqueue's")
    arguments = parser.parse_args()
    {"serve": serve, "measure": measure, "cut": cut}[arguments.mode](arguments)


def build(arguments: argparse.Namespace, read_page: ReadPage, page_done: PageDone) -> Engine:
    if arguments.engine == "table":
        from job_engine_children.jobs_table import JobsTable

        return JobsTable(arguments.folder, arguments.worker, read_page, page_done, lease_s=arguments.lease_s)
    from job_engine_children.on_dbos import OnDbos

    separate = arguments.engine == "dbos-separate"
    return OnDbos(arguments.folder, arguments.worker, read_page, page_done, separate=separate)


def serve(arguments: argparse.Namespace) -> None:
    """Upload and process until killed. What must survive the kill is appended to `events` line by line."""
    events = os.open(arguments.folder / "events", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    past = (arguments.folder / "events").read_text()
    completed = len(re.findall(rf"^done \S+ {PAGES - 1} ", past, re.MULTILINE))

    def note(kind: str, document_id: str = "-", number: int = -1) -> None:
        os.write(events, f"{kind} {document_id} {number} {time.monotonic()}\n".encode())

    def read_page(document_id: str, number: int) -> str:
        note("start", document_id, number)
        time.sleep(arguments.page_ms / 1000)
        return TEXT

    def page_done(document_id: str, number: int) -> None:
        nonlocal completed
        note("done", document_id, number)
        completed += number == PAGES - 1

    engine = build(arguments, read_page, page_done)
    note("ready")
    for ordinal in range(len(re.findall(r"^ack ", past, re.MULTILINE)), arguments.documents):
        while ordinal - completed > BACKLOG:
            time.sleep(0.005)
        document_id = f"doc-{ordinal:04d}"
        store_file(arguments.folder, document_id)
        engine.enqueue(document_id, PAGES)
        note("ack", document_id)
    threading.Event().wait()


def store_file(folder: Path, document_id: str) -> None:
    part, final = folder / f"{document_id}.part", folder / f"{document_id}.pdf"
    with part.open("wb") as file:
        file.write(TEXT.encode() * PAGES)
        file.flush()
        os.fsync(file.fileno())
    part.rename(final)
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def measure(arguments: argparse.Namespace) -> None:
    """Print one JSON object: enqueue latency, time per page when reading a page costs nothing, memory."""
    count, finished = 6, threading.Event()
    spent: list[float] = []
    started = 0.0

    def read_page(_: str, number: int) -> str:
        nonlocal started
        if number == 0:
            started = time.perf_counter()
        return TEXT

    def page_done(_: str, number: int) -> None:
        if number == PAGES - 1:
            spent.append((time.perf_counter() - started) / PAGES)
            if len(spent) == count:
                finished.set()

    engine = build(arguments, read_page, page_done)
    ready = time.monotonic()
    enqueue = []
    for ordinal in range(30):
        begin = time.perf_counter()
        engine.enqueue(f"parked-{ordinal}", PAGES, parked=True)
        enqueue.append(time.perf_counter() - begin)
    for ordinal in range(count):
        engine.enqueue(f"doc-{ordinal}", PAGES)
    if not finished.wait(60):
        raise SystemExit("the documents were not processed within 60 s")
    # The first of each pays for compiled statements and a first connection.
    result = {
        "ready": ready,
        "enqueue_ms": 1000 * sum(enqueue[5:]) / len(enqueue[5:]),
        "page_ms": 1000 * sum(spent[1:]) / len(spent[1:]),
        "rss_mb": int(re.findall(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1024,
    }
    print(json.dumps(result), flush=True)
    os._exit(0)


def cut(arguments: argparse.Namespace) -> None:
    """Take one document in and die by SIGKILL just before the `--at`-th statement or commit; "through" if past it.

    Counted are the statements of the enqueue, or with `--work` those that follow its acknowledgement.
    """
    engine = build(arguments, lambda *_: TEXT, lambda *_: None)
    caller, counter, acknowledged = threading.get_ident(), itertools.count(), threading.Event()

    def step(*_: object) -> None:
        counted = acknowledged.is_set() if arguments.work else threading.get_ident() == caller
        if counted and next(counter) == arguments.at:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "before_cursor_execute", step)
    sa.event.listen(sa.Engine, "commit", step)
    engine.enqueue("cut", CUT_PAGES, parked=not arguments.work)
    acknowledged.set()
    if arguments.work:
        with contextlib.closing(sqlite3.connect(arguments.folder / "catalog.sqlite", timeout=30)) as db:
            while db.execute("SELECT count(*) FROM index_rows").fetchone()[0] < CUT_PAGES:
                time.sleep(0.01)
        time.sleep(4 * POLL_S)  # what an engine still writes after the commit is part of the sweep
    print("through", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
