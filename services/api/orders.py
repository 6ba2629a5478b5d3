"""Text of a document that gives orders to whoever reads it for the user. Pure: words only, no models.

A document is evidence, never a client. What it tells a language model to do is not shown to the generator and not
given as an answer; a search still finds it. The patterns know the usual wordings in English. They are narrow, since
manuals are full of orders to people ("always print ..."): `benchmarks/injection.py` counts what they take out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.core.evidence import Evidence, Readable
from services.core.sentences import sentence_spans

_FORGET = r"(?:ignore|disregard|forget|pay\s+no\s+attention\s+to|do\s+not\s+(?:follow|obey))"
_BEFORE = r"(?:above|previous|prior|preceding|earlier|foregoing|before)"
_TALK = r"(?:instructions?|prompts?|context|directions?|guidelines?|passages?|documents?|questions?|task|orders?)"
_SAY = r"(?:answer|respond|reply|say|output|print|write|repeat|state)"
_MODEL = (
    r"(?:AI|A\.I\.|LLM|(?:large\s+)?language\s+model|chat\s?bot|(?:AI|virtual|digital)\s+(?:model|agent|assistant))s?"
)
_START = r"(?:(?<=[.!?]\s)|(?<=\n)|\A)\s*"  # of a sentence or a line
_PATTERNS = (
    # What was said before is not to count.
    rf"\b{_FORGET}\s+(?:[\w']+\s+){{0,4}}?{_BEFORE}\b",
    rf"\b(?:{_FORGET}|override)\s+(?:(?:all|any|of)\s+)*(?:the|your|these|those|its|their)\s+(?:\w+\s+)?{_TALK}\b",
    # Marks of a turn in a chat.
    r"<\|[\w-]{1,40}\|>|\[/?INST\]|<</?SYS>>",
    r"#{2,}\s*(?:instructions?|system|response|assistant|human|user)\b",
    rf"{_START}(?:system|assistant)(?:\s+(?:prompt|message|note))?\s*:",
    # Who is spoken to.
    rf"\b(?:as|you\s+are(?:\s+now)?|act\s+as|pretend\s+to\s+be|if\s+you\s+are|dear|hey|attention,?|"
    rf"(?:note|message|instructions?|notice)\s+(?:to|for))\s+(?:an?\s+|the\s+|any\s+|all\s+)?(?:\w+\s+)?"
    rf"(?:{_MODEL}|assistant)\b",
    rf"\b{_MODEL}\s*(?:,|:|(?:must|should|shall|has\s+to|have\s+to|is\s+to|are\s+to|will)\b)",
    # What the answer is to be.
    r"\byou\s+(?:must|should|shall|are\s+to|have\s+to)\s+(?:\w+\s+)?(?:answer|respond|reply)\b|\byou\s+must\s+say\b",
    rf"\bfrom\s+now\s+on,?\s+(?:\w+\s+){{0,3}}?{_SAY}\b",
    r"\b(?:respond|reply|answer)\s+(?:only|just|simply|always|exactly|solely)\b",
    r"\b(?:only|just|simply|always|instead|now|please)\s+(?:answer|respond|reply|say)\b",
    r"\byour\s+(?:\w+\s+)?(?:answer|response|reply|output)s?\s+(?:must|should|shall|has\s+to|is\s+to|will)\b",
    r"\b(?:answer|response|reply)\s+to\s+(?:every|any|all|each)\s+(?:\w+\s+)?questions?\b",
    r"\buser\s+(?:wants|asks|asked|expects|needs)\s+you\s+to\b",
    rf"(?:{_START}|\b(?:and|then)\s+)say(?=\s*[:\"'“‘]|\s+(?:that|only|the\s+word)\b)",
)
_MARKS = "<[#"  # what begins with one begins there, not with the sentence around it
_ORDER = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS), re.IGNORECASE)


def orders_in(text: str) -> list[tuple[int, int]]:
    """`(start, end)` of what a document orders: from the sentence that begins to do so to the end of its paragraph."""
    starts = [start for start, _ in sentence_spans(text)]
    found: list[tuple[int, int]] = []
    for match in _ORDER.finditer(text):
        if found and match.start() < found[-1][1]:
            continue
        end = text.find("\n\n", match.end())
        begin = match.start()
        if match.group()[0] not in _MARKS:
            begin = max((start for start in starts if start <= begin), default=0)
        found.append((begin, end if end >= 0 else len(text)))
    return found


def without_orders(text: str) -> str:
    """What is left of `text`."""
    kept, at = "", 0
    for start, end in orders_in(text):
        kept += text[at:start]
        at = end
    return kept + text[at:]


def evidence_without_orders(evidence: Evidence, passages: Sequence[Readable]) -> Evidence:
    """The sentences of `evidence` that give none. Sentences name their passage by its place in `passages`."""
    orders = [orders_in(passage.text) for passage in passages]
    return Evidence(
        [
            sentence
            for sentence in evidence.sentences
            if not any(start < sentence.end and sentence.start < end for start, end in orders[sentence.passage])
            and not (sentence.parts and orders_in(sentence.text))
        ]
    )
