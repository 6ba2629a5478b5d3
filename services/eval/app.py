"""The eval service: judges text against references. Evaluations, gate and releases will live here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from services.core.http import Room, service_app
from services.core.telemetry import Telemetry
from services.eval.routes import rouge


class EvalResources:
    """Nothing to hold open yet, so always ready."""

    def check(self) -> None:
        return None


@contextmanager
def _open(_telemetry: Telemetry) -> Iterator[EvalResources]:
    yield EvalResources()


def room() -> Room:
    return Room(name="eval", routers=[rouge.router], open=_open)


def create_app() -> FastAPI:
    return service_app("Capstone eval", [room()])
