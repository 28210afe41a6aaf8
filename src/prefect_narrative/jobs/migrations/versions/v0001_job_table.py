"""Make the job table: jobs, their events, their tags, their heartbeats."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTANT = sa.String(32).with_variant(sa.DateTime(timezone=True), "postgresql")
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
STATES = "'cancelled', 'completed', 'failed', 'pending', 'pending_cancellation', 'running'"
TERMINAL_STATES = "'cancelled', 'completed', 'failed'"

SQLITE_TRIGGER = """
CREATE TRIGGER job_events_append_only BEFORE UPDATE ON job_events
BEGIN SELECT RAISE(ABORT, 'job_events is append-only'); END
"""
POSTGRESQL_TRIGGER = """
CREATE FUNCTION job_events_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'job_events is append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TRIGGER job_events_append_only BEFORE UPDATE ON job_events
FOR EACH ROW EXECUTE FUNCTION job_events_append_only()
"""


def upgrade() -> None:
    """Make the tables."""
    _make_jobs()
    _make_events()
    op.create_table(
        "job_tags",
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("tag", "created_at", "job_id", name="pk_job_tags"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name="fk_job_tags", ondelete="CASCADE"),
    )
    op.create_index("ix_job_tags_job_id", "job_tags", ["job_id"])
    op.create_table(
        "job_heartbeats",
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("pid_namespace", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("process_started_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_job_heartbeats"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name="fk_job_heartbeats", ondelete="CASCADE"),
    )


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("parent_job_id", sa.Uuid),
        sa.Column("request_source_type", sa.Text, nullable=False),
        sa.Column("request_source_name", sa.Text),
        sa.Column("tags", DOCUMENT, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("waiting_for", DOCUMENT),
        sa.Column("progress", DOCUMENT),
        sa.Column("failures", DOCUMENT, nullable=False),
        sa.Column("input", DOCUMENT, nullable=False),
        sa.Column("result", DOCUMENT),
        sa.Column("staged_result", DOCUMENT),
        sa.Column("data_plane", sa.Text),
        sa.Column("dataset", sa.Text),
        sa.Column("sources", DOCUMENT, nullable=False),
        sa.Column("executor", DOCUMENT),
        sa.Column("code_version", sa.Text),
        sa.Column("usage", DOCUMENT, nullable=False),
        sa.Column("cost_micro_cents_usd", sa.BigInteger),
        sa.Column("forecast_job_id", sa.Uuid),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("scheduled_for", INSTANT),
        sa.Column("started_at", INSTANT),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("prefect_state_id", sa.Uuid, nullable=False),
        sa.Column("prefect_type", sa.Text, nullable=False),
        sa.Column("prefect_name", sa.Text, nullable=False),
        sa.Column("prefect_timestamp", INSTANT, nullable=False),
        sa.Column("prefect_deployment_id", sa.Uuid),
        sa.Column("prefect_deployment", sa.Text),
        sa.Column("trusted", sa.Boolean, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("rested_attempt", sa.Integer, nullable=False),
        sa.Column("last_event", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_jobs"),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_jobs_state")),
        sa.CheckConstraint(f"(ended_at IS NOT NULL) = (state IN ({TERMINAL_STATES}))", name=op.f("ck_jobs_ended_at")),
        sa.CheckConstraint("(result IS NOT NULL) = (state = 'completed')", name=op.f("ck_jobs_result")),
        sa.CheckConstraint("waiting_for IS NULL OR state = 'pending'", name=op.f("ck_jobs_waiting_for")),
        sa.CheckConstraint(
            "attempt >= 1 AND rested_attempt >= 0 AND rested_attempt <= attempt", name=op.f("ck_jobs_attempt")
        ),
        sa.CheckConstraint("version >= 1 AND token >= 0 AND last_event >= 1", name=op.f("ck_jobs_counters")),
    )
    for name, columns in {
        "ix_jobs_created_at": ["created_at", "job_id"],
        "ix_jobs_state": ["state", "created_at", "job_id"],
        "ix_jobs_type": ["type", "created_at", "job_id"],
        "ix_jobs_dataset": ["dataset", "created_at", "job_id"],
        "ix_jobs_data_plane": ["data_plane", "created_at", "job_id"],
        "ix_jobs_request_source": ["request_source_type", "created_at", "job_id"],
        "ix_jobs_idempotency_key": ["idempotency_key"],
        "ix_jobs_parent_job_id": ["parent_job_id"],
    }.items():
        op.create_index(name, "jobs", columns)
    for name, columns, condition in (
        ("ix_jobs_active", ["created_at", "job_id"], sa.text("ended_at IS NULL")),
        ("ix_jobs_ended_at", ["ended_at"], sa.text("ended_at IS NOT NULL")),
    ):
        op.create_index(name, "jobs", columns, sqlite_where=condition, postgresql_where=condition)


def _make_events() -> None:
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("from_state", sa.Text),
        sa.Column("to_state", sa.Text, nullable=False),
        sa.Column("move", sa.Text, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_job_events"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name="fk_job_events", ondelete="CASCADE"),
        sa.CheckConstraint("number >= 1 AND attempt >= 1", name=op.f("ck_job_events_counters")),
        sa.CheckConstraint("(from_state IS NULL) = (number = 1)", name=op.f("ck_job_events_creation")),
        sa.CheckConstraint(f"from_state IS NULL OR from_state IN ({STATES})", name=op.f("ck_job_events_from_state")),
        sa.CheckConstraint(f"to_state IN ({STATES})", name=op.f("ck_job_events_to_state")),
        sa.CheckConstraint("move IN ('correction', 'normal', 'reopening')", name=op.f("ck_job_events_move")),
    )
    op.execute(POSTGRESQL_TRIGGER if op.get_context().dialect.name == "postgresql" else SQLITE_TRIGGER)
