"""Question -> passages. Dense search over the view; the catalog has the last word on every hit."""

from __future__ import annotations

from services.core.encoder import Encoder
from services.core.view import Found, IndexView


class Retriever:
    def __init__(self, encoder: Encoder, view: IndexView) -> None:
        self._encoder = encoder
        self._view = view

    def search(self, collection: str, query: str, k: int) -> Found:
        """The `k` best passages of `collection`, best first; score is the cosine similarity."""
        return self._view.search(collection, self._encoder.encode([query])[0], k)
