"""A share of the live answers, given by the challenger as well: logged to be compared, never shown.

One thread does it when nobody is being answered, and keeps out of the way of requests: it begins when none is in work,
stops at its next token when one wants the generator, and what does not fit its short queue is dropped. It does not stop
in the middle of reading passages, so a request that comes then shares the processor for about a second.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, select

from services.api.admission import Admission
from services.api.answer import Question
from services.api.releases import Releases
from services.api.schemas import AnswerOut
from services.core.aliases import CHALLENGER
from services.core.database import Database
from services.core.errors import CapstoneError, ClientClosedRequest, UnknownRelease
from services.core.settings import Settings
from services.core.tables import shadow_answers

_QUEUE = 16  # answers that may wait
_TRIES = 3  # an answer that had to give way as often is dropped
_LOOK_EVERY_S = 0.1
_log = logging.getLogger("capstone.api")


class Shadowed(NamedTuple):
    """The challenger's answer to the question of a live one; `body` is as answers are logged."""

    created_at: float
    release: str | None
    body: dict[str, Any]


class ShadowLog:
    """The newest `max_rows` answers of challengers, by the id of the live answer."""

    def __init__(self, database: Database, max_rows: int) -> None:
        self._database = database
        self._max_rows = max_rows

    def save(self, live: AnswerOut, body: dict[str, Any]) -> None:
        ids = shadow_answers.c.answer_id  # sort by time
        oldest = select(ids).order_by(ids.desc()).offset(self._max_rows).limit(1)
        releases = {"live_release": live.lineage.release, "shadow_release": body["lineage"]["release"]}
        with self._database.write() as connection:
            row = {"answer_id": live.id, "created_at": self._database.now(connection), **releases, "body": body}
            connection.execute(insert(shadow_answers).values(row))
            connection.execute(delete(shadow_answers).where(ids <= oldest.scalar_subquery()))


def shadowed(database: Database, answer_id: str) -> Shadowed | None:
    """What the challenger said in the place of the live answer, if it was asked and that is still kept."""
    with database.read() as connection:
        row = connection.execute(select(shadow_answers).where(shadow_answers.c.answer_id == answer_id)).first()
    return None if row is None else Shadowed(row.created_at, row.shadow_release, dict(row.body))


def chosen(answer_id: str, share: float) -> bool:
    """Whether the answer is among the `share` that the challenger gives too: always the same for an id."""
    return int.from_bytes(hashlib.sha256(answer_id.encode()).digest()[:8]) < share * 2**64


@dataclass
class _Task:
    question: Question
    live: AnswerOut
    tries: int = 0


class Shadow:
    """A context: works while it is open."""

    def __init__(self, releases: Releases, admission: Admission, log: ShadowLog, settings: Settings) -> None:
        self._releases = releases
        self._admission = admission
        self._log = log
        self._share = settings.shadow_share
        self._tasks: queue.Queue[_Task] = queue.Queue(_QUEUE)
        self._outcomes: Counter[str] = Counter()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow")

    def __enter__(self) -> Shadow:
        if self._share:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def offer(self, question: Question, live: AnswerOut) -> None:
        """Returns at once. Have the challenger answer too, if `live` is chosen and there is room."""
        if not chosen(live.id, self._share):
            return
        self._queue(_Task(question, live))

    def waiting(self) -> int:
        return self._tasks.qsize()

    def outcomes(self) -> dict[str, int]:
        """Logged, dropped, failed, and those for which no challenger was there."""
        return dict(self._outcomes)

    # Inside ----------------------------------------------------------------------------------------------------

    def _queue(self, task: _Task) -> None:
        """Never waits: who empties the queue calls this too."""
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            self._outcomes["dropped"] += 1

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                task = self._tasks.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                continue
            while self._releases.leases() and not self._ended.wait(_LOOK_EVERY_S):
                pass
            if not self._ended.is_set():
                self._do(task)

    def _do(self, task: _Task) -> None:
        try:
            self._outcomes[self._answered(task)] += 1
        except ClientClosedRequest:  # it gave way
            task.tries += 1
            if task.tries < _TRIES:
                self._queue(task)
            else:
                self._outcomes["dropped"] += 1
        except UnknownRelease:
            self._outcomes["no_challenger"] += 1
        except CapstoneError as error:
            self._outcomes["failed"] += 1
            _log.info("no shadow answer", extra={"fields": {"answer": task.live.id, "reason": error.detail}})
        except Exception:  # noqa: BLE001 - the thread must outlive a challenger with a fault
            self._outcomes["failed"] += 1
            _log.exception("no shadow answer", extra={"fields": {"answer": task.live.id}})

    def _answered(self, task: _Task) -> str:
        """What became of it. Raises ClientClosedRequest if it had to give way, and CapstoneError."""
        with self._releases.lease(CHALLENGER, self._ended) as served:
            if served.id == task.live.lineage.release:
                return "no_challenger"
            slots = _Spare(self._admission, self._ended)
            aside = served.answerer.aside(slots, lambda _collection, body: self._log.save(task.live, body))
            aside.answer(task.question, _GiveWay(self._admission, self._ended))
        return "logged"


class _Spare:
    """The generator, while nobody wants it."""

    def __init__(self, admission: Admission, ended: threading.Event) -> None:
        self._admission = admission
        self._ended = ended

    def slot(self, stop: threading.Event) -> AbstractContextManager[None]:
        return self._admission.spare(self._ended)


class _GiveWay(threading.Event):
    """Set while a request wants the generator, and once `ended` is."""

    def __init__(self, admission: Admission, ended: threading.Event) -> None:
        super().__init__()
        self._admission = admission
        self._ended = ended

    def is_set(self) -> bool:
        return self._ended.is_set() or self._admission.wanted()
