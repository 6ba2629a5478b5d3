"""/v1/drift: do questions and answers still look as they did in the release's first time?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import FileResponse

from services.core.drift_rules import DriftRules, read_drift_rules
from services.core.errors import NotFinished, NotFound
from services.core.guard import Admin, ReaderOfAll
from services.core.schemas import Id
from services.eval.drift_run import report_path
from services.eval.drift_schemas import DriftOut, ReferenceOut, WantedIn, WindowOut
from services.eval.resources import EvalResources, resources_of

router = APIRouter(prefix="/v1/drift")
Resources = Annotated[EvalResources, Depends(resources_of)]
# Evidently's page is a script that draws itself. It may do that, and nothing else: not even load anything.
_SAFE = {
    "Content-Security-Policy": "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:",
    "X-Content-Type-Options": "nosniff",
}


@router.get("")
def get_drift(_: ReaderOfAll, resources: Resources, limit: Annotated[int, Query(ge=1, le=200)] = 20) -> DriftOut:
    """The alarm, the reference, and the newest windows with the score, threshold and verdict of each test."""
    rules = _rules(resources)
    return DriftOut.of(
        resources.drift.state(rules, limit),
        in_a_row=rules.in_a_row,
        reference_rows=rules.reference_rows,
        window_rows=rules.window_rows,
    )


@router.post("/references", status_code=201)
def freeze(_: Admin, resources: Resources) -> ReferenceOut:
    """Make the newest captures the reference of the release that answers now, in the place of the one before. Windows
    begin anew behind it. 409 `empty_window` if nothing is captured, 409 `too_few_captures`."""
    return ReferenceOut.of(resources.drift.freeze(_rules(resources)))


@router.post("/windows", status_code=202)
def judge(_: Admin, resources: Resources, response: Response, body: WantedIn | None = None) -> WindowOut:
    """Judge the newest captures after the reference now, without waiting for a full window. Follow the `job`.

    It counts for no alarm: who looks often enough sees something in the end. 409 `empty_window`, `too_few_captures` or
    `no_reference`; 409 `reference_of_another_release` if what is captured now cannot be compared with it.
    """
    window = resources.drift.want(body.reference if body else None, _rules(resources))
    response.headers["Location"] = f"/v1/drift/windows/{window.id}"
    return WindowOut.of(window)


@router.get("/windows/{window_id}")
def get_window(_: ReaderOfAll, resources: Resources, window_id: Id) -> WindowOut:
    return WindowOut.of(resources.drift.window(window_id))


@router.get("/reports/{window_id}", response_class=FileResponse)
def get_report(_: ReaderOfAll, resources: Resources, window_id: Id) -> FileResponse:
    """Evidently's page about a window: the tests of its figures, and the quality of the data. 409 `not_finished` until
    it is judged; 404 once newer ones have taken its place (`CAPSTONE_DRIFT_REPORTS`)."""
    window = resources.drift.window(window_id)
    if window.judged_at is None:
        raise NotFinished(f"The window is {window.status}. Only one that has been judged has a report.")
    path = report_path(resources.settings, window_id)
    if not window.report or not path.is_file():
        raise NotFound(f"The report on {window_id!r} is no longer kept.")
    return FileResponse(path, media_type="text/html; charset=utf-8", headers=_SAFE)


def _rules(resources: EvalResources) -> DriftRules:
    return read_drift_rules(resources.settings.params)
