"""Where the HTTP job API listens: its socket, its address, and whether it answers."""

import errno
import ipaddress
import os
import socket
from typing import ClassVar

import httpx
import psutil

from prefect_narrative.api import HEALTH_PATH, JOBS_PATH
from prefect_narrative.cli.exits import UsageError
from prefect_narrative.cli.server import PortTakenError, check_port_number
from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.settings import Settings

BACKLOG = 2048


class TokenRequiredError(NarrativeError, PermissionError):
    """Other machines could read the jobs without a token."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "token_required"
    remedy = "Set NARRATIVE_API_TOKEN to a secret of 16 characters or more, or listen on loopback (no --host)."


def token_of(settings: Settings) -> str | None:
    """Return what callers must show; None: nothing."""
    return None if settings.api_token is None else settings.api_token.get_secret_value()


def listen(host: str, port: int | None, *, has_token: bool) -> socket.socket:
    """Return a socket that listens, so that who calls from now on is served as soon as the API is.

    Args:
        host: Name or address of the interface.
        port: The port; None: one that the kernel finds free.
        has_token: Whether callers must show a token, without which loopback alone is allowed.

    Raises:
        UsageError: the host can't be resolved or is not this machine's, or the port is no port.
        TokenRequiredError: other machines could call, and need show nothing.
        PortTakenError: somebody listens on that port.
    """
    port = 0 if port is None else check_port_number(port)
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
    except (OSError, UnicodeError) as exc:
        raise _not_ours(host) from exc
    if not (has_token or ipaddress.ip_address(str(address[0])).is_loopback):
        raise TokenRequiredError(f"Without a token the job API listens on loopback only, not on {host}.")
    everywhere = family is socket.AF_INET6 and ipaddress.ip_address(str(address[0])).is_unspecified
    try:
        return socket.create_server(
            address, family=family, backlog=BACKLOG, dualstack_ipv6=everywhere and socket.has_dualstack_ipv6()
        )
    except OSError as exc:
        if exc.errno == errno.EADDRNOTAVAIL:
            raise _not_ours(host) from exc
        raise PortTakenError(f"Port {port} of {host} can't be used: {os.strerror(exc.errno or 0)}.") from exc


def is_loopback(listening: socket.socket) -> bool:
    """Return whether only this machine can call."""
    return ipaddress.ip_address(str(listening.getsockname()[0])).is_loopback


def url_of(listening: socket.socket) -> str:
    """Return the address of the jobs behind a socket that listens; of all interfaces, by this machine's name."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return jobs_url(port, f"[{host}]" if ":" in host else host)


def jobs_url(port: int, host: str = "127.0.0.1") -> str:
    """Return the address of the jobs."""
    return f"http://{host}:{port}{JOBS_PATH}"


def answers(port: int, parent: int | None) -> bool:
    """Return whether the job API answers on a port of loopback, from a process that `parent` has started."""
    try:
        told = httpx.get(f"http://127.0.0.1:{port}{HEALTH_PATH}", timeout=3, trust_env=False).raise_for_status().json()
        return parent is not None and psutil.Process(int(told["pid"])).ppid() == parent
    except (httpx.HTTPError, psutil.Error, ValueError, KeyError, TypeError):
        return False


def _not_ours(host: str) -> UsageError:
    return UsageError(f"{host!r} is no name or address of this machine.", remedy="Give --host an address to listen on.")
