"""API keys, the collection that a job works on, and names of datasets that are a collection's own."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("collections", sa.JSON(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.add_column("jobs", sa.Column("collection", sa.String(length=64), nullable=True))
    # Jobs of documents that are gone stay without: nobody knows any more whose they were.
    jobs = sa.table("jobs", sa.column("id"), sa.column("collection"))
    for name in ("documents", "evaluations"):
        of = sa.table(name, sa.column("job_id"), sa.column("collection"))
        collection = sa.select(sa.func.max(of.c.collection)).where(of.c.job_id == jobs.c.id).scalar_subquery()
        op.execute(sa.update(jobs).where(jobs.c.id.in_(sa.select(of.c.job_id))).values(collection=collection))
    if op.get_bind().dialect.name == "sqlite":
        _make_datasets_anew(own=True)
        return
    op.add_column("datasets", sa.Column("collection", sa.String(length=64), nullable=False, server_default=""))
    op.alter_column("datasets", "collection", server_default=None)
    op.drop_constraint(op.f("uq_datasets_name"), "datasets")
    op.create_unique_constraint(op.f("uq_datasets_collection_name"), "datasets", ["collection", "name"])


def downgrade() -> None:
    op.execute(sa.text("UPDATE datasets SET name = id WHERE collection <> ''"))
    if op.get_bind().dialect.name == "sqlite":
        _make_datasets_anew(own=False)
    else:
        op.drop_constraint(op.f("uq_datasets_collection_name"), "datasets")
        op.create_unique_constraint(op.f("uq_datasets_name"), "datasets", ["name"])
        op.drop_column("datasets", "collection")
    op.drop_column("jobs", "collection")
    op.drop_table("api_keys")


def _make_datasets_anew(own: bool) -> None:
    """SQLite can change no constraint. Evaluations refer to these rows: they have to be back when the transaction ends,
    in a table of the same name, which Alembic's batch mode would not do in this order."""
    op.execute(sa.text("PRAGMA defer_foreign_keys=ON"))
    op.execute(sa.text("CREATE TABLE datasets_before AS SELECT * FROM datasets"))
    op.drop_table("datasets")
    unique = ["collection", "name"] if own else ["name"]
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("questions", sa.JSON(), nullable=False),
        *([sa.Column("collection", sa.String(length=64), nullable=False)] if own else []),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint(*unique, name=op.f(f"uq_datasets_{'_'.join(unique)}")),
    )
    names = ["id", "name", "sha256", "created_at", "questions"]
    before = sa.table("datasets_before", *map(sa.column, names))
    after = sa.table("datasets", *map(sa.column, [*names, "collection"]))
    rows = sa.select(*before.c, *([sa.literal("")] if own else []))
    op.execute(sa.insert(after).from_select([*names, *(["collection"] if own else [])], rows))
    op.drop_table("datasets_before")
