"""A question -> the passages that retrieval finds for it, with the one that answers it marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from models.prepare.platform import MAX_K, Found, Platform
from models.prepare.questions import Question
from services.core.answer_metrics import contains_any, words

# A quote that runs over the end of a passage is found by the words they share, if that is nearly all of them.
MIN_QUOTE_SHARE = 0.8
STRETCH_CHARS = 600  # about a passage


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage seen for a question, and the titles of its section, outermost first.

    Rank (from 1) and score are None where it lay beyond all that was asked for.
    """

    section: tuple[str, ...]
    text: str
    page: int
    score: float | None
    rank: int | None


@dataclass(frozen=True, slots=True)
class Retrieved:
    """`ranked` are the passages found, nearest first, `gold` those that hold the answer, whether found or not."""

    question: Question
    ranked: tuple[Candidate, ...]
    gold: tuple[Candidate, ...]


def retrieve(platform: Platform, question: Question, collection: str, k: int) -> Retrieved:
    """Ask for `question` as a user would. `gold` stays empty where no passage on its page holds the quote."""
    ranked = _candidates(platform.search(question.question, collection, k))
    if not question.answerable:
        return Retrieved(question, ranked, ())
    gold = gold_of(question, ranked)
    if not gold:
        deeper = [*_candidates(platform.search(question.question, collection, MAX_K))]
        deeper += _of_page(platform, question, collection, {(c.page, c.text) for c in deeper})
        gold = gold_of(question, deeper) or _nearest(question, deeper)
    return Retrieved(question, ranked, gold)


def gold_of(question: Question, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Those on the page of `question` that hold its whole quote."""
    return tuple(c for c in candidates if c.page == question.page and contains_any(c.text, [question.quote]))


def _of_page(platform: Platform, question: Question, collection: str, known: set[tuple[int, str]]) -> list[Candidate]:
    """The passages of the question's page that are not `known`: each is near some stretch of the page's own text."""
    text = platform.page_text(collection, question.page or 0)
    found: dict[str, Candidate] = {}
    for start in range(0, len(text), STRETCH_CHARS // 2):
        if stretch := text[start : start + STRETCH_CHARS].strip():
            for candidate in _candidates(platform.search(stretch, collection, MAX_K)):
                if candidate.page == question.page and (candidate.page, candidate.text) not in known:
                    found[candidate.text] = replace(candidate, score=None, rank=None)
    return list(found.values())


def _nearest(question: Question, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The one on the page that shares most words with the quote, if that is at least MIN_QUOTE_SHARE of them."""
    quote = Counter(words(question.quote))
    shares = [
        (sum((Counter(words(c.text)) & quote).values()) / quote.total(), c)
        for c in candidates
        if c.page == question.page
    ]
    share, best = max(shares, key=lambda pair: pair[0], default=(0.0, None))
    return (best,) if best is not None and share >= MIN_QUOTE_SHARE else ()


def _candidates(found: Iterable[Found]) -> tuple[Candidate, ...]:
    return tuple(Candidate(f.section, f.text, f.page, f.score, f.rank) for f in found)
