"""A file in SQuAD format (Rajpurkar et al. 2016) -> the same rows as our own questions give.

Its paragraphs are the passages, ranked by the encoder among those of the same article: there is no PDF to ingest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from models.errors import BadInput
from models.files import told
from models.prepare.questions import Question
from models.prepare.retrieval import Candidate, Retrieved
from services.core.encoder import Encoder

SQUAD = "xquad.en.json"
KIND = "squad"
REMEDY = "Fetch the file again with `python -m models.data.fetch`."
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z0-9])")


class _Answer(BaseModel):
    text: str = Field(min_length=1)
    answer_start: int = Field(ge=0)


class _Row(BaseModel):
    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answers: list[_Answer] = Field(min_length=1)


class _Paragraph(BaseModel):
    context: str = Field(min_length=1)
    qas: list[_Row]


class _Article(BaseModel):
    title: str = Field(min_length=1)
    paragraphs: list[_Paragraph] = Field(min_length=1)


class _File(BaseModel):
    data: list[_Article] = Field(min_length=1)


def read_squad(
    path: Path, limit: int | None, seed: int, encoder: Encoder, advance: Callable[[int], None]
) -> list[Retrieved]:
    """The questions with the paragraphs of their article, ranked. Raises BadInput if the file is not such a file.

    `limit` takes that many questions, the same ones whatever is added to the file. `advance` is told of each article.
    """
    try:
        articles = _File.model_validate(json.loads(path.read_bytes())).data
    except OSError as error:
        raise BadInput(path, f"it cannot be read ({error.strerror})", remedy=REMEDY) from error
    except ValidationError as error:
        raise BadInput(path, f"it is not in SQuAD format ({told(error)})", remedy=REMEDY) from error
    except ValueError as error:
        raise BadInput(path, f"it is not JSON ({error})", remedy=REMEDY) from error
    kept = _kept([row.id for article in articles for part in article.paragraphs for row in part.qas], limit, seed)
    retrieved: list[Retrieved] = []
    for article in articles:
        retrieved += _rank(article, kept, encoder, path)
        advance(1)
    return retrieved


def squad_size(path: Path) -> int:
    """The number of articles, for a progress bar; 0 for a file that `read_squad` will refuse."""
    try:
        return len(json.loads(path.read_bytes())["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _kept(ids: list[str], limit: int | None, seed: int) -> set[str]:
    by_hash = sorted(ids, key=lambda row_id: hashlib.sha256(f"{seed}:{row_id}".encode()).digest())
    return set(by_hash[:limit])


def _rank(article: _Article, kept: set[str], encoder: Encoder, path: Path) -> list[Retrieved]:
    asked = [(n, row) for n, part in enumerate(article.paragraphs, 1) for row in part.qas if row.id in kept]
    if not asked:
        return []
    texts = [part.context for part in article.paragraphs]
    scores = encoder.encode([row.question for _, row in asked]) @ encoder.encode(texts).T
    retrieved = []
    for (page, row), own in zip(asked, scores, strict=True):
        order = np.argsort(-own, kind="stable")
        ranked = tuple(
            Candidate((article.title,), texts[i], int(i) + 1, round(float(own[i]), 6), rank)
            for rank, i in enumerate(order, 1)
        )
        question = _question(article, page, row, path)
        retrieved.append(Retrieved(question, ranked, tuple(c for c in ranked if c.page == page)))
    return retrieved


def _question(article: _Article, page: int, row: _Row, path: Path) -> Question:
    context, answer = article.paragraphs[page - 1].context, row.answers[0]
    if not context.startswith(answer.text, answer.answer_start):
        raise BadInput(path, f"the answer of question {row.id} is not where the file says", remedy=REMEDY)
    sentence = _sentence(context, answer.answer_start)
    return Question(
        id=f"{KIND}-{row.id}",
        document=f"{path.name}/{article.title}",
        kind=KIND,
        question=row.question.strip(),
        answer=sentence,  # an answer is one sentence here, not a phrase
        short_answers=tuple(dict.fromkeys(a.text for a in row.answers)),
        page=page,
        quote=sentence,
    )


def _sentence(text: str, position: int) -> str:
    """The sentence of `text` around a character position, by a plain rule that may cut at an abbreviation."""
    starts = [0, *(match.end() for match in _SENTENCE_END.finditer(text))]
    start = max(s for s in starts if s <= position)
    end = min((s for s in starts if s > position), default=len(text))
    return text[start:end].strip()
