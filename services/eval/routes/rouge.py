"""POST /v1/rouge."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.core.errors import ClientClosedRequest, Overloaded
from services.core.guard import READ
from services.core.intervals import intervals
from services.core.rouge import VARIANTS, Rouge, Variant
from services.core.schemas import Text
from services.core.settings import MIB
from services.core.streams import Event, event_stream, run_until_hang_up, wants_sse
from services.eval.resources import EvalResources, resources_of
from services.eval.scoring import SMALL_PAIRS, scored_parts

BODY_MAX_BYTES = 16 * MIB
_PARTS = ("precision", "recall", "f1")
_RETRY_AFTER_S = 10
_BUSY = "Another large set of pairs is being scored."
router = APIRouter(prefix="/v1", max_body_size=BODY_MAX_BYTES)


class PairIn(BaseModel):
    """A prediction with one `reference` or several `references`."""

    model_config = ConfigDict(extra="forbid")

    prediction: Text
    reference: Text | None = None
    references: Annotated[list[Text], Field(min_length=1, max_length=32)] | None = None

    @model_validator(mode="after")
    def one_kind_of_reference(self) -> PairIn:
        if (self.reference is None) == (self.references is None):
            raise ValueError("give either reference or references")
        return self

    def all_references(self) -> list[str]:
        return self.references or [self.reference or ""]


class RougeIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    pairs: Annotated[list[PairIn], Field(min_length=1, max_length=50_000)]
    variants: Annotated[list[Variant], Field(min_length=1)] = list(VARIANTS)
    stemmer: bool = False


class IntervalOut(BaseModel):
    low: float
    high: float


class RougeOut(BaseModel):
    """`mean` over all pairs, and beside it `intervals` of 95 % by resampling pairs, the same each time."""

    pairs: list[dict[str, dict[str, float]]]
    mean: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, IntervalOut]]


@router.post(
    "/rouge", dependencies=[READ], response_model=RougeOut, responses={200: {"content": {"text/event-stream": {}}}}
)
async def rouge(resources: Annotated[EvalResources, Depends(resources_of)], request: Request, body: RougeIn) -> Any:
    """Precision, recall and F1 of each pair, and their means with intervals.

    With `Accept: text/event-stream`: `progress` with `done` and `total` pairs, then `final`. More than 1,000 pairs are
    scored in several processes, for one client at a time; others get 429.
    """
    slot = resources.scoring if len(body.pairs) > SMALL_PAIRS else threading.Lock()
    if slot.locked():
        raise Overloaded(_BUSY, retry_after_s=_RETRY_AFTER_S)

    def work(stop: threading.Event) -> Iterator[Event]:
        if not slot.acquire(blocking=False):
            raise Overloaded(_BUSY, retry_after_s=_RETRY_AFTER_S)
        try:
            yield from _scored(body, stop)
        finally:
            slot.release()

    def whole(stop: threading.Event) -> RougeOut:
        for event in work(stop):
            if isinstance(event.data, RougeOut):
                return event.data
        raise ClientClosedRequest("The client closed the connection before the scores were ready.")

    return event_stream(work) if wants_sse(request) else await run_until_hang_up(request, whole)


def _scored(body: RougeIn, stop: threading.Event) -> Iterator[Event]:
    pairs = [(pair.prediction, pair.all_references()) for pair in body.pairs]
    rows: list[dict[str, Rouge]] = [{}] * len(pairs)
    done = 0
    for start, scores in scored_parts(pairs, body.variants, stemmer=body.stemmer, stop=stop):
        rows[start : start + len(scores)] = scores
        done += len(scores)
        yield Event("progress", {"done": done, "total": len(pairs)})
    if not stop.is_set():
        yield Event("final", _answer(rows, body.variants))


def _answer(rows: list[dict[str, Rouge]], variants: list[Variant]) -> RougeOut:
    columns = {
        (name, part): [getattr(row[name], part) for row in rows] for name in dict.fromkeys(variants) for part in _PARTS
    }
    found = intervals({f"{name}.{part}": values for (name, part), values in columns.items()})
    out = RougeOut(pairs=[{n: asdict(score) for n, score in row.items()} for row in rows], mean={}, intervals={})
    for name, part in columns:
        if (figure := found[f"{name}.{part}"]) is not None:
            out.mean.setdefault(name, {})[part] = figure.value
            out.intervals.setdefault(name, {})[part] = IntervalOut(low=figure.low, high=figure.high)
    return out
