"""What of a page's text cannot be seen, and on which pages of a document."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("documents", sa.Column("hidden_text_pages", sa.JSON(), nullable=True))
    op.add_column("documents", sa.Column("scanned_pages", sa.JSON(), nullable=True))
    op.add_column("pages", sa.Column("hidden_chars", sa.Integer(), nullable=True))
    op.add_column("pages", sa.Column("scanned", sa.Boolean(), nullable=True))


def downgrade() -> None:
    for table, column in (
        ("pages", "scanned"),
        ("pages", "hidden_chars"),
        ("documents", "scanned_pages"),
        ("documents", "hidden_text_pages"),
    ):
        op.drop_column(table, column)
