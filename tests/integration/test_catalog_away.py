"""A service whose catalog does not answer any more says so, and is still to be watched."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.core.settings import Settings
from services.eval.app import create_app as create_eval
from services.ingest.app import create_app as create_ingest
from tests.calls import problem_of
from tests.scraped import value
from tests.server import new_database
from tests.stalling import way_to
from tests.waiting import until


def test_a_request_that_needs_the_catalog_is_told_that_it_is_away(tmp_path: Path, postgres_url: str) -> None:
    url = sa.make_url(new_database(postgres_url))
    settings = Settings(data_dir=tmp_path, database_url=url.render_as_string(hide_password=False))
    with TestClient(create_ingest(settings)) as http:
        assert http.get("/v1/documents").is_success
        engine = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f'DROP DATABASE "{url.database}" WITH (FORCE)'))
        engine.dispose()
        for _ in range(2):  # the connection that was open, and a new one
            response = http.get("/v1/documents")
            problem_of(response, 503, "unavailable")
            assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("create_app", "room", "figure"),
    [(create_ingest, "ingest", "ingest_jobs_open 0.0"), (create_eval, "eval", "drift_alarm 0.0")],
    ids=["ingest", "eval"],
)
def test_a_scrape_goes_on_while_the_catalog_hangs(
    tmp_path: Path, postgres_url: str, create_app: Callable[[Settings], FastAPI], room: str, figure: str
) -> None:
    url = sa.make_url(new_database(postgres_url))
    with way_to(url) as way:
        through = url.set(host="127.0.0.1", port=way.port, query={})
        settings = Settings(data_dir=tmp_path, database_url=through.render_as_string(hide_password=False))
        with TestClient(create_app(settings)) as http:

            def scraped() -> tuple[str, float]:
                begun = time.monotonic()
                return http.get("/metrics").raise_for_status().text, time.monotonic() - begun

            text, _ = scraped()
            assert value(text, "catalog_up", room=room) == 1 and figure in text
            way.stall()
            text, took_s = scraped()
            assert took_s < 8, "Prometheus gives it ten seconds"
            assert value(text, "catalog_up", room=room) == 0 and figure.split()[0] not in text
            assert value(text, "http_requests_total", route="/metrics") > 0
            text, took_s = scraped()
            assert took_s < 1.5 and value(text, "catalog_up", room=room) == 0
            way.resume()
            until(lambda: value(scraped()[0], "catalog_up", room=room) == 1)
            assert figure in scraped()[0]
