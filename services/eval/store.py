"""Datasets, evaluations and judgements in the catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from services.core.catalog import Catalog
from services.core.errors import Conflict, NotFound
from services.core.jobs import Job
from services.core.lease import Lease
from services.core.tables import datasets, documents, evaluations, jobs, judgements, new_id
from services.core.types import JobKind, JobStatus
from services.core.within import ALL, Within, among
from services.eval.dataset import Question, digest
from services.eval.judge import Judgement

UNIT = "questions"
EVERYBODY = ""  # whose datasets are named by all keys that see every collection


@dataclass(frozen=True, slots=True)
class Dataset:
    id: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`summary` is there once it has succeeded; `tracking` says then what became of it in MLflow.

    `release` is what was asked for, `release_id` what it meant then (None: the bases alone). `against_id` is the
    evaluation, by the same job, that it is judged against; `verdict` is that judgement in short, in both.
    """

    id: str
    dataset: Dataset
    collection: str
    release: str
    release_id: str | None
    against_id: str | None
    created_at: float
    summary: dict[str, Any] | None
    tracking: dict[str, Any] | None
    verdict: dict[str, Any] | None
    job: Job


class Asked(NamedTuple):
    """A release as it was asked for, and the id that this means now."""

    name: str
    release_id: str | None


class EvaluationStore:
    """Methods block."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._db = catalog.database

    # Datasets --------------------------------------------------------------------------------------------------

    def add_dataset(self, name: str, questions: Sequence[Question], owner: str = EVERYBODY) -> Dataset:
        """Keep `questions` as `name`, in names of its own for each `owner`: everybody, or a collection. Raises Conflict
        if that name holds other ones already."""
        sha256 = digest(questions)
        row = {"id": new_id("set"), "name": name, "sha256": sha256}
        rows = [question.model_dump(mode="json") for question in questions]
        try:
            with self._db.write() as connection:
                now = self._db.now(connection)
                connection.execute(insert(datasets).values(**row, created_at=now, questions=rows, collection=owner))
        except IntegrityError:
            known = self.dataset(name, owner)
            if known.sha256 != sha256:
                raise Conflict(f"The dataset {name!r} holds other questions. Choose another name.") from None
            return known
        return Dataset(**row)

    def dataset(self, name: str, *owners: str) -> Dataset:
        """That of everybody unless `owners` are given, of whom the first in the alphabet has precedence. Raises
        NotFound, naming those that are there."""
        mine = datasets.c.collection.in_(owners or (EVERYBODY,))
        query = select(datasets.c.id, datasets.c.name, datasets.c.sha256).where(datasets.c.name == name, mine)
        with self._db.read() as connection:
            row = connection.execute(query.order_by(datasets.c.collection)).first()
            if row is None:
                names = select(datasets.c.name).where(mine).order_by(datasets.c.name).limit(20)
                known = connection.execute(names).scalars().all()
                held = f"There are: {', '.join(known)}." if known else "Upload one as a file."
                raise NotFound(f"There is no dataset {name!r}. {held}")
        return Dataset(**row._mapping)

    def questions(self, dataset_id: str) -> list[Question]:
        with self._db.read() as connection:
            rows = connection.execute(select(datasets.c.questions).where(datasets.c.id == dataset_id)).scalar_one()
        return [Question.model_validate(row) for row in rows]

    def document_names(self, collection: str) -> set[str]:
        """Names of the documents of `collection` that can be asked."""
        ready = (documents.c.collection == collection) & (jobs.c.status == JobStatus.succeeded)
        query = select(documents.c.name).join(jobs, documents.c.job_id == jobs.c.id).where(ready)
        with self._db.read() as connection:
            return set(connection.execute(query).scalars())

    # Evaluations -----------------------------------------------------------------------------------------------

    def start(
        self,
        dataset: Dataset,
        collection: str,
        release: Asked,
        against: Asked | None = None,
        *,
        keep: Callable[[Connection, str], None] | None = None,
    ) -> Evaluation:
        """Queue an evaluation, with the one that it is judged against, and their job, in one transaction; `keep` is
        given its id in the same."""
        evaluation_id, against_id = new_id("eval"), new_id("eval")
        asked: list[tuple[str, Asked, str | None]] = [(evaluation_id, release, against_id if against else None)]
        if against is not None:
            asked.append((against_id, against, None))
        with self._db.write() as connection:
            job_id = self._catalog.jobs.enqueue(connection, JobKind.evaluation, evaluation_id, UNIT, collection)
            now = self._db.now(connection)
            for own_id, side, other_id in asked:
                connection.execute(
                    insert(evaluations).values(
                        id=own_id,
                        job_id=job_id,
                        dataset_id=dataset.id,
                        collection=collection,
                        release=side.name,
                        release_id=side.release_id,
                        against_id=other_id,
                        created_at=now,
                    )
                )
            if keep is not None:
                keep(connection, evaluation_id)
        return self.get(evaluation_id)

    def get(self, evaluation_id: str, within: Within = ALL) -> Evaluation:
        mine = (evaluations.c.id == evaluation_id) & among(evaluations.c.collection, within)
        with self._db.read() as connection:
            row = connection.execute(_evaluations().where(mine)).first()
        if row is None:
            raise NotFound(f"There is no evaluation {evaluation_id!r}.")
        return _evaluation_of(row)

    def newest(self, *, after: str | None, limit: int, within: Within = ALL) -> list[Evaluation]:
        """The newest first; `after` is the id of the last evaluation of the page before."""
        mine = among(evaluations.c.collection, within)
        query = _evaluations().where(mine).order_by(evaluations.c.id.desc()).limit(limit)
        if after is not None:
            query = query.where(evaluations.c.id < after)
        with self._db.read() as connection:
            return [_evaluation_of(row) for row in connection.execute(query)]

    # Judgements ------------------------------------------------------------------------------------------------

    def judged_numbers(self, evaluation_id: str) -> set[int]:
        """Positions in the dataset of the questions that need not be asked again."""
        query = select(judgements.c.number).where(judgements.c.evaluation_id == evaluation_id)
        with self._db.read() as connection:
            return set(connection.execute(query).scalars())

    def add_judgements(
        self, lease: Lease, number: int, found: Mapping[str, Judgement], *, done: int, total: int
    ) -> None:
        """Keep what the answers to a question were worth, by the ids of the evaluations, and show progress: all or
        nothing. Raises LeaseLost."""
        rows = [{"evaluation_id": own_id, "number": number, "body": body} for own_id, body in found.items()]
        with self._db.write() as connection:
            self._catalog.jobs.advance(connection, lease.job.id, lease.owner, done=done, total=total)
            connection.execute(insert(judgements), rows)

    def judgements(self, evaluation_id: str) -> list[Judgement]:
        """In the order of the dataset."""
        query = select(judgements.c.body).where(judgements.c.evaluation_id == evaluation_id)
        with self._db.read() as connection:
            return list(connection.execute(query.order_by(judgements.c.number)).scalars())

    def finish(self, lease: Lease, figures: Mapping[str, dict[str, Any]], keep: Callable[[Connection], None]) -> None:
        """Keep the figures, `keep` what else there is to keep, and end the job as succeeded: all or nothing.

        `figures` are `summary`, `tracking` and `verdict` by the id of an evaluation. Raises LeaseLost or JobCancelled.
        """
        job = lease.job
        with self._db.write() as connection:
            total = select(func.count()).where(judgements.c.evaluation_id == job.subject_id)
            asked = connection.execute(total).scalar_one()
            self._catalog.jobs.finish(connection, job.id, lease.owner, JobStatus.succeeded, total=asked)
            for own_id, values in figures.items():
                connection.execute(update(evaluations).where(evaluations.c.id == own_id).values(**values))
            keep(connection)


_JOB = [jobs.c[name].label(f"job__{name}") for name in Job.__dataclass_fields__]


def _evaluations() -> Select[Any]:
    return (
        select(evaluations, datasets.c.name, datasets.c.sha256, *_JOB)
        .join(datasets, evaluations.c.dataset_id == datasets.c.id)
        .join(jobs, evaluations.c.job_id == jobs.c.id)
    )


def _evaluation_of(row: Any) -> Evaluation:
    fields = dict(row._mapping)
    job = {name: fields.pop(f"job__{name}") for name in Job.__dataclass_fields__}
    return Evaluation(
        id=row.id,
        dataset=Dataset(row.dataset_id, row.name, row.sha256),
        collection=row.collection,
        release=row.release,
        release_id=row.release_id,
        against_id=row.against_id,
        created_at=row.created_at,
        summary=row.summary,
        tracking=row.tracking,
        verdict=row.verdict,
        job=Job(**job | {"kind": JobKind(job["kind"]), "status": JobStatus(job["status"])}),
    )
