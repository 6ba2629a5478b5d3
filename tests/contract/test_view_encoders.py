"""Views of two encoders follow one catalog, whose documents pass from one to the other: each chunk is there once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.core.catalog import Catalog
from services.core.encoder import HashingEncoder
from services.core.lexical.tantivy_index import TantivyIndex
from services.core.vector_store import open_store
from services.core.view import IndexView, LexicalView, View
from tests import samples

OLD, NEW = HashingEncoder(dim=24), HashingEncoder(dim=32)
TEXT = "Alpha text\nBeta text\nGamma text"
LINES = sorted(TEXT.splitlines())
OTHER = "Delta text"
Open = Callable[[HashingEncoder], View]


@pytest.fixture(params=["faiss", "chroma", "tantivy"])
def open_view(request: pytest.FixtureRequest, catalog: Catalog, tmp_path: Path) -> Iterator[Open]:
    """Opens the view of an encoder with what the one before it saved, as a process that starts. The test closes none
    of those that it keeps."""
    views: list[View] = []

    def open_one(encoder: HashingEncoder) -> View:
        view: View
        if request.param == "tantivy":
            view = LexicalView(catalog, TantivyIndex(), encoder.id)
        else:
            folder = tmp_path / encoder.id
            store = open_store(request.param, folder=folder, chroma_url=None, encoder_id=encoder.id, dim=encoder.dim)
            view = IndexView(catalog, store, encoder.id, encoder.dim)
        views.append(view)
        return view

    yield open_one
    for view in views:
        view._index.close()


def found(view: View, encoder: HashingEncoder, text: str) -> list[str]:
    if isinstance(view, IndexView):
        hits = view.search("default", encoder.encode(["Part > Section\n" + text])[0], 20).hits
    else:
        assert isinstance(view, LexicalView)
        hits = view.search("default", text, 20).hits
    return [passage.text for passage in view._catalog.passages(hits)]


WAYS = pytest.mark.parametrize("way", ["open all the time", "from a snapshot", "from nothing"])


@WAYS
def test_the_new_encoder_finds_each_chunk_once(catalog: Catalog, open_view: Open, way: str) -> None:
    samples.publish(catalog, OTHER, encoder=NEW)
    document = samples.publish(catalog, TEXT, encoder=OLD)
    if way != "from nothing":
        view = open_view(NEW)
        assert found(view, NEW, "Alpha text") == [OTHER]
        if way == "from a snapshot":
            view.close()
    assert samples.embed_anew(catalog, NEW) == [catalog.document(document.id)]
    if way != "open all the time":
        view = open_view(NEW)
    texts = found(view, NEW, "Alpha text")
    assert texts[0] == "Alpha text" and sorted(texts) == sorted([*LINES, OTHER])
    assert (view.count(), view.lag()) == (4, 0)
    catalog.delete_document(document.id)
    assert found(view, NEW, "Alpha text") == [OTHER]
    assert view.count() == 1


@WAYS
def test_what_comes_back_to_its_encoder_is_there_once(catalog: Catalog, open_view: Open, way: str) -> None:
    document = samples.publish(catalog, TEXT, encoder=OLD)
    if way != "from nothing":
        view = open_view(OLD)
        assert sorted(found(view, OLD, "Alpha text")) == LINES
    samples.embed_anew(catalog, NEW)
    if way == "from a snapshot":
        view.catch_up()
        view.close()
    samples.embed_anew(catalog, OLD)
    if way != "open all the time":
        view = open_view(OLD)
    assert sorted(found(view, OLD, "Alpha text")) == LINES
    assert view.count() == 3
    catalog.delete_document(document.id)
    assert found(view, OLD, "Alpha text") == []
    assert view.count() == 0


def test_the_old_encoder_goes_on_with_what_its_view_holds(catalog: Catalog, open_view: Open) -> None:
    document = samples.publish(catalog, TEXT, encoder=OLD)
    view = open_view(OLD)
    before = found(view, OLD, "Alpha text")
    samples.embed_anew(catalog, NEW)
    assert found(view, OLD, "Alpha text") == before and sorted(before) == LINES
    samples.publish(catalog, OTHER, encoder=OLD)
    assert sorted(found(view, OLD, "Alpha text")) == sorted([*LINES, OTHER])
    catalog.delete_document(document.id)
    assert found(view, OLD, "Alpha text") == [OTHER]
    assert view.count() == 1, "not only looked past, but gone"


@pytest.mark.parametrize("behind", [True, False], ids=["that lags behind", "that is opened later"])
def test_a_view_of_the_old_encoder_passes_over_what_it_has_not_read_yet(
    catalog: Catalog, open_view: Open, behind: bool
) -> None:
    view = open_view(OLD) if behind else None
    samples.publish(catalog, TEXT, encoder=OLD)
    samples.embed_anew(catalog, NEW)
    view = view or open_view(OLD)
    assert found(view, OLD, "Alpha text") == []
    assert (view.count(), view.lag()) == (0, 0)
