"""Question -> answer with citations, as a stream of events: passages, delta*, citation*, final."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from services.api.admission import Admission
from services.api.cite import Citer
from services.api.generate import Decoding, Finish, Generator
from services.api.retrieve import Retriever
from services.api.schemas import AnswerOut, CitationOut, Lineage, SearchOut, Usage
from services.core.catalog import Catalog, new_answer_id
from services.core.encoder import Encoder
from services.core.errors import ClientClosedRequest
from services.core.evidence import Evidence
from services.core.prompt import DEFAULT_PROMPT
from services.core.registry import Release
from services.core.streams import Event
from services.core.types import Passage, PassageFilter


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    collection: str
    k: int  # passages to read
    decoding: Decoding
    wanted: PassageFilter | None = None


class Answerer:
    def __init__(
        self,
        catalog: Catalog,
        retriever: Retriever,
        citer: Citer,
        generator: Generator,
        admission: Admission,
        *,
        encoder: Encoder,
        classifier_id: str | None,
        release: Release | None,
        git_commit: str,
    ) -> None:
        self._catalog = catalog
        self._retriever = retriever
        self._citer = citer
        self._generator = generator
        self._admission = admission
        self._prompt = release.prompt if release else DEFAULT_PROMPT
        self._encoder = encoder
        self._classifier_id = classifier_id
        self._release = release
        self._git_commit = git_commit

    def answer(self, question: Question, stop: threading.Event) -> AnswerOut:
        """The complete answer. Raises ClientClosedRequest if `stop` is set before it is ready."""
        for event in self.events(question, stop):
            if isinstance(event.data, AnswerOut):
                return event.data
        raise ClientClosedRequest("The client closed the connection before the answer was ready.")

    def events(self, question: Question, stop: threading.Event) -> Iterator[Event]:
        """`passages`, then `delta`s of the answer's text, then `citation`s, then `final`, which has the last word.

        Ends without `final` once `stop` is set. The answer is in the answer log before `final` is sent.
        """
        clock = _Clock()
        found = self._retriever.search(question.collection, question.text, question.k, question.wanted)
        clock.lap("retrieve")
        yield Event("passages", [passage.model_dump() for passage in SearchOut.of(found).results])
        evidence = Evidence.of([passage.text for passage in found.passages], self._encoder)
        clock.lap("read")

        text, finish = "", Finish("stop", 0, 0)
        if found.passages:
            for piece in self._generate(question, found.passages, evidence, clock, stop):
                if isinstance(piece, Finish):
                    finish = piece
                else:
                    text += piece
                    yield Event("delta", {"text": piece})
        if stop.is_set():
            return

        citations = self._citer.cite(question.text, text, found.passages, evidence)
        clock.lap("cite")
        abstained = not any(citation.verified for citation in citations)
        if abstained:
            citations = []
        for citation in citations:
            yield Event("citation", CitationOut.of(citation))
        answer_id = new_answer_id()
        final = AnswerOut(
            id=answer_id,
            answer=self._prompt.abstention if abstained else text.strip(),
            abstained=abstained,
            citations=[CitationOut.of(citation) for citation in citations],
            finish_reason=finish.reason,
            lineage=self._lineage(answer_id, found.seq, question.decoding),
            usage=Usage.of(finish),
            timings_ms=clock.milliseconds(),
        )
        self._log(question, found.passages, final)
        yield Event("final", final)

    def _generate(
        self, question: Question, passages: list[Passage], evidence: Evidence, clock: _Clock, stop: threading.Event
    ) -> Iterator[str | Finish]:
        """The generator's pieces without leading white space."""
        decoding = replace(question.decoding, stop=(*question.decoding.stop, *self._prompt.stops))
        nearest = evidence.nearest(self._encoder.encode([question.text])[0], self._prompt.sentences)
        messages = self._prompt.messages(
            question.text, [passage.text for passage in passages], [sentence.text for sentence in nearest]
        )
        begun = False
        with self._admission.slot(stop):
            clock.lap("queue")
            for piece in self._generator.stream(messages, decoding, stop):
                if isinstance(piece, str) and not begun:
                    piece = piece.lstrip()
                    if not piece:
                        continue
                    begun = True
                    clock.lap("first_token")
                yield piece
        clock.lap("generate")

    def _lineage(self, answer_id: str, index_seq: int, decoding: Decoding) -> Lineage:
        return Lineage(
            id=answer_id,
            index_seq=index_seq,
            encoder=self._encoder.id,
            generator=self._generator.id,
            adapter=self._generator.adapter,
            classifier=self._classifier_id,
            prompt=self._prompt.id,
            release=self._release.id if self._release else None,
            data_sha256=self._release.data_sha256 if self._release else None,
            decoding=asdict(decoding),
            retrieval=asdict(self._retriever.plan),
            git_commit=self._git_commit,
        )

    def _log(self, question: Question, passages: list[Passage], final: AnswerOut) -> None:
        asked = {"question": question.text, "collection": question.collection}
        read = {"passages": [passage.chunk_id for passage in passages]}
        self._catalog.save_answer(question.collection, {**final.model_dump(mode="json"), **asked, **read})


class _Clock:
    """Milliseconds between laps, and in total."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = round(1000 * (now - self._last), 1)
        self._last = now

    def milliseconds(self) -> dict[str, float]:
        return {**self._laps, "total": round(1000 * (time.perf_counter() - self._start), 1)}
