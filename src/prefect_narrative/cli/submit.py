"""`narrative submit`: ask for a job by its type and its inputs."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import Parameter

from prefect_narrative.cli.connection import connect
from prefect_narrative.cli.exits import ExitCode, UsageError
from prefect_narrative.cli.options import Json, Timeout, Wait, check_timeout
from prefect_narrative.cli.output import Output
from prefect_narrative.settings import Settings

WORD = re.compile("@[a-z]+")
"""What the platform's own words look like, such as `@daily`; a file has a dot or a slash in its name."""
MAX_FILE_BYTES = 500_000
"""Prefect takes parameters up to about this size."""


def submit(
    type: str,
    /,
    *inputs: str,
    key: Annotated[str | None, Parameter(alias="-k")] = None,
    again: Annotated[bool, Parameter(negative="")] = False,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> int:
    """Submit a job and print its id.

    Example: narrative submit create-dataset name=flights source=flights.csv --wait

    Args:
        type: The job's type, such as create-dataset.
        inputs: name=value. The value is read as JSON where it is JSON (true, 3, ["a"]), else it is text; '"3"' is the
            text 3. name=@query.sql takes a file's text; a mere word such as @daily is text, and so is
            name=@@query.sql.
        key: Idempotency key: the same key with the same inputs gives the same job.
        again: With --key: a new job where that key's job has ended.
        wait: Wait until the job has ended, and say how.
        timeout: With --wait: wait at most this many seconds. [for ever]
        as_json: Print the job's record as JSON.
    """
    parameters = parse_inputs(inputs)
    if again and key is None:
        raise UsageError("--again says nothing without --key.")
    check_timeout(timeout, wait=wait)
    settings = Settings()
    connect(settings)
    from prefect_narrative.cli.following import ended, follow  # noqa: PLC0415 - Prefect reads its settings on import
    from prefect_narrative.client import Client, reaching  # noqa: PLC0415

    output = Output(as_json=as_json)
    with reaching(), Client(settings, source="cli") as client:
        job = client.submit(type, parameters, idempotency_key=key, again=again)
        if wait:
            return ended(follow(client, job.job_id, output, timeout), output)
    if as_json:
        from prefect_narrative.jobs.document import record  # noqa: PLC0415 - only where it is needed

        output.document(record(job))
    output.line(f"{job.job_id} {job.state}")
    return ExitCode.OK


def parse_inputs(inputs: Sequence[str]) -> dict[str, Any]:
    """Return a job's inputs from `name=value` texts.

    Raises:
        UsageError: a text has no `=` or no name, a name comes twice, or a file can't be read.
    """
    parsed: dict[str, Any] = {}
    for text in inputs:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{text!r} is not name=value.", remedy="Write inputs as name=value, such as name=flights.")
        if name in parsed:
            raise UsageError(
                f"The input {name!r} is given twice.", remedy="Give it once; a list is JSON: tags='[\"a\"]'."
            )
        parsed[name] = parse_value(value)
    return parsed


def parse_value(text: str) -> Any:
    """Return what one value means: a file's text, JSON where it is JSON, else the text itself.

    Raises:
        UsageError: the file can't be read.
    """
    if text.startswith("@@"):
        return text[1:]
    if text.startswith("@") and not WORD.fullmatch(text):
        return _file(Path(text[1:]))
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return text


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _file(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(
                f"{path} is larger than {MAX_FILE_BYTES:,} bytes.", remedy="Inputs are small: name data by path."
            )
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path} is not UTF-8 text.", remedy="Save it as UTF-8.") from exc
    except OSError as exc:
        raise UsageError(
            f"{path} can't be read: {exc.strerror}.", remedy="Check the path; name=@@x gives the text @x."
        ) from exc
