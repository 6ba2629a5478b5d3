"""A question and passages -> the messages a generator reads. Training and serving share these words.

A release carries its prompt, since an adapter is good only with the words it was trained on.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """`user` is the template of the user's turn, with the fields {passages} and {question} and no others.

    `stops` end a generation besides the caller's own; `abstention` is said when no quote carries an answer. After the
    passages their `sentences` best ones are said once more, as `sentences_by` chooses: the encoder those nearest to the
    question, the classifier those that most probably answer. Without `passages` these sentences stand alone. Raises
    ValueError if the template has other fields.
    """

    user: str
    stops: tuple[str, ...]
    abstention: str
    sentences: int = 0
    sentences_by: Literal["encoder", "classifier"] = "encoder"
    passages: bool = True

    def __post_init__(self) -> None:
        fields = [field for field in string.Formatter().parse(self.user) if field[1] is not None]
        if sorted(field[1:] for field in fields) != [("passages", "", None), ("question", "", None)]:
            raise ValueError("a prompt must hold {passages} and {question}, each once, and no other field")

    @property
    def id(self) -> str:
        """The first 12 hex digits of the SHA-256 of its words. It is part of every answer's lineage."""
        parts = [self.user, *self.stops, self.abstention, str(self.sentences)]
        parts += [self.sentences_by] if self.sentences_by != "encoder" else []
        parts += ["sentences alone"] if not self.passages else []
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def messages(self, question: str, passages: Sequence[str], nearest: Sequence[str] = ()) -> list[Message]:
        """The messages for the texts of `passages` and the sentences `nearest` to the question.

        Both are given best first and put last to first, so that the best stands beside the question. Passages too
        short to have a sentence are read whole.
        """
        shown = (*reversed(passages), *reversed(nearest)) if self.passages or not nearest else reversed(nearest)
        texts = [" ".join(text.split()) for text in shown]
        return [Message("user", self.user.format(passages="\n\n".join(texts), question=question))]


# One user turn, the best passage nearest to the question: a model of this size follows what it read last, echoes
# numbers put before passages, and drifts when its own system message is replaced.
DEFAULT_PROMPT = Prompt(
    user="Context:\n{passages}\n\n{question} Answer in one sentence.",
    stops=("\n\n", "\nQuestion:"),  # small models like to go on with a question of their own
    abstention="The documents do not hold an answer to this question.",
    sentences=1,
    sentences_by="classifier",
    passages=False,
)
