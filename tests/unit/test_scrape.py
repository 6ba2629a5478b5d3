"""A scrape goes on without what the catalog does not tell."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily

from services.core.scrape import AtScrape
from tests.scraped import value

LIMIT_S = 2.0


class Source:
    """Tells how often it was read; hangs while it is told to, and breaks off if it is to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.free = threading.Event()
        self.free.set()
        self.broken = False
        self.reads = 0

    def read(self) -> Iterator[Metric]:
        self.reads += 1
        reads = self.reads
        self.free.wait(30)
        if self.broken:
            raise ConnectionError(self.name)
        yield GaugeMetricFamily(self.name, "Reads.", reads)


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source("far")
    yield source
    source.free.set()


def scraper(*sources: tuple[str, Source]) -> tuple[CollectorRegistry, AtScrape]:
    registry, at_scrape = CollectorRegistry(), AtScrape(LIMIT_S)
    Gauge("near", "Always there.", registry=registry).set(1)
    for room, source in sources:
        at_scrape.add(room, source.read)
    registry.register(at_scrape)
    return registry, at_scrape


def scraped(registry: CollectorRegistry) -> tuple[str, float]:
    begun = time.monotonic()
    return generate_latest(registry).decode(), time.monotonic() - begun


def test_each_scrape_reads_once_and_registering_does_not(source: Source) -> None:
    registry, _ = scraper(("eval", source))
    assert source.reads == 0
    for count in (1, 2):
        text, _ = scraped(registry)
        assert value(text, "far") == count and value(text, "catalog_up", room="eval") == 1


def test_what_breaks_off_is_left_out_and_comes_back(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    other = Source("other")
    registry, _ = scraper(("api", source), ("eval", other))
    source.broken = True
    for _ in range(2):
        text, _ = scraped(registry)
        assert "far" not in text and value(text, "near") == 1 and value(text, "other") > 0
        assert value(text, "catalog_up", room="api") == 0 and value(text, "catalog_up", room="eval") == 1
    source.broken = False
    assert value(scraped(registry)[0], "catalog_up", room="api") == 1
    assert [record.message for record in caplog.records] == [
        "metrics of the catalog are left out",
        "metrics of the catalog are back",
    ]


def test_a_catalog_that_hangs_holds_up_one_scrape_and_no_more(source: Source) -> None:
    registry, _ = scraper(("api", source))
    source.free.clear()
    text, took_s = scraped(registry)
    assert LIMIT_S <= took_s < LIMIT_S + 5
    assert value(text, "near") == 1 and value(text, "catalog_up") == 0
    for _ in range(3):
        text, took_s = scraped(registry)
        assert took_s < LIMIT_S and value(text, "catalog_up") == 0
    assert source.reads == 1, "no thread is added while one hangs"
    source.free.set()
    deadline = time.monotonic() + 10
    while value(scraped(registry)[0], "catalog_up") == 0:
        assert time.monotonic() < deadline
    assert source.reads > 1, "a new reading, not what the overdue one brought"
