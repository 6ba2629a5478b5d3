"""Ingest speed against LangChain: pages a second, the same PDFs, the same encoder, the same run.

    python benchmarks/ingest.py [--pdf DIR] [--pairs 3]

LangChain (`ingest_langchain.py`, in `.cache/bench-langchain`, made if missing) and Capstone take turns. Each starts a
fresh process and is timed once its encoder is loaded and warm: LangChain from the first page read to the index saved,
Capstone's server (`capstone up`, an empty data folder) from the first upload to the last job succeeded, so that
HTTP, the limited parser process, checkpoints and the durable commit count against it. Prints the ratio pair by pair.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from _side_by_side import CACHE, REPOSITORY, capstone_server, environment, interval, last_line, paired_ratio

POLL_S = 0.1
TARGET = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pdf", type=Path, default=None, help="folder of PDFs (default: ../shared/evalset/pdf or examples)"
    )
    parser.add_argument("--models", type=Path, default=REPOSITORY / "data" / "models", help="CAPSTONE_MODELS_DIR")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--timeout-s", type=float, default=1800.0, help="of one run")
    parser.add_argument("--only", choices=["langchain", "capstone"], help="measure one side, without a ratio")
    arguments = parser.parse_args()
    files = pdf_files(arguments.pdf)
    print(f"{len(files)} files: {', '.join(path.name for path in files)}", flush=True)

    speeds: dict[str, list[float]] = {"langchain": [], "capstone": []}
    for pair in range(arguments.pairs):
        for side in ("langchain", "capstone") if pair % 2 == 0 else ("capstone", "langchain"):
            if arguments.only not in (None, side):
                continue
            if side == "langchain":
                pages, chunks, seconds = langchain_run(arguments.models / "encoder", files)
            else:
                pages, chunks, seconds = capstone_run(arguments.models, files, arguments.timeout_s)
            speeds[side].append(pages / seconds)
            print(
                f"pair {pair + 1}  {side:10} {pages} pages, {chunks} chunks in {seconds:6.1f} s:"
                f" {pages / seconds:6.2f} pages/s   (load {os.getloadavg()[0]:.1f})",
                flush=True,
            )
    for side, values in speeds.items():
        if values:
            print(f"{side:10} {interval(values).text()} pages/s")
    if speeds["langchain"] and speeds["capstone"]:
        ratios = [ours / theirs for ours, theirs in zip(speeds["capstone"], speeds["langchain"], strict=True)]
        print("ratio by pair: " + ", ".join(f"{ratio:.2f}" for ratio in ratios))
        ratio = paired_ratio(speeds["capstone"], speeds["langchain"])
        print(f"ratio {ratio.text()} (95 % bootstrap over pairs; wanted >= {TARGET})")


def pdf_files(folder: Path | None) -> list[Path]:
    folders = [folder] if folder else [REPOSITORY.parent / "shared" / "evalset" / "pdf", REPOSITORY / "examples"]
    for candidate in folders:
        files = sorted(candidate.glob("*.pdf"))
        if files:
            return [path.resolve() for path in files]
    raise SystemExit(f"no PDF in {' or '.join(map(str, folders))}")


def langchain_run(encoder: Path, files: list[Path]) -> tuple[int, int, float]:
    """(pages, chunks, seconds) of one fresh process."""
    result = langchain_script("ingest_langchain.py", str(encoder.resolve()), *map(str, files))
    return result["pages"], result["chunks"], result["seconds"]


def langchain_script(name: str, *arguments: str) -> Any:
    """The JSON that a script of this folder prints last, run in LangChain's own environment."""
    requirements = REPOSITORY / "benchmarks" / "langchain-requirements.txt"
    python = environment("bench-langchain", ["-r", str(requirements)])
    script = REPOSITORY / "benchmarks" / name
    return json.loads(last_line([str(python), "-W", "ignore", str(script), *arguments], env={"HF_HUB_OFFLINE": "1"}))


def capstone_run(models: Path, files: list[Path], timeout_s: float) -> tuple[int, int, float]:
    """(pages, chunks, seconds) of one fresh server. The warm-up page makes its worker load the encoder."""
    with (
        tempfile.TemporaryDirectory(dir=CACHE, prefix="ingest-") as scratch,
        capstone_server(Path(scratch) / "data", models.resolve()) as url,
        httpx.Client(base_url=url, timeout=60.0) as client,
    ):
        wait_for(client, [upload(client, "warm-up.pdf", warm_up_pdf(), "warm-up")], timeout_s)
        begin = time.perf_counter()
        uploads = [upload(client, path.name, path.read_bytes(), "benchmark") for path in files]
        wait_for(client, uploads, timeout_s)
        seconds = time.perf_counter() - begin
        documents = [client.get(f"/v1/documents/{document_id}").json() for document_id, _ in uploads]
    return sum(d["pages"] for d in documents), sum(d["chunks"] for d in documents), seconds


def upload(client: httpx.Client, name: str, content: bytes, collection: str) -> tuple[str, str]:
    """(document id, job id)."""
    answer = client.post(
        "/v1/documents", files={"file": (name, content, "application/pdf")}, data={"collection": collection}
    )
    answer.raise_for_status()
    body = answer.json()
    return body["id"], body["job"]["id"]


def wait_for(client: httpx.Client, uploads: list[tuple[str, str]], timeout_s: float) -> None:
    """Return when every job has succeeded. Raises RuntimeError if one ends otherwise, or at the time limit."""
    deadline = time.monotonic() + timeout_s
    waiting = [job_id for _, job_id in uploads]
    while waiting:
        job = client.get(f"/v1/jobs/{waiting[0]}").raise_for_status().json()
        if job["status"] == "succeeded":
            waiting.pop(0)
        elif job["status"] in ("failed", "cancelled"):
            raise RuntimeError(f"a document was not ingested: {job['status']}, {job['error']}")
        elif time.monotonic() > deadline:
            raise RuntimeError(f"not ingested after {timeout_s:.0f} s: {job['progress']}")
        else:
            time.sleep(POLL_S)


def warm_up_pdf() -> bytes:
    """A PDF of one page with one sentence, written out by hand (PDF 32000-1:2008, 7.5)."""
    content = b"BT /F1 12 Tf 72 720 Td (A page that is read once so that the encoder is loaded and warm.) Tj ET"
    font = b"<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font %s >> >>" % font,
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return out + head + table + trailer


if __name__ == "__main__":
    main()
