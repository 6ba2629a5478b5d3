"""Warm start to the first answer, and memory after ingesting the four manuals.

    python benchmarks/footprint.py [--starts 5] [--pdf DIR]

A start is warm when the weights, the environment and the page cache are there and a document is indexed: from the
`capstone up` process being started to the last byte of the first answer. Memory is the sum of the resident sets of
every process of the one-machine group (pages they share are counted in each), after ingest and one answer.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import urllib.request
from pathlib import Path

import httpx
from _side_by_side import REPOSITORY, capstone_server, interval
from ingest import pdf_files, upload, wait_for

QUESTION = "How do I see which packages are installed?"
MIB = 1024 * 1024
START_WANTED_S, MEMORY_WANTED_GB = 20.0, 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--pdf", type=Path, default=None, help="folder of PDFs (default: the gold manuals or examples)")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "data" / "models", help="CAPSTONE_MODELS_DIR")
    arguments = parser.parse_args()
    models, files = arguments.models.resolve(), pdf_files(arguments.pdf)
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        with capstone_server(data, models) as url, httpx.Client(base_url=url, timeout=300) as client:
            wait_for(
                client, [upload(client, file.name, file.read_bytes(), "default") for file in files], timeout_s=1800
            )
            ask(url)
            resident = resident_bytes_of_session()
        print(f"{len(files)} files ingested")
        print(
            f"resident memory: {sum(resident.values()) / MIB:.0f} MiB in {len(resident)} processes: "
            f"{', '.join(f'{size / MIB:.0f}' for size in resident.values())} (wanted <= {MEMORY_WANTED_GB} GB)"
        )
        seconds = []
        for run in range(arguments.starts):
            begun = time.perf_counter()
            with capstone_server(data, models) as url:
                ready = time.perf_counter() - begun
                ask(url)
                seconds.append(time.perf_counter() - begun)
            print(f"start {run + 1}: ready after {ready:.1f} s, first answer after {seconds[-1]:.1f} s", flush=True)
    print(f"warm start to first answer: {interval(seconds).text(1)} s (wanted <= {START_WANTED_S:.0f})")


def ask(url: str) -> None:
    body = json.dumps({"question": QUESTION}).encode()
    request = urllib.request.Request(f"{url}/v1/answers", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as reply:
        assert json.load(reply)["answer"]


def resident_bytes_of_session() -> dict[int, int]:
    """Resident set, by pid, of all descendants of this process."""
    parents, sizes = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            parents[int(entry.name)], sizes[int(entry.name)] = (
                int(fields[1]),
                int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
            )

    def ours(pid: int) -> bool:
        return pid in parents and (parents[pid] == os.getpid() or ours(parents[pid]))

    return {pid: sizes[pid] for pid in sorted(sizes) if ours(pid)}


if __name__ == "__main__":
    main()
