"""/v1/evaluations: start one, see how it goes, read its report."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import HTMLResponse
from pydantic import StringConstraints

from services.core.aliases import CHAMPION
from services.core.errors import InvalidRequest, NotFinished, TooLarge
from services.core.gate_rules import read_gate_rules
from services.core.guard import Reader, Writer
from services.core.keys import Caller
from services.core.schemas import CollectionName, Id, ReleaseName
from services.core.settings import MIB
from services.core.types import JobStatus
from services.eval.comparable import require_comparable
from services.eval.dataset import read_questions, require_documents
from services.eval.report import report_html
from services.eval.resources import EvalResources, resources_of
from services.eval.schemas import EvaluationList, EvaluationOut, ReportOut, ScoresOut
from services.eval.store import EVERYBODY, Asked, Dataset, Evaluation
from services.eval.versus import scores_of

DATASET_MAX_BYTES = 16 * MIB
BODY_MAX_BYTES = DATASET_MAX_BYTES + MIB
NO_RELEASE = "none"  # the bases alone
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
# A report shows texts of documents and models: nothing in it may run or be loaded.
_SAFE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
router = APIRouter(prefix="/v1/evaluations", max_body_size=BODY_MAX_BYTES)
Resources = Annotated[EvalResources, Depends(resources_of)]
DatasetName = Annotated[str, StringConstraints(pattern=_NAME)]


@router.post("", status_code=202)
def start_evaluation(
    caller: Writer,
    resources: Resources,
    response: Response,
    file: Annotated[
        UploadFile | None, File(description="questions as JSON lines; kept under the name `dataset`")
    ] = None,
    dataset: Annotated[
        DatasetName | None, Form(description="with `file` its name, else of one that was uploaded before")
    ] = None,
    collection: Annotated[CollectionName, Form(description="where the questions are asked")] = "default",
    release: Annotated[
        ReleaseName, Form(description="`champion`, `challenger`, the number of a version, or the id of a release")
    ] = CHAMPION,
    against: Annotated[
        ReleaseName | None, Form(description="a second one, asked each question in turn with the first: a verdict")
    ] = None,
) -> EvaluationOut:
    """Ask a release every question of a dataset, and judge the answers beside two baselines. Follow the `job`.

    What the name of the release means is decided now. With `against` one job asks both, and the gate says at the end
    whether `release` may take the place of `against`; only such a verdict lets a release be promoted. 422
    `invalid_dataset` names each bad row and field, and nothing is started. 404 `unknown_release`.
    """
    caller.require(collection)
    sides = [_asked(resources, name) for name in (release, against) if name is not None]
    known = _dataset(resources, file, dataset, collection, caller)
    if against is not None:
        questions = resources.evaluations.questions(known.id)
        require_comparable(sides, questions, resources.names, read_gate_rules(resources.settings.params))
    evaluation = resources.evaluations.start(known, collection, *sides)
    response.headers["Location"] = f"/v1/evaluations/{evaluation.id}"
    return EvaluationOut.of(evaluation)


@router.get("")
def list_evaluations(
    caller: Reader,
    resources: Resources,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[Id | None, Query()] = None,
) -> EvaluationList:
    """Evaluations, newest first."""
    found = resources.evaluations.newest(after=after, limit=limit + 1, within=caller.collections)
    more = len(found) > limit
    return EvaluationList(
        data=[EvaluationOut.of(evaluation) for evaluation in found[:limit]],
        has_more=more,
        next=found[limit - 1].id if more else None,
    )


@router.get("/{evaluation_id}")
def get_evaluation(caller: Reader, resources: Resources, evaluation_id: Id) -> EvaluationOut:
    return EvaluationOut.of(resources.evaluations.get(evaluation_id, caller.collections))


@router.get(
    "/{evaluation_id}/report",
    response_model=ReportOut,
    responses={200: {"content": {"text/html": {}}}},
)
def get_report(caller: Reader, resources: Resources, request: Request, evaluation_id: Id) -> Any:
    """A page for people; with `Accept: application/json` the same for machines, with every question. 409
    `not_finished` until the evaluation has succeeded."""
    evaluation = _finished(resources, evaluation_id, caller)
    judgements = resources.evaluations.judgements(evaluation_id)
    short = evaluation.verdict
    verdict = resources.verdicts.get(short["id"]).body if short and short["id"] else None
    if "application/json" in request.headers.get("accept", ""):
        return ReportOut(**EvaluationOut.of(evaluation).model_dump(), questions=judgements)
    html = report_html(evaluation, evaluation.summary or {}, judgements, short, verdict)
    return HTMLResponse(html, headers=_SAFE)


@router.get("/{evaluation_id}/scores")
def get_scores(caller: Reader, resources: Resources, evaluation_id: Id) -> ScoresOut:
    """A table as `capstone gate` reads it. Of two evaluations of the same dataset it compares everything but latency
    fairly: for that, both must have been asked side by side. 409 `not_finished` until the evaluation has succeeded."""
    evaluation = _finished(resources, evaluation_id, caller)
    judgements = resources.evaluations.judgements(evaluation_id)
    scores = scores_of(judgements, evaluation.release_id or NO_RELEASE, evaluation.dataset.sha256)
    return ScoresOut(release=scores.release, questions_sha256=scores.questions_sha256, scores=dict(scores.values))


def _finished(resources: EvalResources, evaluation_id: str, caller: Caller) -> Evaluation:
    evaluation = resources.evaluations.get(evaluation_id, caller.collections)
    if evaluation.job.status != JobStatus.succeeded or evaluation.summary is None:
        raise NotFinished(f"The evaluation is {evaluation.job.status}. Only one that has succeeded has figures.")
    return evaluation


def _asked(resources: EvalResources, name: str) -> Asked:
    return Asked(name, resources.names.asked(name).release)


def _dataset(
    resources: EvalResources, file: UploadFile | None, name: str | None, collection: str, caller: Caller
) -> Dataset:
    """The dataset that is meant, every question of it checked. Raises InvalidRequest, InvalidDataset, NotFound, ..."""
    store = resources.evaluations
    owner = EVERYBODY if caller.collections is None else collection
    if file is None:
        if name is None:
            raise InvalidRequest("Give a file of questions, or the name of a dataset that was uploaded before.")
        known = store.dataset(name, *dict.fromkeys((owner, collection)))
        require_documents(store.questions(known.id), store.document_names(collection), collection)
        return known
    data = file.file.read(DATASET_MAX_BYTES + 1)
    if len(data) > DATASET_MAX_BYTES:
        raise TooLarge(f"The dataset is larger than {DATASET_MAX_BYTES // MIB} MiB.")
    questions = read_questions(data)
    require_documents(questions, store.document_names(collection), collection)
    return store.add_dataset(name or _name_of(file.filename, data), questions, owner)


def _name_of(filename: str | None, data: bytes) -> str:
    """A name of its own for each content, with the file's in it."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePath((filename or "").replace("\\", "/")).stem).strip("-._")
    return f"{stem[:48] or 'dataset'}-{hashlib.sha256(data).hexdigest()[:8]}"
