"""Papers of known text for tests of the whole, and the ones that must be refused, by the code of their refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import wrap

from tests import pdfs

# The limits that tests/e2e/conftest.py sets.
UPLOAD_BYTES = 4 * 1024 * 1024
MANY_PAGES = 500
MANY_CHARS = 200_000
LINE_CHARS = 80
_THINGS = ("kettle", "lantern", "anchor", "violin", "compass", "ladder", "mirror", "barrel", "candle", "hammer")
_PLACES = ("harbour", "attic", "orchard", "cellar", "chapel", "meadow", "station", "library", "tower", "market")


def story(topic: str, pages: int) -> bytes:
    """A PDF whose pages all differ: page n (from 1) says where in `topic` the thing of page n is."""
    return pdfs.text_pdf([wrap(story_page(topic, number), LINE_CHARS) for number in range(1, pages + 1)])


def story_page(topic: str, number: int) -> str:
    thing, place = _THINGS[number % 10], _PLACES[number // 10 % 10]
    return (
        f"The {thing} number {number} of {topic} is kept in the {place} behind door {number * 7}. "
        f"Nobody but the keeper of the {place} may move that {thing} after {number % 12 + 1} in the evening."
    )


def truncated() -> bytes:
    whole = story("the torn ledger", 5)
    return whole[: len(whole) // 2]


def _too_much_text() -> bytes:
    line = "abcdefg hij " * 8
    return pdfs.text_pdf([[line] * 40] * (MANY_CHARS // (len(line) * 40) + 2))


BAD: Mapping[str, Callable[[], bytes]] = {
    "encrypted": lambda: pdfs.encrypted_pdf("secret"),
    "damaged": truncated,
    "no_pages": pdfs.no_pages_pdf,
    "no_text": lambda: pdfs.picture_pdf(with_text_page=False),
    "too_many_pages": lambda: pdfs.text_pdf([["x"]] * (MANY_PAGES + 1)),
    "too_many_characters": _too_much_text,
    "parse_timeout": lambda: pdfs.bomb_pdf(b"0 0 m 9 9 l n\n" * 50_000, 200),
    "parse_memory": lambda: pdfs.bomb_pdf(b" " * (1 << 20), 2_500),
}
