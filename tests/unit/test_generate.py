from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from services.api.generate import Decoding, Finish, ScriptedGenerator, StopCutter
from services.core.prompt import Message


def cut(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    cutter, out = StopCutter(stops), ""
    for piece in pieces:
        out += cutter.feed(piece)
        if cutter.hit:
            return out, True
    return out + cutter.flush(), False


def test_a_stop_string_split_over_pieces_is_found() -> None:
    assert cut(["Hello wor", "ld. Que", "stion: next"], ["Question:"]) == ("Hello world. ", True)


def test_the_earliest_of_several_stops_counts() -> None:
    assert cut(["a b c d"], ["d", "b"]) == ("a ", True)


@given(st.lists(st.text("ab", max_size=4), max_size=8), st.lists(st.text("ab", min_size=1, max_size=3), max_size=2))
def test_cutting_pieces_equals_cutting_the_whole(pieces: list[str], stops: list[str]) -> None:
    whole = "".join(pieces)
    ends = [whole.find(stop) for stop in stops if stop in whole]
    text, hit = cut(pieces, stops)
    if ends:
        # A longer stop that begins earlier may be completed only after a shorter one was seen and acted on.
        assert hit
        assert whole.startswith(text)
        assert not any(stop in text for stop in stops)
    else:
        assert (text, hit) == (whole, False)


def test_the_scripted_generator_counts_and_stops() -> None:
    messages = [Message("user", "One two three. Four five.\n\nWhat is x?")]
    out = list(ScriptedGenerator().stream(messages, Decoding(), threading.Event()))
    assert out == ["One", " two", " three.", Finish("stop", 8, 3)]
    *_, finish = ScriptedGenerator().stream(messages, Decoding(max_tokens=2), threading.Event())
    assert finish == Finish("length", 8, 2)
