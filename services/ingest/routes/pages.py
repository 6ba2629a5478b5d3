"""/v1/documents/{id}/pages: the stored text with its words, and the page as a picture."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from services.core.errors import InvalidRequest, NotFound
from services.core.guard import Reader
from services.core.schemas import Id
from services.core.types import Box
from services.ingest.pdf.sandbox import render_page
from services.ingest.resources import IngestResources, resources_of
from services.ingest.schemas import PageOut

router = APIRouter(prefix="/v1/documents/{document_id}/pages")
Resources = Annotated[IngestResources, Depends(resources_of)]
_LAST_NUMBER = 2**31 - 1  # what a column of the catalog can hold
Number = Annotated[int, Path(ge=1, le=_LAST_NUMBER, description="1-based position of the page in the file")]
_HIGHLIGHTS_MAX = 200


@router.get("/{number}.png", response_class=Response, responses={200: {"content": {"image/png": {}}}})
def get_page_picture(
    caller: Reader,
    resources: Resources,
    document_id: Id,
    number: Number,
    dpi: Annotated[int, Query(ge=36, le=300)] = 110,
    highlight: Annotated[
        list[str] | None, Query(max_length=_HIGHLIGHTS_MAX, description="`left,top,right,bottom` in points; repeatable")
    ] = None,
) -> Response:
    """The page, rendered; each `highlight` box is marked."""
    boxes = [_box(text) for text in highlight or []]
    resources.catalog.document(document_id, caller.collections)
    path = resources.files.path(document_id)
    if not path.exists():
        raise NotFound(f"The file of document {document_id!r} is no longer there.")
    png = render_page(path, number, dpi=dpi, highlight=boxes, limits=resources.limits)
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@router.get("/{number}")
def get_page(caller: Reader, resources: Resources, document_id: Id, number: Number) -> PageOut:
    """The stored text that quotes are checked against, and a box for each word."""
    return PageOut.of(document_id, resources.catalog.page(document_id, number, caller.collections))


def _box(text: str) -> Box:
    try:
        box = Box(*(float(part) for part in text.split(",")))
    except (TypeError, ValueError):
        raise InvalidRequest(f"highlight: {text!r} is not four numbers left,top,right,bottom in points.") from None
    if not all(math.isfinite(side) for side in box) or box.left > box.right or box.top > box.bottom:
        raise InvalidRequest(f"highlight: {text!r} is not a box: left <= right and top <= bottom must hold.")
    return box
