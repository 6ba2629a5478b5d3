"""The words around a question. Their hash is part of every answer's lineage."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from services.api.generate import Message
from services.core.types import Passage

# One user turn, the best passage nearest to the question: a model of this size follows what it read last, echoes
# numbers put before passages, and drifts when its own system message is replaced.
USER = "Context:\n{passages}\n\n{question} Answer in one sentence."
STOPS = ("\n\n", "\nQuestion:")  # small models like to go on with a question of their own
ABSTENTION = "The documents do not hold an answer to this question."

PROMPT_ID = hashlib.sha256("\0".join([USER, *STOPS, ABSTENTION]).encode()).hexdigest()[:12]


def messages_for(question: str, passages: Sequence[Passage]) -> list[Message]:
    """The messages for `passages`, given best first and put last to first."""
    texts = [" ".join(passage.text.split()) for passage in reversed(passages)]
    return [Message("user", USER.format(passages="\n\n".join(texts), question=question))]
