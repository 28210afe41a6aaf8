"""The job table's schema, and how a row lies in it. `migrations` builds the same; a test compares the two."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    RowMapping,
    String,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

from prefect_narrative.jobs.record import PrefectState, RequestSource
from prefect_narrative.jobs.row import Row
from prefect_narrative.jobs.states import TERMINAL_STATES, JobState, Move


class Instant(TypeDecorator[datetime]):
    """A moment with its zone, to the microsecond: timestamptz in PostgreSQL, sortable UTC text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type in one database."""
        return dialect.type_descriptor(String(32) if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return what goes into the database."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.isoformat(timespec="microseconds") if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return what came out of the database."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if dialect.name == "sqlite" else value
        return moment.astimezone(UTC)


DOCUMENT = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def _listed(values: Any) -> str:
    return ", ".join(sorted(f"'{value}'" for value in values))


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("type", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("parent_job_id", Uuid),
    Column("request_source_type", Text, nullable=False),
    Column("request_source_name", Text),
    Column("tags", DOCUMENT, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("waiting_for", DOCUMENT),
    Column("progress", DOCUMENT),
    Column("failures", DOCUMENT, nullable=False),
    Column("input", DOCUMENT, nullable=False),
    Column("result", DOCUMENT),
    Column("staged_result", DOCUMENT),
    Column("data_plane", Text),
    Column("dataset", Text),
    Column("sources", DOCUMENT, nullable=False),
    Column("executor", DOCUMENT),
    Column("code_version", Text),
    Column("usage", DOCUMENT, nullable=False),
    Column("usages", DOCUMENT, nullable=False, server_default="{}"),
    Column("charges", DOCUMENT, nullable=False, server_default="[]"),
    Column("cost_micro_cents_usd", BigInteger),
    Column("forecast_job_id", Uuid),
    Column("created_at", Instant, nullable=False),
    Column("scheduled_for", Instant),
    Column("started_at", Instant),
    Column("updated_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("prefect_state_id", Uuid, nullable=False),
    Column("prefect_type", Text, nullable=False),
    Column("prefect_name", Text, nullable=False),
    Column("prefect_timestamp", Instant, nullable=False),
    Column("prefect_deployment_id", Uuid),
    Column("prefect_deployment", Text),
    Column("trusted", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("rested_attempt", Integer, nullable=False),
    Column("last_event", Integer, nullable=False),
    CheckConstraint(f"state IN ({_listed(JobState)})", name="state"),
    CheckConstraint(f"(ended_at IS NOT NULL) = (state IN ({_listed(TERMINAL_STATES)}))", name="ended_at"),
    CheckConstraint(f"(result IS NOT NULL) = (state = '{JobState.COMPLETED}')", name="result"),
    CheckConstraint(f"waiting_for IS NULL OR state = '{JobState.PENDING}'", name="waiting_for"),
    CheckConstraint("attempt >= 1 AND rested_attempt >= 0 AND rested_attempt <= attempt", name="attempt"),
    CheckConstraint("version >= 1 AND token >= 0 AND last_event >= 1", name="counters"),
    Index("ix_jobs_created_at", "created_at", "job_id"),
    Index("ix_jobs_state", "state", "created_at", "job_id"),
    Index("ix_jobs_type", "type", "created_at", "job_id"),
    Index("ix_jobs_dataset", "dataset", "created_at", "job_id"),
    Index("ix_jobs_data_plane", "data_plane", "created_at", "job_id"),
    Index("ix_jobs_request_source", "request_source_type", "created_at", "job_id"),
    Index("ix_jobs_idempotency_key", "idempotency_key"),
    Index("ix_jobs_parent_job_id", "parent_job_id"),
)


def _partial_index(name: str, *columns: Column[Any], where: ColumnElement[bool]) -> None:
    Index(name, *columns, sqlite_where=where, postgresql_where=where)


_partial_index("ix_jobs_active", jobs.c.created_at, jobs.c.job_id, where=jobs.c.ended_at.is_(None))
_partial_index("ix_jobs_ended_at", jobs.c.ended_at, where=jobs.c.ended_at.is_not(None))

job_events = Table(
    "job_events",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.job_id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("from_state", Text),
    Column("to_state", Text, nullable=False),
    Column("move", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("cause", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    PrimaryKeyConstraint("job_id", "number"),
    CheckConstraint("number >= 1 AND attempt >= 1", name="counters"),
    CheckConstraint("(from_state IS NULL) = (number = 1)", name="creation"),
    CheckConstraint(f"from_state IS NULL OR from_state IN ({_listed(JobState)})", name="from_state"),
    CheckConstraint(f"to_state IN ({_listed(JobState)})", name="to_state"),
    CheckConstraint(f"move IN ({_listed(Move)})", name="move"),
)
"""Append-only: a trigger refuses updates. Rows go only together with their job."""

job_tags = Table(
    "job_tags",
    metadata,
    Column("tag", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("job_id", Uuid, ForeignKey("jobs.job_id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("tag", "created_at", "job_id"),
    Index("ix_job_tags_job_id", "job_id"),
)
"""The tags once more, for the list by tag."""

job_heartbeats = Table(
    "job_heartbeats",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("host", Text, nullable=False),
    Column("machine_id", Text, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("pid_namespace", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("start_ticks", BigInteger, nullable=False),
)

_PLAIN = [name for name in Row.model_fields if name in jobs.c]
_DOCUMENTS = ["waiting_for", "progress", "failures", "executor", "usage", "usages", "charges"]
_PREFECT = {f"prefect_{name}": name for name in PrefectState.model_fields}


def values_of(row: Row) -> dict[str, Any]:
    """Return a row as the values of its columns."""
    values = {name: getattr(row, name) for name in _PLAIN}
    values |= row.model_dump(mode="json", include=set(_DOCUMENTS), exclude_none=False)
    values |= {column: getattr(row.prefect, name) for column, name in _PREFECT.items()}
    values |= {"request_source_type": row.request_source.type, "request_source_name": row.request_source.name}
    values |= {"tags": list(row.tags), "sources": list(row.sources), "state": row.state.value}
    return values


def row_of(values: RowMapping) -> Row:
    """Return the row that lies in the columns."""
    return Row(
        **{name: values[name] for name in _PLAIN},
        request_source=RequestSource(type=values["request_source_type"], name=values["request_source_name"]),
        prefect=PrefectState(**{name: values[column] for column, name in _PREFECT.items()}),
    )
