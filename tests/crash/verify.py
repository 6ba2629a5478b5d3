"""What must be true after all kills: over HTTP, and in the rows and files behind it, with plain SQL."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.crash.traffic import Acknowledged, Ledger, Pdf, list_documents

MIN_COSINE = 0.9999  # of a vector to the same chunk's vector of a clean run: bfloat16 keeps 8 bits
SCORE_TOLERANCE = 2e-3  # a query is encoded alone here and there, so bfloat16 may round it differently
K = 10
ORPHAN_AGE_S = 7200.0  # older than the sweep of the worker forgives
FORGIVEN = "worker_crashed"  # the reason of a document that we killed the worker over, again and again
DOCUMENT_CHECKS = (
    "no deleted document is in the catalog",
    "no acknowledged document is missing",
    "each is ready, or failed with a reason",
    "each is as a clean run leaves it",
    "each fails only as a clean run does",
)


@dataclass
class Report:
    """Findings by check; a check without any has passed."""

    findings: dict[str, list[str]] = field(default_factory=dict)

    def check(self, name: str, found: Sequence[object] = ()) -> None:
        self.findings.setdefault(name, []).extend(str(item) for item in found)

    def failed(self) -> int:
        return sum(bool(found) for found in self.findings.values())

    def count(self, *names: str) -> int:
        return sum(len(self.findings.get(name, ())) for name in names)


@dataclass(frozen=True)
class Ingested:
    """What the catalog holds of one document; two ingests of the same bytes must agree."""

    status: str
    error_code: str | None
    pages: list[tuple[Any, ...]]
    chunks: list[tuple[Any, ...]]
    vectors: np.ndarray  # float32, (chunks, dim)

    def differences(self, other: Ingested) -> list[str]:
        """In what a document that is ready differs from the clean run `other`."""
        found = []
        if self.pages != other.pages:
            found.append(f"{len(self.pages)} pages, not the {len(other.pages)} of a clean run, or another text")
        if [row[1] for row in self.chunks] != [row[1] for row in other.chunks]:
            found.append("other pages are covered by chunks")
        if self.chunks != other.chunks:
            found.append(f"chunks differ: {digest(self.chunks)}, not {digest(other.chunks)}")
        elif self.chunks and (cosine := float((self.vectors * other.vectors).sum(axis=1).min())) < MIN_COSINE:
            found.append(f"vectors differ: cosine {cosine:.6f}")
        return found


def digest(rows: Sequence[tuple[Any, ...]]) -> str:
    return f"{len(rows)} rows {hashlib.sha256(repr(rows).encode()).hexdigest()[:12]}"


@contextmanager
def reading(catalog: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True, timeout=30)) as connection:
        yield connection


def ingested(connection: sqlite3.Connection) -> dict[str, Ingested]:
    """Every document of a catalog by its id."""
    rows = connection.execute(
        "SELECT d.id, j.status, j.error_code FROM documents d LEFT JOIN jobs j ON j.id = d.job_id"
    ).fetchall()
    found = {}
    for document_id, status, error_code in rows:
        pages = connection.execute(
            "SELECT number, label, kind, text, words FROM pages WHERE document_id = ? ORDER BY number", (document_id,)
        ).fetchall()
        chunks = connection.execute(
            "SELECT ordinal, page, char_start, char_end, section, text, boxes, vector FROM chunks"
            " WHERE document_id = ? ORDER BY ordinal", (document_id,),
        ).fetchall()  # fmt: skip
        vectors = np.frombuffer(b"".join(row[-1] for row in chunks), "<f4").reshape(len(chunks) or 1, -1)
        found[document_id] = Ingested(status, error_code, pages, [row[:-1] for row in chunks], vectors)
    return found


def check_catalog(report: Report, catalog: Path, ledger: Ledger, clean: dict[str, Ingested]) -> dict[str, Ingested]:
    """Everything that the rows alone can tell. `clean` is what an undisturbed ingest gives, by SHA-256."""
    with reading(catalog) as connection:
        integrity = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        report.check("the catalog file is whole", [line for line in integrity if line != "ok"])
        report.check("every row has the row it points to", connection.execute("PRAGMA foreign_key_check").fetchall())
        for name, query in {
            "no bytes twice in a collection":
                "SELECT collection, sha256, count(*) FROM documents GROUP BY 1, 2 HAVING count(*) > 1",
            "no chunk twice":
                "SELECT document_id, ordinal, count(*) FROM chunks GROUP BY 1, 2 HAVING count(*) > 1",
            "published once":
                "SELECT d.id, (SELECT count(*) FROM changes c WHERE c.document_id = d.id AND c.kind = 'publish') n"
                " FROM documents d JOIN jobs j ON j.id = d.job_id WHERE n != (j.status = 'succeeded')",
            "one job a document":
                "SELECT subject_id, count(*) FROM jobs GROUP BY 1 HAVING count(*) > 1",
            "no job is stuck":
                "SELECT id, status FROM jobs WHERE status IN ('queued', 'running')",
            "no checkpoint is left behind":
                "SELECT DISTINCT job_id FROM checkpoints c JOIN jobs j ON j.id = c.job_id"
                " WHERE j.status NOT IN ('queued', 'running')",
            "nothing is left of a deleted document":
                "SELECT document_id FROM chunks WHERE document_id NOT IN (SELECT id FROM documents)"
                " UNION SELECT document_id FROM pages WHERE document_id NOT IN (SELECT id FROM documents)",
            "a published document that was deleted says so":
                "SELECT document_id, group_concat(kind) kinds FROM changes"
                " WHERE document_id NOT IN (SELECT id FROM documents) GROUP BY 1"
                " HAVING kinds NOT IN ('publish,delete', 'delete,publish')",
        }.items():  # fmt: skip
            report.check(name, connection.execute(query).fetchall())
        now = ingested(connection)
        hashes = dict(connection.execute("SELECT id, sha256 FROM documents").fetchall())
    check_documents(report, ledger, now, hashes, clean)
    return now


def check_documents(
    report: Report, ledger: Ledger, now: dict[str, Ingested], hashes: dict[str, str], clean: dict[str, Ingested]
) -> None:
    """The ledger against the rows, and each document against a clean run of the same bytes."""
    for name in DOCUMENT_CHECKS:
        report.check(name)
    for document in ledger.documents.values():
        row = now.get(document.id)
        if document.deleted:
            report.check("no deleted document is in the catalog", [document.id] if row else ())
        elif row is None:
            report.check("no acknowledged document is missing", [document.id])
        elif row.status != "succeeded" and not (row.status == "failed" and row.error_code):
            report.check("each is ready, or failed with a reason", [f"{document.id}: {row.status} {row.error_code}"])
    for document_id, row in now.items():
        expected = clean[hashes[document_id]]
        if row.status == expected.status == "succeeded":
            report.check("each is as a clean run leaves it", [f"{document_id}: {d}" for d in row.differences(expected)])
        elif row.error_code not in (expected.error_code, FORGIVEN):
            report.check("each fails only as a clean run does", [f"{document_id}: {row.status} {row.error_code}"])


def check_http(report: Report, url: str, catalog: Path, ledger: Ledger, pdfs: Sequence[Pdf]) -> None:
    """Listings agree with the rows, searches with the vectors in the rows, and nothing deleted is ever found."""
    deleted = {document.id for document in ledger.documents.values() if document.deleted}
    with httpx.Client(base_url=url, timeout=60.0, trust_env=False) as http, reading(catalog) as connection:
        listed = {row["id"]: row["status"] for row in list_documents(http.request)}
        rows = connection.execute("SELECT d.id, j.status FROM documents d JOIN jobs j ON j.id = d.job_id").fetchall()
        stored = {key: "ready" if status == "succeeded" else status for key, status in rows}
        report.check("the list shows what the catalog holds", sorted(set(listed.items()) ^ set(stored.items())))
        answers = [(id_, http.get(f"/v1/documents/{id_}").status_code) for id_ in sorted(deleted)]
        report.check("a deleted document answers 404", [pair for pair in answers if pair[1] != 404])
        encoder = next(m["id"] for m in http.get("/v1/models").json()["data"] if m["role"] == "encoder")
        for collection, query in _queries(ledger, pdfs):
            body = {"collection": collection, "query": query, "k": K}
            hits = http.post("/v1/search", json=body).json()["results"]
            found = {hit["document_id"] for hit in hits} & deleted
            report.check("a search finds no deleted document", [f"{collection}: {id_}" for id_ in sorted(found)])
            embedded = http.post("/v1/embeddings", json={"model": encoder, "input": query}).json()["data"][0]
            vector = np.array(embedded["embedding"], np.float32)
            problem = _differs_from_rows(connection, collection, vector, hits)
            report.check("searches agree with the vectors in the catalog", [problem] if problem else ())


def _queries(ledger: Ledger, pdfs: Sequence[Pdf]) -> list[tuple[str, str]]:
    """For each collection the names of the files it holds or held, as words to search with."""
    names = {pdf.sha256: Path(pdf.name).stem.replace("-", " ") for pdf in pdfs}
    return sorted({(document.collection, names[document.sha256]) for document in ledger.documents.values()})


def _differs_from_rows(
    connection: sqlite3.Connection, collection: str, query: np.ndarray, hits: Sequence[dict[str, Any]]
) -> str | None:
    """Compare `hits` with an exhaustive search over the rows; equal scores may stand in any order."""
    rows = connection.execute(
        "SELECT c.id, c.vector FROM chunks c JOIN documents d ON d.id = c.document_id WHERE d.collection = ?",
        (collection,),
    ).fetchall()
    if not rows:
        return f"{collection}: {len(hits)} hits in an empty collection" if hits else None
    scores = np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(len(rows), -1) @ query
    best = np.sort(scores)[::-1][:K]
    own = dict(zip([row[0] for row in rows], scores.tolist(), strict=True))
    if len(hits) != len(best) or len({hit["chunk_id"] for hit in hits}) != len(hits):
        return f"{collection}: {len(hits)} hits, not {len(best)} different ones"
    for rank, (hit, score) in enumerate(zip(hits, best.tolist(), strict=True)):
        mine = own.get(hit["chunk_id"], -2.0)
        if abs(mine - hit["score"]) > SCORE_TOLERANCE or abs(score - hit["score"]) > SCORE_TOLERANCE:
            return f"{collection}: hit {rank} has {hit['score']:.4f}; its row gives {mine:.4f}, the best is {score:.4f}"
    return None


def age_files(folder: Path) -> None:
    """Make every uploaded file old, and leave what two kinds of crash leave, as old as that."""
    (folder / "doc_left_by_a_crash.part").write_bytes(b"%PDF-")
    (folder / "doc_without_a_row.pdf").write_bytes(b"%PDF-")
    old = time.time() - ORPHAN_AGE_S
    for path in folder.iterdir():
        os.utime(path, (old, old))


def check_files(report: Report, folder: Path, catalog: Path) -> None:
    """After a sweep: one whole file for each document, and no other."""
    with reading(catalog) as connection:
        known = dict(connection.execute("SELECT id, sha256 FROM documents").fetchall())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    wanted = {f"{document_id}.pdf": sha256 for document_id, sha256 in known.items()}
    report.check("one whole file for each document, and no other", sorted(set(found.items()) ^ set(wanted.items())))


def counts(ledger: Ledger, now: dict[str, Ingested]) -> dict[str, int]:
    """Figures for the table."""
    kept: list[Acknowledged] = [document for document in ledger.documents.values() if not document.deleted]
    states = [now[document.id].status for document in kept if document.id in now]
    return {
        "acknowledged": len(ledger.documents),
        "deleted": len(ledger.documents) - len(kept),
        "ready": states.count("succeeded"),
        "failed": states.count("failed"),
    }
