"""Who speaks: the generator, the document, or nobody. Real parts, but for a generator that says what it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.api.admission import Admission
from services.api.answer import Answerer, Question
from services.api.generate import Decoding, Finish
from services.api.resources import open_resources
from services.api.schemas import AnswerOut
from services.core.classifier import OverlapClassifier
from services.core.plan import DEFAULT_SENTENCES, SentencePlan
from services.core.prompt import DEFAULT_PROMPT, Message
from services.core.telemetry import Telemetry
from tests import samples
from tests.asking import release_of
from tests.weightless import weightless

TEXT = """The bell is rung every 12 minutes when there is fog.
The lamp is trimmed at nine by the keeper.
Boats are painted in spring, and never in autumn."""
CROSSING = """The lamp is trimmed at nine by the keeper. The bell is rung every 12 minutes
when there is fog. Boats are painted in spring."""
ASKED = "How often is the bell rung in fog?"


class Says:
    """A generator of one sentence; it remembers whether it was asked."""

    id = "says"
    adapter: str | None = None

    def __init__(self, text: str) -> None:
        self._text = text
        self.asked = 0

    def stream(self, messages: Sequence[Message], decoding: Decoding, stop: threading.Event) -> Iterator[str | Finish]:
        self.asked += 1
        yield self._text
        yield Finish("stop", 1, len(self._text.split()))

    def check(self) -> None:
        """It is always there."""

    def close(self) -> None:
        """There are no weights."""


@contextmanager
def asked(
    folder: Path,
    generator: Says,
    *,
    answer: float = 0.0,
    support: float = 0.6,
    kept: float = 0.0,
    sentences: SentencePlan = DEFAULT_SENTENCES,
    extractive: bool = False,
    text: str = TEXT,
) -> Iterator[AnswerOut]:
    settings = weightless(folder)
    with open_resources(settings, Telemetry()) as parts:
        samples.publish(parts.catalog, text, "default", encoder=parts.encoder)
        answerer = Answerer(
            parts.catalog,
            parts.live.retriever,
            generator,
            Admission("generator", 1, 1.0, usual_s=1.0),
            parts.reading,
            encoder=parts.encoder,
            judge=OverlapClassifier(),
            release=release_of(DEFAULT_PROMPT, sentences, answer=answer, support=support, kept=kept),
            git_commit="c" * 40,
            extractive=extractive,
        )
        found = answerer.answer(Question(ASKED, "default", 3, Decoding()), threading.Event())
        for citation in found.citations:
            page = parts.catalog.page(citation.document_id, citation.page)
            assert citation.verified and page.text[citation.char_start : citation.char_end] == citation.quote
        yield found


def test_a_supported_draft_is_the_answer(tmp_path: Path) -> None:
    with asked(tmp_path, Says("The bell is rung every 12 minutes.")) as found:
        assert (found.mode, found.answer) == ("generated", "The bell is rung every 12 minutes.")
        assert [citation.quote for citation in found.citations] == [TEXT.splitlines()[0]]
        assert found.nearest == []


def test_an_invented_number_gives_way_to_the_best_sentence(tmp_path: Path) -> None:
    with asked(tmp_path, Says("The bell is rung every 15 minutes.")) as found:
        assert (found.mode, found.answer) == ("extractive", TEXT.splitlines()[0])
        assert len(found.citations) == 1


def test_a_sentence_that_crosses_a_page_is_the_answer_as_a_whole_with_a_quote_on_each(tmp_path: Path) -> None:
    whole = "The bell is rung every 12 minutes when there is fog."
    for draft, mode in ((whole, "generated"), ("The bell is rung every 15 minutes.", "extractive")):
        with asked(tmp_path / mode, Says(draft), text=CROSSING) as found:
            assert (found.mode, found.answer) == (mode, whole)
            cited = [(citation.page, citation.quote) for citation in found.citations]
            assert cited == [(1, "The bell is rung every 12 minutes"), (2, "when there is fog.")]


def test_one_unsupported_sentence_spoils_the_draft(tmp_path: Path) -> None:
    draft = "The bell is rung every 12 minutes. Whales answer from distant northern waters."
    with asked(tmp_path, Says(draft)) as found:
        assert found.mode == "extractive"


def test_where_it_is_not_sure_enough_nothing_is_generated(tmp_path: Path) -> None:
    generator = Says("The bell is rung every 12 minutes.")
    with asked(tmp_path, generator, answer=0.999) as found:
        assert (found.mode, found.abstained, found.citations) == ("abstained", True, [])
        assert found.answer == DEFAULT_PROMPT.abstention
        assert generator.asked == 0
        assert found.nearest and found.nearest[0].sufficiency is not None
        assert found.answerability is not None and 0 < found.answerability < 0.999


def test_a_generator_that_says_nothing_leaves_it_to_the_document(tmp_path: Path) -> None:
    with asked(tmp_path, Says("  ")) as found:
        assert (found.mode, found.answer) == ("extractive", TEXT.splitlines()[0])


def test_answers_can_do_without_a_generator(tmp_path: Path) -> None:
    generator = Says("The bell is rung every 12 minutes.")
    with asked(tmp_path, generator, extractive=True) as found:
        assert (found.mode, found.answer) == ("extractive", TEXT.splitlines()[0])
        assert generator.asked == 0


def test_a_draft_that_leaves_out_too_much_gives_way_to_the_sentence(tmp_path: Path) -> None:
    for draft, mode in (("The bell is rung every 12 minutes in fog.", "generated"), ("12 minutes.", "extractive")):
        with asked(tmp_path / mode, Says(draft), kept=0.8) as found:
            assert found.mode == mode
            assert found.answer == (draft if mode == "generated" else TEXT.splitlines()[0])


def test_a_second_sentence_that_is_nearly_as_sure_is_said_too(tmp_path: Path) -> None:
    text = f"{TEXT}\nThe bell is heard far out in the fog."
    for share, lines in ((0.2, [0, 3]), (1.0, [0])):
        with asked(tmp_path / str(share), Says(""), sentences=SentencePlan(share=share, most=2), text=text) as found:
            assert found.mode == "extractive"
            assert [citation.quote for citation in found.citations] == [text.splitlines()[line] for line in lines]
            assert found.answer == " ".join(citation.quote for citation in found.citations)
    two = SentencePlan(share=0.2, most=2)
    with asked(tmp_path / "draft", Says("The bell is rung every 12 minutes."), sentences=two, text=text) as found:
        assert (found.mode, len(found.citations)) == ("generated", 2)
        assert found.answer == f"The bell is rung every 12 minutes. {text.splitlines()[3]}"
