"""Metrics and logs of one process. No text of a document or a question ever enters either."""

from __future__ import annotations

import json
import logging
import os
import sys
import time

from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from services.core.scrape import AtScrape, Read
from services.core.tracing import NO_TRACER
from services.core.version import git_commit, version

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


_SILENCE = {
    "DO_NOT_TRACK": "1",
    "ANONYMIZED_TELEMETRY": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",  # not telemetry: silences a warning when the parser child is started
}


def silence_libraries() -> None:
    """Forbid the libraries of this process to call home. Before they are imported: they read this once."""
    os.environ.update(_SILENCE)


class Telemetry:
    """One registry a process; rooms add their own metrics to it."""

    def __init__(self, service: str = "capstone", tracer: Tracer = NO_TRACER) -> None:
        """`service` is the room that is served, or the name of all of them in one."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody reads
        self.tracer = tracer
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        labels = ("method", "route", "status")  # the route template, never the path: label values stay bounded
        self.http_requests = Counter("http_requests", "Requests answered.", labels, registry=self.registry)
        self.http_seconds = self.seconds("http_request_duration_seconds", "Time to the end of the response.", labels)
        self.in_progress = Gauge("http_requests_in_progress", "Requests being answered.", registry=self.registry)
        self.problems = self.counter("problems", "Errors told to clients, by code.", ("code",))
        self.refused = self.counter("requests_refused", "Requests that /v1 did not take, by reason.", ("reason",))
        info = Gauge(
            "capstone_build_info", "What runs here.", ("version", "git_commit", "service"), registry=self.registry
        )
        info.labels(version(), git_commit(), service).set(1)
        self._at_scrape = AtScrape()
        self.registry.register(self._at_scrape)

    def at_scrape(self, room: str, read: Read) -> None:
        """Have `read` ask the catalog for metrics when Prometheus does. They are left out while it is away."""
        self._at_scrape.add(room, read)

    def seconds(
        self, name: str, help_text: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = _SECONDS
    ) -> Histogram:
        """A histogram of durations, with buckets from 5 ms to 2 min if none are given."""
        return self.histogram(name, help_text, labels, buckets)

    def histogram(self, name: str, help_text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, help_text, labels, buckets=buckets, registry=self.registry)

    def counter(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)


class JsonLines(logging.Formatter):
    """One JSON object a line; what a call passes as `extra={"fields": {...}}` becomes members."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(level: str = "INFO") -> None:
    """Send all logs of this process to stderr as JSON lines. Call once, at the top of a process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error"):  # where uvicorn was started by itself, with lines of its own
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for chatty in ("httpx", "sentence_transformers", "transformers", "alembic", "chromadb", "faiss", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
