"""The sample store: rows that were sampled, as JSON, in a table of ours in the lake; each name has one sample.

A sample is kept in the transaction in which its job publishes its result, in the place of the one that was there.
"""

# ruff: noqa: S608  (identifiers are our own, values are parameters)

import json
from uuid import UUID

from prefect_narrative.planes.errors import SampleNotFoundError
from prefect_narrative.planes.internal_tables import Execute, is_there, path_of
from prefect_narrative.planes.internal_tables import prepare as prepare_table
from prefect_narrative.planes.plane import KeptSample

TABLE = "samples"
SAMPLES = path_of(TABLE)


def prepare(execute: Execute) -> None:
    """Make the store where there is none yet; under the lock, and before the transaction of a publication begins."""
    prepare_table(execute, TABLE, "name VARCHAR, job_id UUID, head VARCHAR, rows VARCHAR")


def keep(execute: Execute, job_id: UUID, sample: KeptSample) -> None:
    """Keep a sample; within the transaction of its publication, under the lock."""
    execute(f"DELETE FROM {SAMPLES} WHERE name = ?", [sample.name])
    values = [sample.name, job_id, json.dumps(dict(sample.head)), json.dumps(sample.rows)]
    execute(f"INSERT INTO {SAMPLES} VALUES (?, ?, ?, ?)", values)


def remove(execute: Execute, name: str) -> bool:
    """Remove a sample, under the lock; return whether there was one."""
    if not is_there(execute, TABLE):
        return False
    return bool(execute(f"DELETE FROM {SAMPLES} WHERE name = ?", [name])[0][0])


def heads(execute: Execute) -> list[KeptSample]:
    """Return what is known of all samples, by name, without their rows."""
    if not is_there(execute, TABLE):
        return []
    found = execute(f"SELECT name, head FROM {SAMPLES} ORDER BY name", [])
    return [KeptSample(name, json.loads(head), ()) for name, head in found]


def find(execute: Execute, name: str) -> KeptSample:
    """Return a sample.

    Raises:
        SampleNotFoundError: there is none, with the nearest names.
    """
    known = [one.name for one in heads(execute)]
    if name not in known:
        raise SampleNotFoundError.named(name, known)
    head, rows = execute(f"SELECT head, rows FROM {SAMPLES} WHERE name = ?", [name])[0]
    return KeptSample(name, json.loads(head), json.loads(rows))
