"""Keep usage by token, so that what is delivered twice counts once, and each heartbeat's machine."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INSTANT = sa.String(32).with_variant(sa.DateTime(timezone=True), "postgresql")
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")

SQLITE_FILL = "UPDATE jobs SET usages = json_object('0', json(usage))"
POSTGRESQL_FILL = "UPDATE jobs SET usages = jsonb_build_object('0', usage)"


def upgrade() -> None:
    """Add the columns; what a job has used so far stays in its total, under a token that no process ever held."""
    op.add_column("jobs", sa.Column("usages", DOCUMENT, nullable=False, server_default="{}"))
    op.execute(POSTGRESQL_FILL if op.get_context().dialect.name == "postgresql" else SQLITE_FILL)
    _make_heartbeats_anew()


def _make_heartbeats_anew() -> None:
    """Replace the heartbeats: each running process writes its next one within seconds."""
    op.drop_table("job_heartbeats")
    op.create_table(
        "job_heartbeats",
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("machine_id", sa.Text, nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("pid_namespace", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("start_ticks", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_job_heartbeats"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name="fk_job_heartbeats", ondelete="CASCADE"),
    )
