"""Who may ask: on loopback whoever calls it by a loopback name, elsewhere only who shows the token."""

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from prefect_narrative.api import HEALTH_PATH
from prefect_narrative.api.errors import ApiError, HostRefusedError, UnauthorizedError, quoted, told


class Access:
    """Stands before the app and refuses who may not ask.

    A page in a browser on this machine can make requests to loopback, and by a DNS name that it points to 127.0.0.1
    also read the answers: so on loopback the Host header must be a loopback name. There is no CORS at all.

    Args:
        app: What it guards.
        token: What callers must show, on every path but that of the health; None: nothing.
        loopback: Whether the server listens on loopback only.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, loopback: bool) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer why not."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        answer = self._app if refusal is None else told(refusal)
        await answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        hosts, shown = _headers(scope, b"host"), _headers(scope, b"authorization")
        if self._loopback and not (len(hosts) == 1 and names_loopback(hosts[0])):
            return HostRefusedError(
                f"The Host header {quoted(b', '.join(hosts).decode('latin-1'))} is no loopback name."
            )
        if self._token is None or scope["path"] == HEALTH_PATH:
            return None
        if not shown:
            return UnauthorizedError("The request has no Authorization header.")
        if len(shown) == 1 and _is_token(shown[0], self._token):
            return None
        return UnauthorizedError("The Authorization header does not hold the token.")


def _headers(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key.lower() == name]


def _is_token(header: bytes, token: bytes) -> bool:
    scheme, _, value = header.strip().partition(b" ")
    # Both are compared in full, whatever the first difference: the time taken says nothing about the token.
    return hmac.compare_digest(value.strip(), token) and scheme.lower() == b"bearer"


def names_loopback(host: bytes) -> bool:
    """Return whether a Host header names loopback: `localhost`, 127.x.x.x or [::1], with a port or without."""
    try:
        parts = urlsplit(f"//{host.decode('ascii')}")
        name, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    return parts.netloc == host.decode("ascii") and "@" not in parts.netloc and is_loopback(name)


def is_loopback(name: str) -> bool:
    """Return whether a host's name or address can't be reached from other machines."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
