"""The platform itself as a tool: started as its own process, spoken to over HTTP, always stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from models.errors import BadInput
from models.progress import Steps
from services.core.errors import Unavailable

START_WITHIN_S = 600.0  # loading PyTorch takes seconds, or minutes where other work has the cores
STOP_WITHIN_S = 20.0
LOOK_EVERY_S = 0.1
REQUEST_TIMEOUT_S = 120.0
MAX_K = 100  # of POST /v1/search


@dataclass(frozen=True, slots=True)
class Found:
    """One passage of an answer of /v1/search: `score` is the cosine similarity, `rank` counts from 1."""

    section: tuple[str, ...]
    text: str
    page: int
    score: float
    rank: int


class Platform:
    """A running platform. Every method raises Unavailable if it does not answer as it should."""

    def __init__(self, http: httpx.Client, log: Path) -> None:
        self.url = str(http.base_url)
        self._http = http
        self._log = log
        self._documents: dict[str, str] = {}  # id of the document that a collection was made for

    def ingest(self, files: Mapping[str, Path], steps: Steps) -> None:
        """Upload each file into the collection it is filed under and wait until it can be searched.

        Raises BadInput for a file that the platform refuses.
        """
        jobs = {collection: self._upload(path, collection) for collection, path in files.items()}
        sizes = {collection: path.stat().st_size for collection, path in files.items()}
        with steps.step(f"ingest {len(files)} documents", sum(sizes.values())) as advance:
            for collection, job_url in jobs.items():
                told = 0
                for share in self._followed(job_url, files[collection]):
                    advance(int(share * sizes[collection]) - told)
                    told = int(share * sizes[collection])

    def search(self, query: str, collection: str, k: int) -> list[Found]:
        """At most `k` passages, best first."""
        body = {"query": query, "collection": collection, "k": k}
        rows = self._send("POST", "/v1/search", json=body)["results"]
        return [
            Found(tuple(row["section"]), row["text"], row["page"], row["score"], rank)
            for rank, row in enumerate(rows, 1)
        ]

    def page_text(self, collection: str, page: int) -> str:
        """The stored text of one page of the document that was ingested into `collection`; empty past the last."""
        document = self._send("GET", f"/v1/documents/{self._documents[collection]}")
        if page > (document["pages"] or 0):
            return ""
        return str(self._send("GET", f"/v1/documents/{document['id']}/pages/{page}")["text"])

    def _upload(self, path: Path, collection: str) -> str:
        with path.open("rb") as file:
            document = self._send("POST", "/v1/documents", files={"file": file}, data={"collection": collection})
        self._documents[collection] = document["id"]
        return str(document["job"]["url"])

    def _followed(self, job_url: str, path: Path) -> Iterator[float]:
        """The share that is done, again and again until it is 1."""
        while True:
            job = self._send("GET", job_url)
            if job["status"] == "succeeded":
                yield 1.0
                return
            if job["status"] in ("failed", "cancelled"):
                reason = job["error"]["detail"] if job["error"] else job["status"]
                raise BadInput(path, f"ingest failed: {reason}", remedy="Fetch the file again, or leave it out.")
            progress = job["progress"]
            yield progress["done"] / progress["total"] if progress["total"] else 0.0
            time.sleep(LOOK_EVERY_S)

    def _send(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._http.request(method, path, **options)
            response.raise_for_status()
            return response.json()
        except httpx.HTTPStatusError as error:
            raise Unavailable(f"The platform answered {method} {path} with {error.response.text}") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"The platform does not answer ({error}). Its log ends:\n{_tail(self._log)}") from error


@contextmanager
def started(models_dir: Path, encoder: str, steps: Steps) -> Iterator[Platform]:
    """A platform with empty folders of its own on a free port of the loopback, gone when the block ends.

    `encoder` is the setting CAPSTONE_ENCODER. Raises Unavailable if it does not start; the text has the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="capstone-prepare-") as folder:
        log = Path(folder, "platform.log")
        process = _start(Path(folder), log, models_dir, encoder)
        try:
            with steps.step("start the platform"):
                url = _wait(process, log)
            with httpx.Client(base_url=url, timeout=REQUEST_TIMEOUT_S, trust_env=False) as http:
                yield Platform(http, log)
        finally:
            _stop(process)


def _start(folder: Path, log: Path, models_dir: Path, encoder: str) -> subprocess.Popen[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CAPSTONE_")}
    settings = {
        "DATA_DIR": folder / "data",
        "MODELS_DIR": models_dir.resolve(),
        "ENCODER": encoder,
        # Retrieval needs neither a generator nor a release: those are made from what is prepared here.
        "GENERATOR": "scripted",
        "CLASSIFIER": "overlap",
        "RERANK_DEPTH": 0,
        "RELEASE_DIR": "",
        "HOST": "127.0.0.1",
        "PORT": 0,
        "LOG_LEVEL": "WARNING",
    }
    environment = {f"CAPSTONE_{name}": str(value) for name, value in settings.items()}
    program = (
        f"from services.core.process import die_with_parent; die_with_parent({os.getpid()})\n"
        "from services.cli import app; app(['up'])"
    )
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-u", "-c", program],
            env=clean | environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C goes to us alone; we stop it in good order
        )


def _wait(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        if url := re.search(r"http://127\.0\.0\.1:\d+", log.read_text(errors="replace")):
            try:
                if httpx.get(url[0] + "/readyz", timeout=REQUEST_TIMEOUT_S, trust_env=False).is_success:
                    return url[0]
            except httpx.HTTPError:
                pass  # it has the port, and does not answer yet
        time.sleep(LOOK_EVERY_S)
    raise Unavailable(f"The platform did not start, which `prepare` needs to retrieve. Its log ends:\n{_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # not reaped yet, so the number is still ours
        process.wait()


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
