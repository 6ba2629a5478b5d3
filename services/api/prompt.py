"""The words around a question. Their hash is part of every answer's lineage."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from services.api.generate import Message
from services.core.types import Passage

SYSTEM = (
    "You answer questions from numbered passages of documents. Use only what the passages say. "
    "Answer in one or two short sentences, with the exact names, numbers and commands of the passages."
)
USER = "{passages}\n\nQuestion: {question}\nAnswer:"
PASSAGE = "[{number}] {text}"
STOPS = ("\n\n", "\nQuestion:")  # small models like to go on with a question of their own
ABSTENTION = "The documents do not hold an answer to this question."

PROMPT_ID = hashlib.sha256("\0".join([SYSTEM, USER, PASSAGE, *STOPS, ABSTENTION]).encode()).hexdigest()[:12]


def messages_for(question: str, passages: Sequence[Passage]) -> list[Message]:
    numbered = (PASSAGE.format(number=i, text=" ".join(p.text.split())) for i, p in enumerate(passages, 1))
    return [
        Message("system", SYSTEM),
        Message("user", USER.format(passages="\n\n".join(numbered), question=question)),
    ]
