"""Text -> terms: what two texts must share to be found by words."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

_WORD = re.compile(r"[^\W_]+")
_AROUND = "()[]{}<>\"'`“”‘’«»,;:!?…"  # what a sentence puts around a name; a dot is part of `.bashrc`
_MAX_NAME_CHARS = 64  # longer runs are rules of dots and encoded data


def terms(text: str) -> list[str]:
    """The words of `text`, stemmed (Porter 1980, Snowball's English), and each name in it whole.

    A name is a run without spaces that is more than one word: `--no-act`, `/etc/fstab`, `set_filter`, `2.7.1`. Its
    words count by themselves too. Case and compatibility forms (ligatures, full width) do not matter.
    """
    runs = unicodedata.normalize("NFKC", text).lower().split()
    words = [word for run in runs for word in _WORD.findall(run)]
    names = [name for run in runs if (name := _name(run))]
    return [*_stemmer().analyze(" ".join(words)), *names]


def _name(run: str) -> str | None:
    """`run` without the punctuation around it, or None if that is a plain word or too long to be a name."""
    name = run.lstrip(_AROUND).rstrip(_AROUND + ".")
    return None if not name or len(name) > _MAX_NAME_CHARS or _WORD.fullmatch(name) else name


@cache
def _stemmer() -> TextAnalyzer:
    return TextAnalyzerBuilder(Tokenizer.whitespace()).filter(Filter.stemmer("english")).build()
