"""What retrieval reads of the catalog's chunks, by their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, select

from services.core import codec
from services.core.catalog import page_of
from services.core.database import Database
from services.core.errors import NotFound
from services.core.neighbours import Placed
from services.core.tables import chunks, documents, pages
from services.core.types import Page, PassageFilter, embedding_text

_SQL_LIST_MAX = 500  # bound parameters of one IN list


def existing(database: Database, ids: Sequence[int]) -> set[int]:
    """Those of `ids` that are there."""
    with database.read() as connection:
        queries = (select(chunks.c.id).where(chunks.c.id.in_(some)) for some in _lists(ids))
        return {found for query in queries for found in connection.execute(query).scalars()}


def texts(database: Database, document_id: str, encoder_id: str | None = None) -> tuple[NDArray[np.int64], list[str]]:
    """Chunk ids (n,) of a document and n texts as the encoder read them; n is 0 when it has been deleted, or its
    vectors are not those of the encoder that is named."""
    query = select(chunks.c.id, chunks.c.section, chunks.c.text).where(chunks.c.document_id == document_id)
    if encoder_id is not None:
        query = query.join(documents).where(documents.c.encoder_id == encoder_id)
    with database.read() as connection:
        rows = connection.execute(query.order_by(chunks.c.ordinal)).all()
    return np.array([row.id for row in rows], np.int64), [embedding_text(row.section, row.text) for row in rows]


def texts_of(database: Database, ids: Sequence[int]) -> dict[int, str]:
    """The texts, as an encoder reads them, of those of `ids` that are there."""
    query = select(chunks.c.id, chunks.c.section, chunks.c.text)
    with database.read() as connection:
        rows = [row for some in _lists(ids) for row in connection.execute(query.where(chunks.c.id.in_(some)))]
    return {row.id: embedding_text(row.section, row.text) for row in rows}


def vectors(database: Database, ids: Sequence[int], encoder_id: str, dim: int) -> dict[int, NDArray[np.float32]]:
    """The vectors (dim,) of those of `ids` that are there, and are of documents of that encoder."""
    query = select(chunks.c.id, chunks.c.vector).join(documents).where(documents.c.encoder_id == encoder_id)
    with database.read() as connection:
        rows = [row for some in _lists(ids) for row in connection.execute(query.where(chunks.c.id.in_(some)))]
    return {row.id: codec.unpack_vectors(row.vector, dim)[0] for row in rows}


def placed(database: Database, ids: Sequence[int]) -> dict[int, Placed]:
    """Those of `ids` that are there, each on its page."""
    on = and_(pages.c.document_id == chunks.c.document_id, pages.c.number == chunks.c.page)
    query = select(chunks.c.id, chunks.c.char_start, chunks.c.char_end, pages).join(pages, on)
    with database.read() as connection:
        rows = [row for some in _lists(ids) for row in connection.execute(query.where(chunks.c.id.in_(some)))]
    read: dict[tuple[str, int], Page] = {}
    for row in rows:
        if (row.document_id, row.number) not in read:
            read[row.document_id, row.number] = page_of(row)
    return {
        row.id: Placed(row.document_id, read[row.document_id, row.number], row.char_start, row.char_end) for row in rows
    }


def selected(database: Database, collection: str, wanted: PassageFilter) -> NDArray[np.int64]:
    """Ids (n,) of the chunks of `collection` that `wanted` lets through. Raises NotFound for an unknown document."""
    query = select(chunks.c.id, chunks.c.section).join(documents).where(documents.c.collection == collection)
    if wanted.first_page is not None:
        query = query.where(chunks.c.page >= wanted.first_page)
    if wanted.last_page is not None:
        query = query.where(chunks.c.page <= wanted.last_page)
    with database.read() as connection:
        if wanted.documents:
            of_them = documents.c.id.in_(wanted.documents)
            known = select(documents.c.id).where(documents.c.collection == collection, of_them)
            unknown = set(wanted.documents) - set(connection.execute(known).scalars())
            if unknown:
                raise NotFound(f"filter: there is no document {min(unknown)!r} in collection {collection!r}.")
            query = query.where(of_them)
        rows = connection.execute(query).all()
    titles = set(wanted.sections)
    return np.array([row.id for row in rows if not titles or titles & set(row.section)], np.int64)


def _lists(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + _SQL_LIST_MAX] for start in range(0, len(ids), _SQL_LIST_MAX))
