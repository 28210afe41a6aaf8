"""The outbox: fsynced files that hold what the job table could not take, until it can."""

import errno
import fcntl
import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

from pydantic import Field, ValidationError

from prefect_narrative.costs import Cost
from prefect_narrative.errors import SupersededError
from prefect_narrative.jobs.record import Failure, JobId, Usage, Value
from prefect_narrative.jobs.row import storable
from prefect_narrative.jobs.store import JobStore, JobTableUnavailableError, UnknownJobError

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<job_id>[0-9a-f-]{36})\.(?P<token>\d{1,19})\.(?P<kind>result|failure|usage)\.(json|taken)")
_MOST_BYTES = 16 * 1024 * 1024


class _Letter(Value):
    """What one file holds."""

    job_id: UUID
    token: int = Field(ge=0)
    kind: Literal["result", "failure", "usage"]
    result: dict[str, Any] | None = None
    failure: Failure | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    """What the usage costs."""


class _RejectedError(ValueError):
    """A file is not a letter of ours."""


class Outbox:
    """A folder of letters to the job table, one file for each job, token and kind; a later one replaces an earlier.

    A letter that was put survives the process and a loss of power. `drain` delivers; what it can't understand, or what
    the table will never take, is set aside beside the others as `.rejected` or `.superseded`.

    A process killed between the table's commit and the removal of the file delivers that letter again, which no kind
    of letter minds.

    Args:
        folder: Where the files lie, on a local disk; made when the first letter is put.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put_result(self, job_id: JobId, token: int, result: Mapping[str, Any]) -> None:
        """Keep an attempt's result."""
        self._put(_Letter(job_id=job_id, token=token, kind="result", result=dict(result)))

    def put_failure(self, job_id: JobId, token: int, failure: Failure) -> None:
        """Keep why an attempt failed."""
        self._put(_Letter(job_id=job_id, token=token, kind="failure", failure=failure))

    def put_usage(self, job_id: JobId, token: int, usage: Usage, cost: Cost | None = None) -> None:
        """Keep what an attempt used, and what that costs."""
        self._put(_Letter(job_id=job_id, token=token, kind="usage", usage=usage, cost=cost))

    def find_result(self, job_id: JobId) -> tuple[int, dict[str, Any]] | None:
        """Return the newest token with a result of this job, and the result; None where there is none."""
        found: tuple[int, dict[str, Any]] | None = None
        for path in self._letters(f"{job_id}.*.result.*"):
            try:
                letter = _read(path)
            except (OSError, ValueError):
                continue  # taken away meanwhile, or for `drain` to set aside
            if letter.result is not None and (found is None or letter.token >= found[0]):
                found = letter.token, letter.result
        return found

    def waiting(self) -> set[UUID]:
        """Return the jobs that letters wait for to be delivered."""
        names = (_NAME.fullmatch(path.name) for path in self._letters("*"))
        return {UUID(name["job_id"]) for name in names if name is not None}

    def drain(self, store: JobStore) -> int:
        """Deliver the letters to the table; return how many it took.

        Stops where the table can't be reached, and does nothing where another process is draining. A letter about a job
        that the table does not have yet stays.
        """
        taken = 0
        with self._alone() as alone:
            if not alone:
                return 0
            for path in self._letters("*"):
                try:
                    taken += self._deliver(_claim(path), store)
                except FileNotFoundError:
                    continue
                except JobTableUnavailableError as error:
                    logger.warning("The outbox keeps its letters: %s", error, extra={"action": "drain"})
                    break
        return taken

    def _put(self, letter: _Letter) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = storable(letter).model_dump_json(exclude_none=True)
        temporary = self.folder / f".{uuid4()}.tmp"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self.folder / f"{letter.job_id}.{letter.token}.{letter.kind}.json")
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(self.folder)

    def _letters(self, pattern: str) -> list[Path]:
        """Return the letters, of each kind the claimed one first: it is the older."""
        paths = [path for path in self.folder.glob(pattern) if path.suffix in {".json", ".taken"}]
        return sorted(paths, key=lambda path: (path.stem, path.suffix != ".taken"))

    def _deliver(self, path: Path, store: JobStore) -> int:
        try:
            letter = _read(path)
            _hand_over(letter, store)
        except UnknownJobError:
            return 0
        except SupersededError as error:
            _set_aside(path, "superseded", error)
            return 0
        except (FileNotFoundError, JobTableUnavailableError):
            raise
        except Exception as error:  # one bad letter must not hold up the others
            _set_aside(path, "rejected", error)
            return 0
        path.unlink(missing_ok=True)
        _sync(self.folder)
        return 1

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Hold the lock under which one process drains; False where somebody else does, or there is no folder."""
        try:
            descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            yield False
            return
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


def _claim(path: Path) -> Path:
    """Take a letter out of the way of a newer one of the same name, which may be put at any time."""
    if path.suffix == ".taken":
        return path
    return path.rename(path.with_suffix(".taken"))


def _read(path: Path) -> _Letter:
    """Return the letter in a file.

    Raises:
        ValueError: it is none of ours.
        OSError: it can't be read.
    """
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise _RejectedError("its name is not one of the outbox's")
    try:
        # Neither follow a link nor wait for a pipe that somebody put here.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _RejectedError("it is a link") from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _RejectedError("it is not a file")
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise _RejectedError(f"it is longer than {_MOST_BYTES} bytes")
    letter = _Letter.model_validate_json(content)
    if (str(letter.job_id), str(letter.token), letter.kind) != (name["job_id"], name["token"], name["kind"]):
        raise _RejectedError("its content is about something else than its name")
    if getattr(letter, letter.kind) is None:
        raise _RejectedError(f"it holds no {letter.kind}")
    return letter


def _hand_over(letter: _Letter, store: JobStore) -> None:
    job_id = JobId(letter.job_id)
    if letter.result is not None:
        store.stage_result(job_id, letter.token, letter.result)
    if letter.failure is not None:
        store.add_failure(job_id, letter.failure)
    if letter.usage is not None:
        store.add_usage(job_id, letter.token, letter.usage, letter.cost)


def _set_aside(path: Path, why: str, error: Exception) -> None:
    target = path.with_name(f"{path.name}.{uuid4().hex[:8]}.{why}")
    path.rename(target)
    reason = "it is not JSON of ours" if isinstance(error, ValidationError) else str(error)
    logger.error("Set %s aside as %s: %s", path.name, target.name, reason, extra={"action": why})


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
