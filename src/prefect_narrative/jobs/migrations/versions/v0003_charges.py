"""Keep what each attempt costs, line by line; what ran before has no cost, which is not the same as none."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the column."""
    op.add_column("jobs", sa.Column("charges", DOCUMENT, nullable=False, server_default="[]"))
