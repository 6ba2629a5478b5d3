"""Verdicts, and the history of the release that is live, whose rows nobody can change."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_FOR_EVER = "release_events are kept for ever"


def upgrade() -> None:
    op.add_column("evaluations", sa.Column("release_id", sa.String(length=120), nullable=True))
    op.add_column("evaluations", sa.Column("against_id", sa.String(length=40), nullable=True))
    op.add_column("evaluations", sa.Column("verdict", sa.JSON(), nullable=True))
    op.create_table(
        "verdicts",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("champion", sa.String(length=120), nullable=False),
        sa.Column("challenger", sa.String(length=120), nullable=False),
        sa.Column("champion_evaluation_id", sa.String(length=40), nullable=False),
        sa.Column("challenger_evaluation_id", sa.String(length=40), nullable=False),
        sa.Column("dataset_sha256", sa.String(length=64), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
    )
    op.create_index(op.f("ix_verdicts_champion_challenger"), "verdicts", ["champion", "challenger"])
    op.create_table(
        "release_events",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("change_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("step", sa.String(length=8), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_release_events")),
    )
    _guard()


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.text("DROP TRIGGER release_events_kept ON release_events"))
        op.execute(sa.text("DROP FUNCTION release_events_kept()"))
    op.drop_table("release_events")
    op.drop_table("verdicts")
    for column in ("verdict", "against_id", "release_id"):
        op.drop_column("evaluations", column)


def _guard() -> None:
    """Have the database itself refuse what would rewrite history."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            sa.text(
                "CREATE FUNCTION release_events_kept() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION '{_FOR_EVER}'; END $$"
            )
        )
        op.execute(
            sa.text(
                "CREATE TRIGGER release_events_kept BEFORE UPDATE OR DELETE ON release_events "
                "FOR EACH ROW EXECUTE FUNCTION release_events_kept()"
            )
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            sa.text(
                f"CREATE TRIGGER release_events_no_{verb.lower()} BEFORE {verb} ON release_events "
                f"BEGIN SELECT RAISE(ABORT, '{_FOR_EVER}'); END"
            )
        )
