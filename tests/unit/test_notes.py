"""What a request's line in the log gets from the code that does its work."""

from __future__ import annotations

import asyncio

import pytest

from services.core.notes import Notes, note, note_text, noting


@pytest.mark.parametrize("with_text", [False, True])
def test_notes_of_a_thread_reach_the_request(with_text: bool) -> None:
    async def request(number: int) -> Notes:
        def work() -> None:
            note(lineage_id=f"ans_{number}")
            note_text(question=f"Why {number}?")

        notes = Notes(with_text)
        with noting(notes):
            await asyncio.to_thread(work)
        note(lineage_id="of nobody")
        return notes

    async def both() -> list[Notes]:
        return list(await asyncio.gather(request(1), request(2)))

    for number, notes in enumerate(asyncio.run(both()), 1):
        text = {"question": f"Why {number}?"} if with_text else {}
        assert notes.fields == {"lineage_id": f"ans_{number}", **text}


def test_outside_of_a_request_they_go_nowhere() -> None:
    note(lineage_id="ans_1")
    note_text(question="Why?")
