"""Datasets of questions about `papers.story`, as a user uploads them."""

from __future__ import annotations

import json
from typing import Any

from tests.papers import story_page


def story_questions(topic: str, document: str, pages: int, unanswerable: int = 1) -> list[dict[str, Any]]:
    """One question a page, about the first sentence on it, and some that no page answers."""
    rows = []
    for number in range(1, pages + 1):
        sentence = story_page(topic, number).partition(". ")[0] + "."
        words = sentence.split()
        rows.append(
            {
                "id": f"{topic}-{number:03d}",
                "document": document,
                "kind": "fact" if number % 2 else "paraphrase",
                "question": f"Where is the {words[1]} number {number} of {topic} kept?",
                "answer": sentence,
                "short_answers": [f"door {number * 7}"],
                "pages": [number],
                "quote": sentence,
            }
        )
    for number in range(unanswerable):
        rows.append(
            {
                "id": f"{topic}-none-{number}",
                "document": document,
                "kind": "unanswerable",
                "question": f"Who painted ceiling {number}?",
                "answer": "",
                "short_answers": [],
                "pages": [],
            }
        )
    return rows


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
