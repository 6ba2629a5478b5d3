"""/v1/documents and /v1/collections."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Query, Response, UploadFile

from services.core.catalog import new_document_id
from services.core.guard import Reader, Writer
from services.core.schemas import CollectionName, Id
from services.ingest.resources import IngestResources, resources_of
from services.ingest.schemas import CollectionList, CollectionOut, DocumentList, DocumentOut

router = APIRouter(prefix="/v1")
Resources = Annotated[IngestResources, Depends(resources_of)]
_NAME_MAX_CHARS = 255


@router.post("/documents", status_code=202, responses={200: {"model": DocumentOut}})
def upload_document(
    caller: Writer,
    resources: Resources,
    response: Response,
    file: Annotated[UploadFile, File(description="a PDF")],
    collection: Annotated[CollectionName, Form()] = "default",
) -> DocumentOut:
    """Keep a PDF and queue its ingest. 202 when it is new; 200 when the collection holds the same bytes already."""
    caller.require(collection)
    document_id = new_document_id()
    stored = resources.files.receive(document_id, file.file, resources.settings.max_upload_bytes)
    document, _, created = resources.catalog.add_document(
        document_id, collection, display_name(file.filename), stored.sha256, stored.bytes
    )
    if not created:
        resources.files.delete(document_id)
        response.status_code = 200
    response.headers["Location"] = f"/v1/documents/{document.id}"
    return DocumentOut.of(document)


@router.get("/documents")
def list_documents(
    caller: Reader,
    resources: Resources,
    collection: Annotated[CollectionName | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[Id | None, Query()] = None,
) -> DocumentList:
    """Documents, newest first."""
    found = resources.catalog.documents(collection, after=after, limit=limit + 1, within=caller.collections)
    more = len(found) > limit
    return DocumentList(
        data=[DocumentOut.of(document) for document in found[:limit]],
        has_more=more,
        next=found[limit - 1].id if more else None,
    )


@router.get("/documents/{document_id}")
def get_document(caller: Reader, resources: Resources, document_id: Id) -> DocumentOut:
    return DocumentOut.of(resources.catalog.document(document_id, caller.collections))


@router.delete("/documents/{document_id}", status_code=204)
def delete_document(caller: Writer, resources: Resources, document_id: Id) -> None:
    """Remove a document. Once this is answered, no search returns any of it; a running ingest of it is cancelled."""
    resources.catalog.delete_document(document_id, caller.collections)
    resources.files.delete(document_id)


@router.get("/collections")
def list_collections(caller: Reader, resources: Resources) -> CollectionList:
    counts = resources.catalog.counts(caller.collections)
    return CollectionList(data=[CollectionOut(name=name, **counted) for name, counted in counts.items()])


def display_name(filename: str | None) -> str:
    """The last part of an uploaded file's name, printable and of bounded length."""
    name = PurePath((filename or "").replace("\\", "/")).name
    name = re.sub(r"[\x00-\x1f\x7f]", "", name).strip()
    return name[-_NAME_MAX_CHARS:] or "document.pdf"
