"""The image of the Hugging Face Space, from its build to an answer: `make e2e-space`. Needs a Docker engine.

Builds it, starts it as the host of Spaces does (user 1000, one port) with what it does not need taken away, waits until
the example is read, and asks it over HTTP. Exit code 1 if a check fails; the container is removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from rich.console import Console

from tests.calls import EXAMPLE, upload
from tests.checks import Checks
from tests.compose.stack import LOCAL_BASE, ROOT, build_image, can_reach_registry, docker, package_index, require_engine
from tests.server import free_port

IMAGE = NAME = "capstone-space"
PORT = 7860
READ_WITHIN_S = 900.0
QUESTION = "What is /var/tmp for?"

console = Console(highlight=False, width=160)
checks = Checks(console)


@contextmanager
def step(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    console.print(f"{time.monotonic() - begun:8.1f} s  {what}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-build", action="store_true", help="the image is there")
    parser.add_argument("--run-option", action="append", default=[], help="further option of `docker run`")
    given = parser.parse_args()
    require_engine()
    if not given.no_build:
        built()
    size = int(docker("image", "inspect", "--format", "{{.Size}}", IMAGE))
    console.print(f"{size / 1e9:8.2f} GB  the image")
    url = started(given.run_option)
    try:
        proven(url)
    finally:
        docker("rm", "--force", "--volumes", NAME)
    console.print(f"{checks.passed} checks passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


def built() -> None:
    """Over this machine's base image and package index, if no registry can be reached."""
    arguments, stand_ins = {"SERVICE": "space", "WEIGHTS": "baked"}, not can_reach_registry()
    if stand_ins:
        arguments |= {"PYTHON_IMAGE": LOCAL_BASE, "TORCH_INDEX": ""}
    with package_index() as options:
        dockerfile = ROOT / "infra" / "docker" / "Dockerfile"
        seconds = build_image(IMAGE, ROOT, dockerfile, arguments, options if stand_ins else [])
    console.print(f"{seconds:8.1f} s  build the image")


def started(options: list[str]) -> str:
    """As user 1000, on a disk that is new; and without all that it does not need."""
    port = free_port()
    shut = ["--user", "1000", "--read-only", "--tmpfs", "/tmp:mode=1777,size=256m", "--volume", "/data"]
    shut += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--memory", "4g", "--pids-limit", "256"]
    docker("run", "--detach", "--name", NAME, *shut, *options, "--publish", f"127.0.0.1:{port}:{PORT}", IMAGE)
    return f"http://127.0.0.1:{port}"


def proven(url: str) -> None:
    with httpx.Client(base_url=url, timeout=300, trust_env=False) as http:
        with step("until it is ready"):
            wait(lambda: http.get("/readyz").is_success)
        with step("until the example is read"):
            wait(lambda: found(http))
        with step(f"ask: {QUESTION}"):
            given = http.post("/v1/answers", json={"question": QUESTION}).raise_for_status().json()
        console.print(f"            {given['mode']}: {given['answer'][:120]}")
        quotes = given["citations"]
        checks.check("answered", given["mode"] == "generated", given["mode"])
        checks.check("with verified quotes", bool(quotes) and all(one["verified"] for one in quotes), len(quotes))
        checks.check("/docs, which the Space shows, is there", http.get("/docs").is_success)
        tried = dict(attempts(http))
        checks.check("a visitor can change nothing", set(tried.values()) <= {401, 403}, json.dumps(tried))
    one = json.loads(docker("inspect", NAME))[0]
    user = docker("exec", NAME, "id", "-u").strip()
    checks.check("it runs as user 1000", user == "1000", user)
    checks.check("it has not died meanwhile", one["State"]["Running"] and one["RestartCount"] == 0)
    used = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", NAME).strip()
    console.print(f"            memory: {used}")
    with step("stop"):
        docker("stop", "--time", "30", NAME)
    code = json.loads(docker("inspect", NAME))[0]["State"]["ExitCode"]
    checks.check("it ends when it is asked to", code in (0, 143), code)


def found(http: httpx.Client) -> bool:
    rows: list[dict[str, Any]] = http.get("/v1/documents").raise_for_status().json()["data"]
    return [one["status"] for one in rows] == ["ready"]


def attempts(http: httpx.Client) -> Iterator[tuple[str, int]]:
    """What a visitor may not do, and the status that it is answered with. Deleting comes last: it may succeed."""
    document = http.get("/v1/documents").raise_for_status().json()["data"][0]["id"]
    yield "upload", upload(http, EXAMPLE.read_bytes(), "mine.pdf", "mine").status_code
    yield "promote", http.post("/v1/releases", json={"release": "challenger"}).status_code
    yield "delete", http.delete(f"/v1/documents/{document}").status_code


def wait(holds: Callable[[], bool]) -> None:
    """Raises SystemExit, with the container's log, if it takes too long or the container is gone."""
    deadline = time.monotonic() + READ_WITHIN_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if holds():
                return
        running = json.loads(docker("inspect", NAME))[0]["State"]["Running"]
        if not running or time.monotonic() > deadline:
            raise SystemExit(f"it is not ready:\n{docker('logs', '--tail', '40', NAME)}")
        time.sleep(0.5)


if __name__ == "__main__":
    main()
