"""The platform as a user starts it: once with the real models, once without weights and with small limits."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.calls import EXAMPLE, client_of, ingest
from tests.papers import MANY_CHARS, MANY_PAGES, UPLOAD_BYTES
from tests.server import QUICK, ROOT, Server, start

LIMITS = {
    "CAPSTONE_MAX_UPLOAD_BYTES": str(UPLOAD_BYTES),
    "CAPSTONE_MAX_PAGES": str(MANY_PAGES),
    "CAPSTONE_MAX_DOCUMENT_CHARS": str(MANY_CHARS),
    "CAPSTONE_PARSE_CPU_S": "2",
    "CAPSTONE_PARSE_WALL_S": "20",
    "CAPSTONE_PARSE_MEMORY_MB": "400",
    "CAPSTONE_LEASE_S": "4",
}


@pytest.fixture(scope="session")
def system(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`capstone up` with the real models. Nobody may wait for the generator: a second request is refused."""
    release = {} if (ROOT / "release").is_dir() else {"CAPSTONE_RELEASE_DIR": ""}
    server = start({"CAPSTONE_MAX_WAITING_GENERATIONS": "0"} | release, tmp_path_factory.mktemp("system"))
    try:
        yield server.wait_ready()
    finally:
        server.kill()


@pytest.fixture(scope="session")
def quick_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`capstone up` with the parts that need no weights: ready in a moment."""
    server = start(QUICK | LIMITS, tmp_path_factory.mktemp("quick"))
    try:
        yield server.wait_ready()
    finally:
        server.kill()


@pytest.fixture(scope="session")
def real(system: Server) -> Iterator[httpx.Client]:
    with client_of(system.url) as http:
        yield http


@pytest.fixture(scope="session")
def quick(quick_system: Server) -> Iterator[httpx.Client]:
    with client_of(quick_system.url) as http:
        yield http


@pytest.fixture(scope="session")
def manual(real: httpx.Client) -> dict[str, Any]:
    """The example document, ingested by the real system."""
    return ingest(real, EXAMPLE.read_bytes(), EXAMPLE.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the last lines of each server it used."""
    report = yield
    if report.failed:
        for name, value in item.funcargs.items():
            if isinstance(value, Server):
                report.sections.append((f"log of {name}", value.tail()))
    return report
