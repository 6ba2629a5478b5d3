"""The client of the kill loop: what it sends, and the ledger of what it was told."""

from __future__ import annotations

import hashlib
import io
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from pypdf import PdfWriter

SUBSETS = ((2, 6), (12, 20), (30, 33))  # pages taken from each manual, 0-based, end exclusive
COLLECTIONS = 8
DELETE, REPEAT = 0.05, 0.3  # how likely the client does these when it is free to
HELD_DOCUMENTS = 6  # it deletes when it has more
OPEN_DOCUMENTS = 4  # the client uploads while fewer wait, so that the worker always has work and little is left over


class Pdf(NamedTuple):
    name: str
    data: bytes
    large: bool
    sha256: str


def pdf_set(folder: Path) -> list[Pdf]:
    """Every PDF of `folder` whole, some pages of each as files of their own, and one that is cut short."""
    found = []
    for path in sorted(folder.glob("*.pdf")):
        found.append(_pdf(path.name, path.read_bytes(), large=True))
        for first, end in SUBSETS:
            writer = PdfWriter()
            writer.append(str(path), pages=(first, end), import_outline=False)
            out = io.BytesIO()
            writer.write(out)
            found.append(_pdf(f"{path.stem}-{first}-{end}.pdf", out.getvalue()))
    whole = found[0]
    found.append(_pdf("cut-short.pdf", whole.data[: len(whole.data) // 2]))
    return found


def example_set(path: Path, copies: int = 4) -> list[Pdf]:
    """Copies of one PDF that differ in a comment after their end, where the gold manuals are missing."""
    data = path.read_bytes()
    return [_pdf(f"{path.stem}-{n}.pdf", data + b"\n%% copy %d\n" % n, large=True) for n in range(copies)]


def _pdf(name: str, data: bytes, *, large: bool = False) -> Pdf:
    return Pdf(name, data, large, hashlib.sha256(data).hexdigest())


@dataclass
class Acknowledged:
    """A document that the platform said it holds."""

    id: str
    collection: str
    sha256: str
    delete_tried: bool = False
    deleted: bool = False  # 204, or 404 after a delete whose answer was never heard


@dataclass
class Ledger:
    documents: dict[str, Acknowledged] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)  # answers that no platform may give
    uploads: int = 0  # answered 202
    repeats: int = 0  # answered 200
    deletes: int = 0  # answered 204

    def held(self, collection: str, sha256: str) -> Acknowledged | None:
        for document in self.documents.values():
            if (document.collection, document.sha256, document.deleted) == (collection, sha256, False):
                return document
        return None


class Throttled(io.BytesIO):
    """A file that takes a while to send, and says when all of it is sent."""

    def __init__(self, data: bytes, pause_s: float, client: Client) -> None:
        super().__init__(data)
        self._pause_s = pause_s
        self._client = client

    def read(self, size: int | None = -1) -> bytes:
        time.sleep(self._pause_s)
        part = super().read(size)
        if self.tell() == len(self.getbuffer()):
            self._client.doing = "acknowledge"
        return part


class Client:
    """Uploads, deletes, repeats and searches at random until told to stop. Each request is repeated until answered."""

    def __init__(self, url: str, pdfs: list[Pdf], seed: int) -> None:
        self.ledger = Ledger()
        self.doing = ""  # upload, acknowledge, delete or nothing: what a kill would hit now
        self.wish = ""  # what to do next: upload, delete or nothing in particular
        self.large_left = [pdf for pdf in pdfs if pdf.large]
        self.error: BaseException | None = None
        self._small = [pdf for pdf in pdfs if not pdf.large] or pdfs
        self._pdfs = {pdf.sha256: pdf for pdf in pdfs}
        self._random = random.Random(seed)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(60.0, connect=2.0), trust_env=False)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Have the open request answered, then end. Raises what broke the thread, if anything did."""
        self._ended.set()
        self._thread.join()
        self._http.close()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self._act()
        except BaseException as error:
            self.error = error
            raise

    def _act(self) -> None:
        held = [document for document in self.ledger.documents.values() if not document.deleted]
        wish, self.wish = self.wish, ""
        if held and (wish == "delete" or (len(held) > HELD_DOCUMENTS and self._random.random() < DELETE)):
            self._delete(self._random.choice(held))
        elif wish == "upload" or self._open_documents() < OPEN_DOCUMENTS:
            pdf = self.large_left.pop(0) if self.large_left else self._random.choice(self._small)
            self._upload(pdf, f"c{self._random.randrange(COLLECTIONS)}")
        elif held and self._random.random() < REPEAT:
            again = self._random.choice(held)
            self._upload(self._pdfs[again.sha256], again.collection)
        self._ended.wait(self._random.uniform(0.1, 0.6))

    def _upload(self, pdf: Pdf, collection: str) -> None:
        while True:
            file = Throttled(pdf.data, self._random.uniform(0.0, 0.06), self)
            self.doing = "upload"
            answer = self._send(
                "POST", "/v1/documents", data={"collection": collection}, files={"file": (pdf.name, file)}
            )
            if answer is not None:
                break
        body, known = answer.json(), self.ledger.held(collection, pdf.sha256)
        if answer.status_code not in (200, 202) or body["sha256"] != pdf.sha256 or body["job"]["id"] == "":
            self.ledger.wrong.append(f"upload of {pdf.name} into {collection}: {answer.status_code} {body}")
            return
        self.ledger.uploads += answer.status_code == 202
        self.ledger.repeats += answer.status_code == 200
        if known is not None and known.id != body["id"]:
            self.ledger.wrong.append(f"{pdf.name} in {collection} was {known.id} and is now {body['id']}")
        self.ledger.documents.setdefault(body["id"], Acknowledged(body["id"], collection, pdf.sha256))

    def _delete(self, document: Acknowledged) -> None:
        while True:
            self.doing = "delete"
            answer = self._send("DELETE", f"/v1/documents/{document.id}")
            if answer is not None:
                break
            document.delete_tried = True  # it may have happened
        if answer.status_code == 204 or (answer.status_code == 404 and document.delete_tried):
            document.deleted = True
            self.ledger.deletes += answer.status_code == 204
            self._must_not_find(document)
        else:
            self.ledger.wrong.append(f"delete of {document.id}: {answer.status_code} {answer.text[:200]}")

    def _must_not_find(self, document: Acknowledged) -> None:
        query = {"query": Path(self._pdfs[document.sha256].name).stem, "collection": document.collection, "k": 100}
        answer = self._send("POST", "/v1/search", json=query)
        if answer is not None and any(hit["document_id"] == document.id for hit in answer.json()["results"]):
            self.ledger.wrong.append(f"{document.id} was found after it had been deleted")

    def _open_documents(self) -> int:
        rows = list_documents(self._send)
        return sum(row["status"] in ("queued", "running") for row in rows)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        """The answer, or None if the platform died before there was one."""
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TransportError:
            self.doing = ""
            time.sleep(0.1)
            return None
        self.doing = ""
        if answer.status_code >= 500:
            self.ledger.wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer


def list_documents(send: Any) -> list[dict[str, Any]]:
    """All documents that `send("GET", path, params=...)` tells of; starts again when it returns None."""
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        answer = send("GET", "/v1/documents", params={"limit": 200, **({"after": after} if after else {})})
        if answer is None:
            found, after = [], None
            continue
        page = answer.json()
        found += page["data"]
        if not page["has_more"]:
            return found
        after = page["next"]
