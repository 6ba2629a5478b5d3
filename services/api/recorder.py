"""Captures what was asked and answered, in figures, for whoever looks for drift: core/captures.py.

No request waits for it. An answer is offered to a short queue, and a thread writes what is in there; what does not fit,
or cannot be written, is counted and gone.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from services.api.answer import Question, Seen
from services.api.schemas import AnswerOut
from services.core.captures import NO_RELEASE, Capture, CaptureLog, Kind

_QUEUE = 256  # captures that may wait
_BATCH = 64  # rows of one transaction
_LOOK_EVERY_S = 0.1
_log = logging.getLogger("capstone.api")


class _Answered(NamedTuple):
    at: float
    question: Question
    seen: Seen
    answer: AnswerOut


class Recorder(Collector):
    """A context: writes while it is open, and at its end what is still waiting."""

    def __init__(self, log: CaptureLog, share: float) -> None:
        self._captures = log
        self._share = share
        self._waiting: queue.Queue[_Answered] = queue.Queue(_QUEUE)
        self._outcomes: Counter[str] = Counter()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder")

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def offer(self, question: Question, seen: Seen, answer: AnswerOut) -> None:
        """Returns at once."""
        if not sampled(answer.id, self._share):
            return
        try:
            self._waiting.put_nowait(_Answered(time.time(), question, seen, answer))
        except queue.Full:
            self._outcomes["lost"] += 1

    def outcomes(self) -> dict[str, int]:
        """Kept; lost, because too many were waiting; failed to be written."""
        return dict(self._outcomes)

    def collect(self) -> Iterator[Metric]:
        metric = CounterMetricFamily("captures", "What became of the figures of answers.", labels=["outcome"])
        for outcome, count in ({"kept": 0, "lost": 0, "failed": 0} | self.outcomes()).items():
            metric.add_metric([outcome], count)
        yield metric

    # Inside ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ended.is_set():
            self._write(self._taken(_LOOK_EVERY_S))
        while rows := self._taken(0.0):
            self._write(rows)

    def _taken(self, within_s: float) -> list[_Answered]:
        rows: list[_Answered] = []
        try:
            rows.append(self._waiting.get(timeout=within_s) if within_s else self._waiting.get_nowait())
            while len(rows) < _BATCH:
                rows.append(self._waiting.get_nowait())
        except queue.Empty:
            pass
        return rows

    def _write(self, rows: list[_Answered]) -> None:
        if not rows:
            return
        try:
            self._captures.save([captured(row.question, row.seen, row.answer, row.at) for row in rows])
            self._outcomes["kept"] += len(rows)
        except Exception:  # noqa: BLE001 - the thread must outlive a database or disk that is away for a while
            self._outcomes["failed"] += len(rows)
            _log.exception("not captured", extra={"fields": {"answers": len(rows)}})


def sampled(answer_id: str, share: float) -> bool:
    """Whether the answer is among the `share` that is captured: always the same for an id, and not by the choice of
    `shadow.py`."""
    return int.from_bytes(hashlib.sha256(b"capture:" + answer_id.encode()).digest()[:8]) < share * 2**64


def captured(question: Question, seen: Seen, answer: AnswerOut, at: float) -> Capture:
    """The figures of an answer that was given at `at`, in seconds since the epoch."""
    letters = sum(1 for char in question.text if unicodedata.category(char)[0] in "LMZ")
    return Capture(
        Kind(answer.lineage.release or NO_RELEASE, answer.lineage.encoder),
        question.collection,
        at,
        seen.vector,
        {
            "question_chars": float(len(question.text)),
            "question_words": float(len(question.text.split())),
            "question_letters": round(letters / len(question.text), 4),
            "top_score": seen.top_score or 0.0,
            "top_sufficiency": seen.top_sufficiency or 0.0,
            "answerability": answer.answerability or 0.0,
            "generated": float(answer.mode == "generated"),
            "abstained": float(answer.mode == "abstained"),
            "citations": float(len(answer.citations)),
            "latency_ms": answer.timings_ms["total"],
        },
    )
