"""Which Prefect server a command talks to: the environment's, that of a running `narrative up`, or the profile's."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from prefect_narrative.settings import Settings


@dataclass(frozen=True)
class UpRecord:
    """What a running `narrative up` tells those who look for it, in `up.json` in its home."""

    api_url: str
    ui_url: str
    jobs_url: str
    """Where jobs, their states and their results are read over HTTP."""
    home: str
    pid: int
    start_ticks: int | None
    """When the process started, in ticks since the machine's start: a pid alone may be somebody else's by now."""
    auth_string: str | None = None

    @property
    def alive(self) -> bool:
        """Whether the process that wrote the record still runs."""
        from prefect_narrative.jobs.processes import start_ticks  # noqa: PLC0415 - 0.3 s, not for those without `up`

        ticks = start_ticks(self.pid)
        return ticks is not None and ticks == self.start_ticks

    def write(self) -> None:
        """Write the record for its owner only, whole or not at all."""
        path = up_file(Path(self.home))
        draft = path.with_name(f"{path.name}.{self.pid}")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        draft.replace(path)

    def remove(self) -> None:
        """Remove the record, unless another process has replaced it."""
        if read_up(Path(self.home)) == self:
            up_file(Path(self.home)).unlink(missing_ok=True)


def up_file(home: Path) -> Path:
    """Return where a running `up` leaves its record."""
    return home / "up.json"


def read_up(home: Path) -> UpRecord | None:
    """Return the record of the last `up` in this home, alive or not; None where there is none that can be read."""
    try:
        return UpRecord(**json.loads(up_file(home).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@dataclass(frozen=True)
class Connection:
    """The Prefect server that this process talks to."""

    api_url: str | None
    """None where only Prefect itself knows: the user's profile decides."""
    source: Literal["environment", "up", "profile"]
    """Who said so."""

    @property
    def known(self) -> bool:
        """Whether there is a server to call at all; it may be down."""
        if self.api_url is not None:
            return True
        profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or prefect_home_of_user() / "profiles.toml")
        if not profiles.exists():
            return False
        from prefect.settings import get_current_settings  # noqa: PLC0415 - 0.5 s, only for those who have profiles

        return get_current_settings().api.url is not None


def connect(settings: Settings) -> Connection:
    """Make Prefect's client in this process talk to the server that is meant, and say which that is.

    Call it before `prefect` is imported: its settings are read once. What it finds is set in this process's
    environment, so the processes that it starts find the same server.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")  # else Prefect's client tells its makers, and says so amid our answers
    given = os.environ.get("PREFECT_API_URL")
    if given:
        return Connection(given, "environment")
    record = read_up(settings.home)
    if record is None or not record.alive:
        # Without a server Prefect would start one of its own for each command.
        os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
        _refresh_prefect_settings()
        return Connection(None, "profile")
    os.environ["PREFECT_API_URL"] = record.api_url
    os.environ["PREFECT_HOME"] = str(prefect_home(settings.home))
    os.environ.update(past_proxies(os.environ.get("NO_PROXY") or os.environ.get("no_proxy")))
    if record.auth_string is not None:
        os.environ["PREFECT_API_AUTH_STRING"] = record.auth_string
    _refresh_prefect_settings()
    return Connection(record.api_url, "up")


def prefect_home(home: Path) -> Path:
    """Return the PREFECT_HOME of everything that `up` starts, which is never the user's own."""
    return home / "prefect"


def prefect_home_of_user() -> Path:
    """Return the PREFECT_HOME of the caller."""
    return Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()


def past_proxies(given: str | None) -> dict[str, str]:
    """Return the environment variables that keep calls to this machine away from a configured proxy."""
    hosts = ",".join(part for part in (given, "127.0.0.1", "localhost") if part)
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def _refresh_prefect_settings() -> None:
    """Let a Prefect that was imported too early read the environment again."""
    if "prefect.context" in sys.modules:
        sys.modules["prefect.context"].refresh_global_settings_context()
