"""A view follows its catalog, whichever index and database are below it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.core import chunks
from services.core.catalog import Catalog
from services.core.lexical.tantivy_index import TantivyIndex
from services.core.vector_store import VectorStore, open_store
from services.core.vector_store.rules import Ids
from services.core.view import Found, IndexView, LexicalView, View
from tests import samples


class Dense:
    def __init__(self, kind: str, folder: Path) -> None:
        self.index: VectorStore = open_store(
            "faiss" if kind == "faiss" else "chroma",
            folder=folder,
            chroma_url=None,
            encoder_id=samples.ENCODER,
            dim=samples.DIM,
        )

    def follow(self, catalog: Catalog, encoder_id: str = samples.ENCODER) -> IndexView:
        return IndexView(catalog, self.index, encoder_id, samples.DIM)

    def put(self, ids: Ids, texts: list[str]) -> None:
        self.index.add("default", ids, np.array([samples.vector(text) for text in texts]))


class Lexical:
    def __init__(self) -> None:
        self.index = TantivyIndex()

    def follow(self, catalog: Catalog, encoder_id: str = samples.ENCODER) -> LexicalView:
        return LexicalView(catalog, self.index, encoder_id)

    def put(self, ids: Ids, texts: list[str]) -> None:
        self.index.add("default", ids, texts)


Side = Dense | Lexical


def open_side(kind: str, folder: Path) -> Side:
    return Lexical() if kind == "tantivy" else Dense(kind, folder)


@pytest.fixture(params=["faiss", "chroma", "tantivy"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def side(kind: str, tmp_path: Path) -> Iterator[Side]:
    side = open_side(kind, tmp_path)
    yield side
    side.index.close()


def search(view: View, text: str, k: int, collection: str = "default", within: Ids | None = None) -> Found:
    if isinstance(view, IndexView):
        return view.search(collection, samples.vector(text), k, within)
    assert isinstance(view, LexicalView)
    return view.search(collection, text, k, within)


def found(view: View, text: str, k: int = 3, collection: str = "default") -> list[str]:
    return [passage.text for passage in view._catalog.passages(search(view, text, k, collection).hits)]


def test_a_search_sees_what_was_committed_before_it(catalog: Catalog, side: Side) -> None:
    view = side.follow(catalog)
    assert found(view, "Alpha text") == []
    document = samples.publish(catalog, "Alpha text\nBeta text")
    assert view.lag() == 1
    assert found(view, "Beta text", k=1) == ["Beta text"]
    assert view.lag() == 0
    assert search(view, "Beta text", 1).seq == catalog.last_seq()
    assert found(view, "Beta text", collection="other") == []
    catalog.delete_document(document.id)
    assert search(view, "Beta text", 1) == Found([], catalog.last_seq())


def test_a_deleted_document_is_gone_and_others_fill_its_place(catalog: Catalog, side: Side) -> None:
    view = side.follow(catalog)
    doomed = samples.publish(catalog, "Alpha text\nBeta text\nGamma text")
    samples.publish(catalog, "Delta text\nEpsilon text")
    assert "Beta text" in found(view, "Beta text", k=2)
    catalog.delete_document(doomed.id)
    assert sorted(found(view, "Beta text", k=2)) == ["Delta text", "Epsilon text"]
    assert view.count() == 2


def test_the_catalog_has_the_last_word_on_rows_the_index_should_not_have(catalog: Catalog, side: Side) -> None:
    """A slower follower of a shared store may put deleted rows back: they are looked past, not returned."""
    view = side.follow(catalog)
    doomed = samples.publish(catalog, "Alpha text\nBeta text\nGamma text")
    samples.publish(catalog, "Delta text")
    ids, _ = chunks.texts(catalog.database, doomed.id)
    catalog.delete_document(doomed.id)
    view.catch_up()
    side.put(ids, ["Alpha text", "Beta text", "Gamma text"])
    assert found(view, "Beta text", k=1) == ["Delta text"]


def test_a_search_can_be_limited_to_some_chunks(catalog: Catalog, side: Side) -> None:
    view = side.follow(catalog)
    samples.publish(catalog, "Alpha text\nBeta text\nGamma text")
    one = samples.publish(catalog, "Delta text\nEpsilon text")
    ids, _ = chunks.texts(catalog.database, one.id)
    hits = search(view, "Beta text", 2, within=ids).hits
    assert {hit.chunk_id for hit in hits} == set(ids.tolist())
    assert search(view, "Beta text", 2, within=np.append(ids[:1], 10**9)).hits == [
        hit for hit in hits if hit.chunk_id == ids[0]
    ]
    assert search(view, "Beta text", 2, within=ids[:0]).hits == []


def test_a_lost_index_is_rebuilt_from_the_catalog(catalog: Catalog, side: Side) -> None:
    for i in range(5):
        samples.publish(catalog, f"Text {i}\nMore {i} text")
    catalog.delete_document(catalog.documents(None, after=None, limit=1)[0].id)
    view = side.follow(catalog)
    view.catch_up()
    before = found(view, "More 2 text", k=8)
    side.index.reset()
    assert found(side.follow(catalog), "More 2 text", k=8) == before
    assert before[0] == "More 2 text"
    assert len(before) == 8


def test_an_index_that_outlived_its_catalog_is_rebuilt(catalog: Catalog, side: Side) -> None:
    side.index.mark_applied(1_000)
    samples.publish(catalog, "Alpha")
    assert found(side.follow(catalog), "Alpha", k=1) == ["Alpha"]


def test_documents_of_another_encoder_are_passed_over(catalog: Catalog, side: Side) -> None:
    samples.publish(catalog, "Alpha")
    view = side.follow(catalog, "another-encoder")
    assert found(view, "Alpha") == []
    assert view.lag() == 0


@pytest.mark.parametrize("kind", ["faiss", "tantivy"], indirect=True)
def test_two_views_of_one_catalog_agree(catalog: Catalog, kind: str, tmp_path: Path) -> None:
    sides = [open_side(kind, tmp_path / name) for name in ("one", "two")]
    one, two = (side.follow(catalog) for side in sides)
    document = samples.publish(catalog, "Alpha text\nBeta text")
    assert found(one, "Alpha text") == found(two, "Alpha text") == ["Alpha text", "Beta text"]
    catalog.delete_document(document.id)
    assert found(one, "Alpha text") == found(two, "Alpha text") == []
    for side in sides:
        side.index.close()


def test_a_snapshot_is_written_only_when_something_changed(catalog: Catalog, side: Side) -> None:
    view = side.follow(catalog)
    samples.publish(catalog, "Alpha")
    view.catch_up()
    assert view.save_if_changed()
    assert not view.save_if_changed()


def test_what_was_not_saved_is_found_after_a_restart(catalog: Catalog, kind: str, tmp_path: Path) -> None:
    samples.publish(catalog, "Alpha text\nBeta text")
    for _ in range(2):
        side = open_side(kind, tmp_path)
        view = side.follow(catalog)
        assert found(view, "Beta text", k=1) == ["Beta text"]
        side.index.close()
