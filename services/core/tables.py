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


# A row that is locked by every transaction that publishes a change: sequence numbers become visible in their order. One
# by whoever may open a retraining run, and one by whoever numbers captures. And what a restore leaves: catalog.py.
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
    Column("hidden_text_pages", JSON),  # null also for what was ingested before anybody looked
    Column("scanned_pages", JSON),
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
    Column("hidden_chars", Integer),
    Column("scanned", Boolean),
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
    Column("subject_id", ID, nullable=False),  # no foreign key: a job outlives a deleted document
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
    Column("collection", String(64)),  # that it works on; null: it concerns all, and is seen by keys that see all
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

# The newest ones only: services/core/lineage.py.
classifications = Table(
    "classifications",
    metadata,
    Column("id", ID, primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("body", JSON, nullable=False),
)

# What people said of answers. Rows are added, never changed: of one client's on one answer the highest version counts.
feedback = Table(
    "feedback",
    metadata,
    Column("id", ID, primary_key=True),
    Column("answer_id", ID, ForeignKey("answers.id"), nullable=False),
    Column("by", String(120), nullable=False),
    Column("version", Integer, nullable=False),  # from 1
    Column("verdict", String(8), nullable=False),  # up | down
    Column("body", JSON, nullable=False),  # feedback.Said
    Column("created_at", Double, nullable=False),
    UniqueConstraint("answer_id", "by", "version"),
)

# What a challenger said in the place of a live answer, with the id of that one. The newest ones only: api/shadow.py.
shadow_answers = Table(
    "shadow_answers",
    metadata,
    Column("answer_id", ID, primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("live_release", String(120)),
    Column("shadow_release", String(120)),
    Column("body", JSON, nullable=False),
)

# Questions with their answers, to evaluate on. Named once, never changed. What a key brings that is limited to some
# collections has a name in that `collection` only, so that it learns nothing of others'; else it is '': everybody's.
datasets = Table(
    "datasets",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("questions", JSON, nullable=False),
    Column("collection", String(64), nullable=False),
    UniqueConstraint("collection", "name"),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("job_id", ID, nullable=False),
    Column("dataset_id", ID, ForeignKey("datasets.id"), nullable=False),
    Column("collection", String(64), nullable=False),
    Column("release", String(120), nullable=False),  # as it was asked for
    Column("created_at", Double, nullable=False),
    Column("summary", JSON(none_as_null=True)),  # once it has succeeded
    Column("tracking", JSON(none_as_null=True)),  # what became of it in MLflow
    Column("release_id", String(120)),  # what the name meant when it began; null: no release, the bases alone
    Column("against_id", ID),  # the evaluation, by the same job, that it is judged against
    Column("verdict", JSON(none_as_null=True)),  # in short, of both; the whole is a row of `verdicts`
)

# A row for each question of an evaluation that has been asked and judged.
judgements = Table(
    "judgements",
    metadata,
    Column("evaluation_id", ID, ForeignKey("evaluations.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # position in the dataset, from 0
    Column("body", JSON, nullable=False),
)

# What the gate said of two releases that were asked side by side. Rows are added, never changed.
verdicts = Table(
    "verdicts",
    metadata,
    Column("id", ID, primary_key=True),
    Column("champion", String(120), nullable=False),  # ids of releases, and below of their evaluations
    Column("challenger", String(120), nullable=False),
    Column("champion_evaluation_id", ID, nullable=False),
    Column("challenger_evaluation_id", ID, nullable=False),
    Column("dataset_sha256", String(64), nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("body", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Index(None, "champion", "challenger"),
)

# What Alertmanager told, each alert once: `key` is the hash of its group, its fingerprint and when it began.
alerts = Table(
    "alerts",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("labels", JSON, nullable=False),
    Column("firing", Boolean, nullable=False),
    Column("starts_at", Double, nullable=False),
    Column("ends_at", Double),
    Column("outcome", String(16), nullable=False),  # eval/alerts.py
    Column("run_id", ID),  # that it opened
    Column("received_at", Double, nullable=False),  # for the first time
)

# A retraining: opened by an alert, done by a job. What an interrupted one had reached is in here and in its folder.
retraining_runs = Table(
    "retraining_runs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("job_id", ID, nullable=False),
    Column("alert", JSON, nullable=False),  # name, labels, starts_at
    Column("snapshot", JSON, nullable=False),  # eval/snapshot.py: which rows it is made from
    Column("snapshot_sha256", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("steps", JSON, nullable=False),
    Column("log", Text, nullable=False),  # its end
    Column("facts", JSON(none_as_null=True)),  # how many cases and candidates the snapshot gave
    Column("version", String(16)),  # of the challenger, in the registry
    Column("release", String(120)),
    Column("evaluation_id", ID),
    Column("verdict_id", ID),
    Column("outcome", String(20)),  # refused | waiting_approval | promoted
    Column("detail", Text),  # of the outcome
    Column("decided_by", String(120)),
    Column("ended_at", Double),  # when the outcome was reached
)

# Every change of the release that is live, for ever: the database refuses to change or delete a row. An `intent` is
# followed by its `done` or `failed`; one that is the last row is at work, or its process died.
release_events = Table(
    "release_events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("change_id", ID, nullable=False),  # the same for an intent and its end
    Column("kind", String(16), nullable=False),  # promotion | rollback
    Column("step", String(8), nullable=False),  # intent | done | failed
    Column("created_at", Double, nullable=False),
    Column("body", JSON, nullable=False),
)

# Who may ask. The key itself is nowhere: services/core/keys.py.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(12), primary_key=True),  # a part of the key
    Column("name", String(120), nullable=False),
    Column("scope", String(8), nullable=False),  # read | write | admin
    Column("collections", JSON(none_as_null=True)),  # null: all
    Column("sha256", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

# What was asked and how it was answered, without a word of either: what drift is told by. The newest ones only,
# numbered without a gap: services/core/captures.py.
captures = Table(
    "captures",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("created_at", Double, nullable=False),
    Column("release", String(120), nullable=False),
    Column("encoder", String(120), nullable=False),
    Column("collection", String(64), nullable=False),
    Column("vector", LargeBinary, nullable=False),  # of the question; float32, little endian
    Column("figures", JSON, nullable=False),
    Index(None, "release", "encoder", "seq"),
)

# A window of captures that others are compared with. Copied, so that it outlives them; never changed or deleted.
drift_references = Table(
    "drift_references",
    metadata,
    Column("id", ID, primary_key=True),
    Column("release", String(120), nullable=False),
    Column("encoder", String(120), nullable=False),
    Column("version", Integer, nullable=False),  # from 1, of a release with this encoder
    Column("created_at", Double, nullable=False),
    Column("row_count", Integer, nullable=False),
    Column("last_seq", BigInteger, nullable=False),  # windows begin after it
    Column("sha256", String(64), nullable=False),
    Column("vectors", LargeBinary, nullable=False),  # one after the other, as in `captures`
    Column("figures", JSON, nullable=False),  # name -> a value for each row
    UniqueConstraint("release", "encoder", "version"),
)

# Captures that are, or were, compared with a reference. `number` counts the full windows after it, from 1; one that
# somebody wanted judged before it was full, or once more, has none, and no part in an alarm.
drift_windows = Table(
    "drift_windows",
    metadata,
    Column("id", ID, primary_key=True),
    Column("job_id", ID, nullable=False),
    Column("reference_id", ID, ForeignKey("drift_references.id"), nullable=False),
    Column("number", Integer),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("row_count", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("judged_at", Double),  # and all below are null until then
    Column("drift", Boolean),
    Column("tests", JSON(none_as_null=True)),
    Column("report", Boolean),  # whether the page is still kept
    UniqueConstraint("reference_id", "number"),
)
