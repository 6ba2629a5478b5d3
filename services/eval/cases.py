"""Feedback -> questions to judge releases on, and questions to train on.

What says only that an answer was wrong teaches nothing. A correction does, if a page of the documents says it: then
that page and sentence are known. A question is for judging or for training, never both, and always the same: the hash
of its words decides. What users confirmed, and wrong citations beside right ones, are judged by if their hash says so,
and else left out: to train on one's own answers teaches nothing new.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from services.core.answer_metrics import words
from services.core.feedback import Feedback
from services.core.sentences import sentence_spans
from services.eval.dataset import Question

KIND = "feedback"
_SURE_CHARS = 20  # what is shorter is said on many pages: it is looked for on those only that were read
_MAX_PIECES = 400  # words of a correction that is looked for


class PageText(NamedTuple):
    document_id: str
    document: str  # its name
    sha256: str
    number: int
    text: str


class Place(NamedTuple):
    """`quote` is verbatim on the page."""

    document_id: str
    document: str
    sha256: str
    page: int
    quote: str


@dataclass(frozen=True)
class Lesson:
    """One question with what is right. `read` are the pages (document id, number) that the answer was made from."""

    feedback: Feedback
    question: str
    answer: str
    needle: str
    read: frozenset[tuple[str, int]]

    @property
    def key(self) -> str:
        return key_of(self.question)


@dataclass(frozen=True)
class Cases:
    """`candidates` are rows as models/data/questions.jsonl has them, with the id and hash of their document besides.
    `unusable` counts feedback by why nothing could be made of it."""

    evaluation: list[Question]
    candidates: list[dict[str, Any]]
    unusable: Counter[str]


def key_of(question: str) -> str:
    """The same for questions of the same words, whatever stands between them."""
    return " ".join(words(question)) or question.strip()


def cases_of(
    given: Sequence[tuple[Feedback, dict[str, Any]]],
    read: Mapping[int, tuple[str, int]],
    pages: Iterable[PageText],
    known: Collection[str],
) -> Cases:
    """`given` is feedback with the logged answer, oldest first; `read` the pages of the passages by their ids; `pages`
    all that there are. Questions among `known` (keys) are asked already and left out."""
    unusable: Counter[str] = Counter()
    evaluation: dict[str, Question] = {}
    lessons: dict[str, Lesson] = {}
    for one, answer in given:  # of several on the same question, the last one counts
        key = key_of(answer["question"])
        evaluation.pop(key, None)
        lessons.pop(key, None)
        if key in known:
            unusable["asked_already"] += 1
        elif one.said.corrected or one.said.quote:
            lessons[key] = _lesson(one, answer, read)
        elif for_training(key):
            unusable["a_training_question"] += 1
        elif (case := _confirmed(one, answer)) is not None:
            evaluation[key] = case
        else:
            unusable["says_nothing_of_what_is_right"] += 1
    candidates = []
    places = _places(list(lessons.values()), pages)
    for key, lesson in lessons.items():
        if (place := places.get(key)) is None:
            unusable["on_no_page"] += 1
        elif for_training(key):
            candidates.append(_candidate(lesson, place))
        else:
            evaluation[key] = _question(lesson.feedback, lesson.question, lesson.answer, place.document, [place.page])
    return Cases(list(evaluation.values()), candidates, unusable)


def for_training(key: str) -> bool:
    return hashlib.sha256(key.encode()).digest()[0] % 2 == 1


def _lesson(one: Feedback, answer: Mapping[str, Any], read: Mapping[int, tuple[str, int]]) -> Lesson:
    said = one.said
    right = said.corrected or said.quote or ""
    seen = {read[chunk_id] for chunk_id in answer["passages"] if chunk_id in read}
    seen |= {(citation["document_id"], citation["page"]) for citation in answer["citations"]}
    return Lesson(one, answer["question"], right, said.quote or right, frozenset(seen))


def _confirmed(one: Feedback, answer: Mapping[str, Any]) -> Question | None:
    """The answer itself as a case: it was right, or right but for one citation."""
    wrong = one.said.wrong_citation
    if answer["abstained"] or (one.said.verdict == "down" and wrong is None):
        return None
    cited = answer["citations"]
    bad = None if wrong is None else (cited[wrong]["document_id"], cited[wrong]["page"])
    good = [each for each in cited if (each["document_id"], each["page"]) != bad]
    if not good:
        return None
    document = good[0]["document_name"]
    pages = sorted({each["page"] for each in good if each["document_name"] == document})
    return _question(one, answer["question"], answer["answer"], document, pages)


def _question(one: Feedback, question: str, answer: str, document: str, pages: list[int]) -> Question:
    return Question(
        id=f"{KIND}-{one.answer_id}",
        kind=KIND,
        document=document,
        question=question,
        answer=answer,
        short_answers=[answer],
        pages=pages,
    )


def _candidate(lesson: Lesson, place: Place) -> dict[str, Any]:
    row = {
        "id": f"{KIND}-{lesson.feedback.answer_id}",
        "document": place.document,
        "kind": KIND,
        "question": lesson.question,
        "answer": lesson.answer,
        "short_answers": [lesson.answer],
        "page": place.page,
        "quote": place.quote,
    }
    return row | {"document_id": place.document_id, "document_sha256": place.sha256}


def _places(lessons: Sequence[Lesson], pages: Iterable[PageText]) -> dict[str, Place]:
    """Where each is said, by its key: on a page that was read, if there is one, else on the first that says it."""
    found: dict[str, Place] = {}
    sure: set[str] = set()
    patterns = {lesson.key: _pattern(lesson.needle) for lesson in lessons}
    for page in pages:
        for lesson in lessons:
            was_read = (page.document_id, page.number) in lesson.read
            if lesson.key in sure or not (was_read or (len(lesson.needle) >= _SURE_CHARS and lesson.key not in found)):
                continue
            if match := patterns[lesson.key].search(page.text):
                quote = _whole(page.text, match.start(), match.end())
                found[lesson.key] = Place(page.document_id, page.document, page.sha256, page.number, quote)
                if was_read:
                    sure.add(lesson.key)
    return found


def _pattern(needle: str) -> re.Pattern[str]:
    """The words, whatever white space is between them, and no part of a longer word."""
    pieces = needle.strip().rstrip(".").split()[:_MAX_PIECES]
    if not any(words(piece) for piece in pieces):
        return re.compile(r"(?!)")  # nothing that a page could say
    return re.compile(r"(?<!\w)" + r"\s+".join(map(re.escape, pieces)) + r"(?!\w)", re.IGNORECASE)


def _whole(text: str, start: int, end: int) -> str:
    """The sentences that `[start, end)` lies in."""
    spans = [span for span in sentence_spans(text) if span[0] < end and span[1] > start]
    return text[min(start, *(span[0] for span in spans)) : max(end, *(span[1] for span in spans))] if spans else ""


def rows_of(questions: Iterable[Question]) -> Iterator[dict[str, Any]]:
    """As a file of questions has them."""
    for question in questions:
        yield question.model_dump(mode="json")
