"""A view follows its catalog, whichever store and database are below it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.core.catalog import Catalog
from services.core.vector_store import VectorStore, open_store
from services.core.view import IndexView
from tests import samples

Open = Callable[[], IndexView]


@pytest.fixture(params=["faiss", "chroma"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    store = open_store(request.param, folder=tmp_path, chroma_url=None, encoder_id=samples.ENCODER, dim=samples.DIM)
    yield store
    store.close()


def view_of(catalog: Catalog, store: VectorStore) -> IndexView:
    return IndexView(catalog, store, samples.ENCODER, samples.DIM)


def found(view: IndexView, text: str, k: int = 3, collection: str = "default") -> list[str]:
    return [passage.text for passage in view.search(collection, samples.vector(text), k).passages]


def test_a_search_sees_what_was_committed_before_it(catalog: Catalog, store: VectorStore) -> None:
    view = view_of(catalog, store)
    assert found(view, "Alpha") == []
    samples.publish(catalog, "Alpha\nBeta")
    assert view.lag() == 1
    assert found(view, "Beta", k=1) == ["Beta"]
    assert view.lag() == 0
    assert found(view, "Beta", collection="other") == []


def test_a_deleted_document_is_gone_and_others_fill_its_place(catalog: Catalog, store: VectorStore) -> None:
    view = view_of(catalog, store)
    doomed = samples.publish(catalog, "Alpha\nBeta\nGamma")
    samples.publish(catalog, "Delta\nEpsilon")
    assert "Beta" in found(view, "Beta", k=2)
    catalog.delete_document(doomed.id)
    assert sorted(found(view, "Beta", k=2)) == ["Delta", "Epsilon"]
    assert view.count() == 2


def test_the_catalog_has_the_last_word_on_rows_the_store_should_not_have(catalog: Catalog, store: VectorStore) -> None:
    """A slower follower of a shared store may put deleted rows back: they are looked past, not returned."""
    view = view_of(catalog, store)
    doomed = samples.publish(catalog, "Alpha\nBeta\nGamma")
    samples.publish(catalog, "Delta")
    ids, vectors = catalog.vectors(doomed.id, samples.DIM)
    catalog.delete_document(doomed.id)
    view.catch_up()
    store.add("default", ids, vectors)
    assert found(view, "Beta", k=1) == ["Delta"]


def test_a_lost_store_is_rebuilt_from_stored_vectors(catalog: Catalog, store: VectorStore) -> None:
    for i in range(5):
        samples.publish(catalog, f"Text {i}\nMore {i}")
    catalog.delete_document(catalog.documents(None, after=None, limit=1)[0].id)
    view = view_of(catalog, store)
    view.catch_up()
    before = found(view, "More 2", k=8)
    store.reset()
    assert found(view_of(catalog, store), "More 2", k=8) == before
    assert before[0] == "More 2"
    assert len(before) == 8


def test_a_store_that_outlived_its_catalog_is_rebuilt(catalog: Catalog, store: VectorStore) -> None:
    store.mark_applied(1_000)
    samples.publish(catalog, "Alpha")
    assert found(view_of(catalog, store), "Alpha", k=1) == ["Alpha"]


def test_vectors_of_another_encoder_are_passed_over(catalog: Catalog, store: VectorStore) -> None:
    samples.publish(catalog, "Alpha")
    view = IndexView(catalog, store, "another-encoder", samples.DIM)
    assert found(view, "Alpha") == []
    assert view.lag() == 0


def test_two_views_of_one_catalog_agree(catalog: Catalog, tmp_path: Path) -> None:
    stores = [
        open_store("faiss", folder=tmp_path / name, chroma_url=None, encoder_id=samples.ENCODER, dim=samples.DIM)
        for name in ("one", "two")
    ]
    one, two = (view_of(catalog, store) for store in stores)
    document = samples.publish(catalog, "Alpha\nBeta")
    assert found(one, "Alpha") == found(two, "Alpha") == ["Alpha", "Beta"]
    catalog.delete_document(document.id)
    assert found(one, "Alpha") == found(two, "Alpha") == []
    for store in stores:
        store.close()


def test_a_snapshot_is_written_only_when_something_changed(catalog: Catalog, store: VectorStore) -> None:
    view = view_of(catalog, store)
    samples.publish(catalog, "Alpha")
    view.catch_up()
    assert view.save_if_changed()
    assert not view.save_if_changed()
