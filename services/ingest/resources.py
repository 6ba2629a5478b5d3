"""What the ingest service holds open while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import Request

from services.core.catalog import Catalog
from services.core.settings import Settings
from services.core.telemetry import Telemetry
from services.ingest.at_scrape import tell_of_ingest
from services.ingest.files import FileStore
from services.ingest.pdf.sandbox import ParseLimits


@dataclass(frozen=True)
class IngestResources:
    settings: Settings
    catalog: Catalog
    files: FileStore
    limits: ParseLimits

    def check(self) -> None:
        self.catalog.database.check()


def resources_of(request: Request) -> IngestResources:
    resources = request.app.state.ingest
    assert isinstance(resources, IngestResources)
    return resources


def parse_limits(settings: Settings) -> ParseLimits:
    return ParseLimits(
        max_pages=settings.max_pages,
        max_chars=settings.max_document_chars,
        cpu_s=settings.parse_cpu_s,
        wall_s=settings.parse_wall_s,
        memory_mb=settings.parse_memory_mb,
    )


@contextmanager
def open_resources(settings: Settings, telemetry: Telemetry) -> Iterator[IngestResources]:
    catalog = Catalog(settings.catalog_url)
    try:
        catalog.migrate()
        tell_of_ingest(telemetry, catalog)
        yield IngestResources(settings, catalog, FileStore(settings.files_dir), parse_limits(settings))
    finally:
        catalog.close()
