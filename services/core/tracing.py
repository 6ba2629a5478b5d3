"""OpenTelemetry traces, if a setting says where to send them. Without it no SDK is imported and nothing is recorded.

Attributes are ids, names and numbers. No text of a document or a question enters a span.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import NoOpTracer, Span, Status, StatusCode, Tracer

from services.core.errors import CapstoneError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

LINEAGE_ID = "capstone.lineage_id"
CUT_OFF = "client_closed_request"
NO_TRACER: Tracer = NoOpTracer()
_EXPORT_TIMEOUT_S = 5.0
Attributes = Mapping[str, str | int | float | bool]


def open_provider(endpoint: str, service: str, version: str) -> TracerProvider:
    """Sends spans in batches from a thread of its own. What the collector does not take is dropped after a while."""
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Span as Recorded
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class WithoutQueries(SpanProcessor):
        """FastAPI records the query of a URL, where somebody may have put a question by mistake."""

        def on_start(self, span: Recorded, parent_context: Context | None = None) -> None:
            if "url.query" in (span.attributes or {}):
                span.set_attribute("url.query", "REDACTED")

    session = requests.Session()
    session.trust_env = False  # no proxy of the environment: spans go where the setting says
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_TIMEOUT_S, session=session)
    names = {"service.name": f"capstone-{service}", "service.version": version}
    provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
    provider.add_span_processor(WithoutQueries())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class Spans:
    """The spans of one answer, below that of its request; each has the lineage id.

    None of them is made the current one: the work between two pieces of a stream belongs to whoever reads it.
    """

    def __init__(self, tracer: Tracer, lineage_id: str) -> None:
        self._tracer = tracer
        self._lineage_id = lineage_id

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Iterator[Span]:
        """What is raised is recorded by its code or its type, without its message."""
        span = self._tracer.start_span(name, attributes={LINEAGE_ID: self._lineage_id, **attributes})
        try:
            yield span
        except GeneratorExit:
            span.set_attribute("error.type", CUT_OFF)
            raise
        except BaseException as error:
            code = error.code if isinstance(error, CapstoneError) else type(error).__qualname__
            span.set_attribute("error.type", code)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            span.end()
