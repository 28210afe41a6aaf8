"""Keep usage by token, so that what is delivered twice counts once, and each heartbeat's machine."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")

SQLITE_FILL = "UPDATE jobs SET usages = json_object('0', json(usage))"
POSTGRESQL_FILL = "UPDATE jobs SET usages = jsonb_build_object('0', usage)"


def upgrade() -> None:
    """Add the columns; what a job has used so far stays in its total, under a token that no process ever held."""
    op.add_column("jobs", sa.Column("usages", DOCUMENT, nullable=False, server_default="{}"))
    op.execute(POSTGRESQL_FILL if op.get_context().dialect.name == "postgresql" else SQLITE_FILL)
    op.add_column("job_heartbeats", sa.Column("machine_id", sa.Text, nullable=False, server_default=sa.text("''")))
