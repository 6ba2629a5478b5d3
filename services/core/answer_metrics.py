"""How near is an answer to what was expected? Figures of one answer, each in [0, 1]."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

_FOLDED = str.maketrans("‘’“”‐‑–—", "''\"\"----")
_ARTICLES = frozenset({"a", "an", "the"})


def folded(text: str) -> str:
    """`text` in lower case, with ligatures, quotation marks, dashes, broken words and white space made alike."""
    text = unicodedata.normalize("NFKC", text).translate(_FOLDED)
    return " ".join(re.sub(r"(\w)-\s+(\w)", r"\1\2", text).split()).lower()


def words(text: str) -> list[str]:
    return re.findall(r"\w+", folded(text))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words, articles left out (Rajpurkar et al. 2016)."""
    given, wanted = (Counter(word for word in words(text) if word not in _ARTICLES) for text in (answer, reference))
    same = (given & wanted).total()
    return 2 * same / (given.total() + wanted.total()) if same else 0.0


def contains_any(answer: str, short_answers: Iterable[str]) -> float:
    """1.0 if the words of one of `short_answers` stand in `answer`, in their order and side by side, else 0.0."""
    text = f" {' '.join(words(answer))} "
    return float(any(wanted and f" {' '.join(wanted)} " in text for wanted in map(words, short_answers)))
