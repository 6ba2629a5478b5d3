"""Captured questions, the references that they are compared with, and what was found of each window."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEPT = "drift_references are never changed"


def upgrade() -> None:
    op.create_table(
        "captures",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("release", sa.String(length=120), nullable=False),
        sa.Column("encoder", sa.String(length=120), nullable=False),
        sa.Column("collection", sa.String(length=64), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_captures")),
    )
    op.create_index(op.f("ix_captures_release_encoder_seq"), "captures", ["release", "encoder", "seq"])
    op.execute(sa.text("INSERT INTO counters (name, value) VALUES ('captures', 0)"))
    op.create_table(
        "drift_references",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("release", sa.String(length=120), nullable=False),
        sa.Column("encoder", sa.String(length=120), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("vectors", sa.LargeBinary(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_references")),
        sa.UniqueConstraint("release", "encoder", "version", name=op.f("uq_drift_references_release_encoder_version")),
    )
    op.create_table(
        "drift_windows",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("reference_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("judged_at", sa.Double(), nullable=True),
        sa.Column("drift", sa.Boolean(), nullable=True),
        sa.Column("tests", sa.JSON(), nullable=True),
        sa.Column("report", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_windows")),
        sa.ForeignKeyConstraint(["reference_id"], ["drift_references.id"], name=op.f("fk_drift_windows_reference_id")),
        sa.UniqueConstraint("reference_id", "number", name=op.f("uq_drift_windows_reference_id_number")),
    )
    _guard()


def downgrade() -> None:
    op.drop_table("drift_windows")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.text("DROP TRIGGER drift_references_kept ON drift_references"))
        op.execute(sa.text("DROP FUNCTION drift_references_kept()"))
    op.drop_table("drift_references")
    op.drop_table("captures")
    op.execute(sa.text("DELETE FROM counters WHERE name = 'captures'"))


def _guard() -> None:
    """Have the database itself refuse what would move the ground under later comparisons."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            sa.text(
                "CREATE FUNCTION drift_references_kept() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION '{_KEPT}'; END $$"
            )
        )
        op.execute(
            sa.text(
                "CREATE TRIGGER drift_references_kept BEFORE UPDATE OR DELETE ON drift_references "
                "FOR EACH ROW EXECUTE FUNCTION drift_references_kept()"
            )
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            sa.text(
                f"CREATE TRIGGER drift_references_no_{verb.lower()} BEFORE {verb} ON drift_references "
                f"BEGIN SELECT RAISE(ABORT, '{_KEPT}'); END"
            )
        )
