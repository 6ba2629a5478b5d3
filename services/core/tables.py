"""The schema of the catalog. Migrations in `migrations/` build it; a test holds the two against each other.

Times are seconds since the Unix epoch (UTC). Identifiers made by `new_id` sort by creation time.
"""

from __future__ import annotations

import secrets
import time

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

ID = String(40)


def new_id(prefix: str) -> str:
    """An identifier that sorts by time of creation: prefix, 48 bits of milliseconds, 64 random bits, in hex."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


# One row, locked by every transaction that publishes a change: sequence numbers become visible in their order.
counters = Table(
    "counters",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("id", ID, primary_key=True),
    Column("collection", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("job_id", ID, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("page_count", Integer),
    Column("title", Text),
    Column("author", Text),
    Column("producer", Text),
    Column("encoder_id", String(120)),
    Column("chunk_count", Integer),
    UniqueConstraint("collection", "sha256"),
)

pages = Table(
    "pages",
    metadata,
    Column("document_id", ID, ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("label", String(64), nullable=False),
    Column("width", Double, nullable=False),
    Column("height", Double, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("words", LargeBinary, nullable=False),  # codec.pack_words
    Column("sections", JSON, nullable=False),
)

chunks = Table(
    "chunks",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # codec.chunk_ids
    Column("document_id", ID, ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("page", Integer, nullable=False),
    Column("section", JSON, nullable=False),
    Column("char_start", Integer, nullable=False),
    Column("char_end", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("boxes", JSON, nullable=False),
    Column("vector", LargeBinary, nullable=False),  # float32, little endian
    Index(None, "document_id", "ordinal"),
)

# What views follow. A row for each published and each deleted document, for ever.
changes = Table(
    "changes",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(8), nullable=False),  # publish | delete
    Column("collection", String(64), nullable=False),
    Column("document_id", ID, nullable=False),
    Column("document_seq", BigInteger, nullable=False),
    Column("chunk_count", Integer, nullable=False),
    Column("encoder_id", String(120), nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("document_id", ID, nullable=False),  # no foreign key: a job outlives a deleted document
    Column("status", String(16), nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("unit", String(16), nullable=False),
    Column("error_code", String(64)),
    Column("error_detail", Text),
    Column("cancel_requested", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),  # starts since the last checkpoint
    Column("lease_owner", String(120)),
    Column("lease_until", Double),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Index(None, "status", "created_at"),
)

# Work of an unfinished job that a restart need not repeat. Gone when the job ends.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("job_id", ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("payload", LargeBinary, nullable=False),
)

answers = Table(
    "answers",
    metadata,
    Column("id", ID, primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("collection", String(64), nullable=False),
    Column("body", JSON, nullable=False),
)
