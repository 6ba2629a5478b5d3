"""Question -> answer with citations, as a stream of events: passages, delta*, citation*, final."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from opentelemetry.trace import Tracer, get_current_span

from services.api.choose import Ranked, leading, ranked
from services.api.cite import Citation, citations_of
from services.api.clock import Clock
from services.api.generate import Decoding, Finish, Generator
from services.api.ground import claims_of, support
from services.api.metrics import PROVIDER, ApiMetrics
from services.api.orders import evidence_without_orders, without_orders
from services.api.retrieve import Retrieved, Retriever
from services.api.schemas import AnswerOut, CitationOut, Lineage, Mode, SearchOut, Usage
from services.api.watched import Pieces, watched
from services.core.catalog import Catalog, new_answer_id
from services.core.classifier import Classifier
from services.core.encoder import Encoder, Vectors
from services.core.errors import ClientClosedRequest
from services.core.evidence import Evidence, Sentence, answerability, evidence_of, sufficiency
from services.core.notes import note, note_text
from services.core.plan import DEFAULT_SENTENCES
from services.core.prompt import DEFAULT_PROMPT
from services.core.registry import Release
from services.core.release import ANSWER, KEPT, SUPPORT
from services.core.streams import Event
from services.core.tracing import LINEAGE_ID, NO_TRACER, Spans
from services.core.types import Passage, PassageFilter

RETRIEVAL = {"gen_ai.operation.name": "retrieval", "gen_ai.provider.name": PROVIDER}


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    collection: str
    k: int | None  # passages to read; None: as many as the release says
    decoding: Decoding
    wanted: PassageFilter | None = None
    replay_of: str | None = None  # lineage id of the answer that this one is to be compared with
    evaluation: bool = False  # whether an evaluation asks, and not a user


@dataclass(frozen=True, slots=True)
class Seen:
    """What was known of a question before it was answered: its vector, and what retrieval found, None for nothing."""

    vector: Vectors
    top_score: float | None
    top_sufficiency: float | None


class Slots(Protocol):
    """Who may generate now: `admission.py` for requests, `shadow.py` for what has time."""

    def slot(self, stop: threading.Event) -> AbstractContextManager[None]:
        """Hold one. Raises CapstoneError if there is none to be had."""


def answer_of(events: Iterator[Event]) -> AnswerOut:
    """What they end with. Raises ClientClosedRequest if they end without, because nobody waits any more."""
    for event in events:
        if isinstance(event.data, AnswerOut):
            return event.data
    raise ClientClosedRequest("The client closed the connection before the answer was ready.")


class Answerer:
    """`judge` is a classifier with the label `sufficient`: it tells how well passages and sentences answer.

    `extractive` leaves the generator out: the sentences that answer best are the answer.
    """

    def __init__(
        self,
        catalog: Catalog,
        retriever: Retriever,
        generator: Generator,
        admission: Slots,
        reading: Slots,
        *,
        encoder: Encoder,
        judge: Classifier,
        release: Release | None,
        git_commit: str,
        extractive: bool = False,
        metrics: ApiMetrics | None = None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._catalog = catalog
        self._retriever = retriever
        self._generator = generator
        self._admission = admission
        self._reading = reading
        self._prompt = release.prompt if release else DEFAULT_PROMPT
        self._thresholds = release.thresholds if release else {}
        self._sentences = release.sentences if release else DEFAULT_SENTENCES
        self._encoder = encoder
        self._judge = judge
        self._release = release
        self._git_commit = git_commit
        self._extractive = extractive
        self._metrics = metrics
        self._tracer = tracer
        self._save: Callable[[str, dict[str, Any]], None] = catalog.save_answer

    def aside(self, slots: Slots, save: Callable[[str, dict[str, Any]], None]) -> Answerer:
        """The same parts, waiting for the generator elsewhere, with another log: `save(collection, body)`, and unseen:
        its answers are none of a user's."""
        other = copy.copy(self)
        other._admission, other._save = slots, save
        other._metrics, other._tracer = None, NO_TRACER
        return other

    def answer(self, question: Question, stop: threading.Event) -> AnswerOut:
        """The complete answer. Raises ClientClosedRequest if `stop` is set before it is ready."""
        return answer_of(self.events(question, stop))

    def events(
        self, question: Question, stop: threading.Event, notice: Callable[[Seen, AnswerOut], None] | None = None
    ) -> Iterator[Event]:
        """`passages`, then `delta`s of the answer's text, then `citation`s, then `final`, which has the last word: its
        text takes the place of the deltas, unless its mode is `generated`.

        Ends without `final` once `stop` is set. The answer is in the answer log before `final` is sent. `notice` is
        called just before that, and must return at once.
        """
        clock, answer_id = Clock(), new_answer_id()
        spans = Spans(self._tracer, answer_id)
        metrics = None if question.replay_of or question.evaluation else self._metrics
        k = question.k or self._retriever.plan.answer_passages
        question = replace(question, k=k)
        with self._reading.slot(stop):  # not across a `yield`: it would be held by a client that is slow to read
            clock.lap("queue")
            with spans.span("retrieval", RETRIEVAL) as span:
                found = self._retriever.search(question.collection, question.text, k, question.wanted)
                span.set_attribute("capstone.passages", len(found.passages))
            if metrics is not None:
                metrics.searched(found)
            clock.lap("retrieve")
            if stop.is_set():
                return
            with spans.span("read", {"capstone.classifier": self._judge.id}) as span:
                windows = self._retriever.windows(found.passages)
                evidence = evidence_of(question.text, found.passages, self._judge, windows)
                evidence = evidence_without_orders(evidence, found.passages)
                sufficient = self._sufficiency(question.text, found)
                sure = answerability(sufficient, evidence)
                span.set_attribute("capstone.sentences", len(evidence.sentences))
                span.set_attribute("capstone.answerability", round(sure, 6))
                answerable = bool(evidence.sentences) and sure >= self._thresholds.get(ANSWER, 0.0)
                ranking = self._ranked(found, evidence, sufficient) if answerable else []
            clock.lap("read")
        yield Event("passages", [passage.model_dump() for passage in SearchOut.of(found).results])

        draft, finish = "", Finish("stop", 0, 0)
        if answerable and not self._extractive:
            pieces = self._generate(question, found.passages, ranking, clock, stop)
            for piece in watched(pieces, self._generator.id, question.decoding, stop, spans, metrics):
                if isinstance(piece, Finish):
                    finish = piece
                else:
                    draft += piece
                    yield Event("delta", {"text": piece})
        if stop.is_set():
            return

        with spans.span("cite", {}) as span:
            mode, text, citations = self._abstained()
            if answerable:
                cut_off = finish.reason == "length"
                mode, text, citations = self._grounded(
                    question.text, draft, found.passages, evidence, ranking, metrics, alone=cut_off
                )
            span.set_attribute("capstone.mode", mode)
            span.set_attribute("capstone.citations", len(citations))
        clock.lap("cite")
        if mode == "generated" and (rest := text.removeprefix(draft.strip())):
            yield Event("delta", {"text": rest})
        for citation in citations:
            yield Event("citation", CitationOut.of(citation))
        final = AnswerOut(
            id=answer_id,
            answer=text,
            mode=mode,
            abstained=mode == "abstained",
            answerability=round(sure, 6),
            citations=[CitationOut.of(citation) for citation in citations],
            nearest=SearchOut.of(found).results if mode == "abstained" else [],
            finish_reason=finish.reason,
            lineage=self._lineage(answer_id, found.seq, question.decoding),
            usage=Usage.of(finish),
            timings_ms=clock.milliseconds(),
        )
        self._log(question, found.passages, final)
        self._tell(question, final, metrics)
        if notice is not None:
            top_score = max((passage.score for passage in found.passages), default=None)
            notice(Seen(found.vector, top_score, max(sufficient, default=None)), final)
        yield Event("final", final)

    def _sufficiency(self, question: str, found: Retrieved) -> list[float]:
        """For each passage the probability that it answers; those are read now that the search did not read."""
        unread = [passage for passage in found.passages if passage.chunk_id not in found.sufficiency]
        ids = [passage.chunk_id for passage in unread]
        known = found.sufficiency | dict(zip(ids, sufficiency(question, unread, self._judge), strict=True))
        return [known[passage.chunk_id] for passage in found.passages]

    def _ranked(self, found: Retrieved, evidence: Evidence, sufficient: Sequence[float]) -> list[Ranked]:
        cosines = [0.0 for _ in evidence.sentences]
        if self._sentences.cosine:
            vectors = self._encoder.encode([sentence.text for sentence in evidence.sentences])
            cosines = [float(cosine) for cosine in vectors @ found.vector]
        relevance = [found.relevance[passage.chunk_id] for passage in found.passages]
        return ranked(evidence, self._sentences, sufficient, relevance, cosines)

    def _grounded(
        self,
        question: str,
        draft: str,
        passages: list[Passage],
        evidence: Evidence,
        ranking: Sequence[Ranked],
        metrics: ApiMetrics | None,
        *,
        alone: bool,
    ) -> tuple[Mode, str, list[Citation]]:
        """What carries an answer best, all of it with verified quotes: the draft, if its claims are supported and it
        leaves out little of the sentence that answers best, else that sentence; then, unless it is to stand `alone`,
        those that are nearly as sure. Else nothing."""
        first, *others = leading(ranking, self._sentences, passages)

        @functools.cache
        def quotes(sentence: Sentence) -> list[Citation]:
            return self._quotes(passages, sentence, metrics)

        def cited(carriers: Sequence[Sentence]) -> list[Citation]:
            found = [quotes(sentence) for sentence in dict.fromkeys([*carriers, *more])]
            return [quote for own in found for quote in own] if all(found) else []

        more = [] if alone else [sentence for sentence in others if quotes(sentence)]
        rest = [" ".join(sentence.text.split()) for sentence in more]
        claims = claims_of(question, draft, evidence, self._thresholds.get(SUPPORT, 0.0), source=first)
        whole = support(first.text, [draft]) >= self._thresholds.get(KEPT, 0.0)
        held = whole and bool(claims) and all(claim.supported for claim in claims)
        if held and (citations := cited([sentence for claim in claims for sentence in claim.evidence])):
            return "generated", " ".join([draft.strip(), *rest]), citations
        if citations := cited([first]):
            return "extractive", " ".join([" ".join(first.text.split()), *rest]), citations
        return self._abstained()

    def _quotes(self, passages: list[Passage], sentence: Sentence, metrics: ApiMetrics | None) -> list[Citation]:
        """The citations of `sentence`; none at all if it is not to be found on its page any more."""
        found = citations_of(self._catalog, passages, [sentence])
        if found and all(citation.verified for citation in found):
            return found
        if metrics is not None:
            metrics.withheld(1)
        return []

    def _abstained(self) -> tuple[Mode, str, list[Citation]]:
        return "abstained", self._prompt.abstention, []

    def _generate(
        self,
        question: Question,
        passages: list[Passage],
        ranking: Sequence[Ranked],
        clock: Clock,
        stop: threading.Event,
    ) -> Pieces:
        """The generator's pieces without leading white space."""
        decoding = replace(question.decoding, stop=(*question.decoding.stop, *self._prompt.stops))
        best = self._best_sentences(question.text, ranking)
        texts = [text for passage in passages if (text := without_orders(passage.text).strip())]
        messages = self._prompt.messages(question.text, texts, best)
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

    def _best_sentences(self, question: str, ranking: Sequence[Ranked]) -> list[str]:
        """Those that the prompt repeats, best first."""
        count, sentences = self._prompt.sentences, [one.sentence for one in ranking]
        if self._prompt.sentences_by == "classifier" or not sentences:
            return [sentence.text for sentence in sentences[:count]]
        vectors = self._encoder.encode([question, *(sentence.text for sentence in sentences)])
        nearest = (-(vectors[1:] @ vectors[0])).argsort(kind="stable")[:count]
        return [sentences[int(index)].text for index in nearest]

    def _lineage(self, answer_id: str, index_seq: int, decoding: Decoding) -> Lineage:
        return Lineage(
            id=answer_id,
            index_seq=index_seq,
            encoder=self._encoder.id,
            generator=self._generator.id,
            adapter=self._generator.adapter,
            classifier=self._judge.id,
            prompt=self._prompt.id,
            release=self._release.id if self._release else None,
            data_sha256=self._release.data_sha256 if self._release else None,
            thresholds=dict(self._thresholds),
            answers="extractive" if self._extractive else "generated",
            decoding=asdict(decoding),
            retrieval=self._retriever.plan.model_dump(),
            git_commit=self._git_commit,
        )

    def _tell(self, question: Question, final: AnswerOut, metrics: ApiMetrics | None) -> None:
        """Metrics, the request's line in the log and its span."""
        if metrics is not None:
            metrics.answered(final)
        note(lineage_id=final.id, mode=final.mode)
        note_text(question=question.text)
        get_current_span().set_attributes({LINEAGE_ID: final.id, "capstone.mode": final.mode})

    def _log(self, question: Question, passages: list[Passage], final: AnswerOut) -> None:
        asked: dict[str, Any] = {"question": question.text, "collection": question.collection, "k": question.k}
        asked |= {"filter": asdict(question.wanted) if question.wanted else None, "replay_of": question.replay_of}
        asked |= {"evaluation": question.evaluation}
        read = {"passages": [passage.chunk_id for passage in passages], "prompt": asdict(self._prompt)}
        self._save(question.collection, {**final.model_dump(mode="json"), **asked, **read})
