"""Who may speak to the page: Host check, token or cookie, Origin check, headers that keep a browser in its box.

The token never stands in an address or a log. It goes in a header; or a one-time code, behind the `#` of a printed
link and so never sent by itself, is exchanged for a cookie.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
import socket
import stat
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tfpose_rt.errors import UsageError
from tfpose_rt.files import read_text
from tfpose_rt.shell import quoted

COOKIE = "tfpose_session"
TOKEN_BYTES = 24  # 192 bit
MAKE = "import secrets; print(secrets.token_urlsafe())"
LEAST = 22  # characters of a token brought along: 128 bit in base64
MOST_HEADERS = 16384  # bytes
OPEN_PATHS = frozenset(("/", "/session"))  # the page holds nothing of the camera; the exchange checks by itself


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(choice: str, host: str, environ: Mapping[str, str] | None = None) -> str | None:
    """The token to ask for.

    Args:
        choice: auto (none on loopback, a new one elsewhere), env (TFPOSE_SERVE_TOKEN), or a file readable by its
            owner alone.
        host: what the server is bound to.
        environ: the process's when None.
    Raises: UsageError: no such file, others can read it, or it is too short to be safe.
    """
    if choice == "auto":
        return None if is_loopback(host) else secrets.token_urlsafe(TOKEN_BYTES)
    if choice == "env":
        token = (os.environ if environ is None else environ).get("TFPOSE_SERVE_TOKEN", "")
        where = "TFPOSE_SERVE_TOKEN"
    else:
        path, where = Path(choice), f"token file {Path(choice).name}"
        if not path.exists():  # perhaps a token: it is not repeated
            why = "no file of that name; a token itself is never typed"
            raise UsageError("--token", why=why, fix="--token auto, --token env, or a file")
        try:
            if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise UsageError(where, why="others on this machine can read it", fix=f"chmod 600 {quoted(path)}")
            token = read_text(path).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(where, why=getattr(error, "strerror", None) or "not text", fix="--token auto") from error
    if len(token) < LEAST:
        why = f"shorter than {LEAST} characters" if token else "nothing is in it"
        raise UsageError(where, why=why, fix=f"what `python -c {quoted(MAKE)}` prints")
    return token


class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded.
        host: what the server is bound to.
        token: to be asked for, or None.
    """

    def __init__(self, app: ASGIApp, *, host: str, token: str | None) -> None:
        self._app, self._token = app, token
        self._any_address = host in ("0.0.0.0", "::", "")
        self._names = {host.lower(), "localhost", "127.0.0.1", "::1"}
        if not is_loopback(host):
            self._names |= {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
        self._code = secrets.token_urlsafe(TOKEN_BYTES)  # one time
        self._sessions: set[str] = set()

    @property
    def link_fragment(self) -> str:
        """What stands behind the `#` of the link that is printed; "" without a token."""
        return self._code if self._token else ""

    def exchange(self, code: str) -> str | None:
        """A new cookie value for the one-time code or the token; None for anything else."""
        fits_code = bool(self._code) and _same(code, self._code)
        fits_token = self._token is not None and _same(code, self._token)
        if fits_code:
            self._code = ""
        if not fits_code and not fits_token:
            return None
        session = secrets.token_urlsafe(TOKEN_BYTES)
        self._sessions.add(session)
        return session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, or answer 400, 401 or 403."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["method"], scope["path"], headers)
        if refusal is not None:
            await PlainTextResponse(refusal[1] + "\n", refusal[0], headers=SAFE)(scope, receive, send)
            return

        async def safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                have = {name.lower() for name, _ in message["headers"]}
                more = [(k.lower().encode(), v.encode()) for k, v in SAFE.items()]
                message = {**message, "headers": [*message["headers"], *((k, v) for k, v in more if k not in have)]}
            await send(message)

        await self._app(scope, receive, safe)

    def _refusal(self, method: str, path: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if sum(len(name) + len(value) for name, value in headers.raw) > MOST_HEADERS:
            return 431, "too much in the headers"
        if not self._host_fits(host):
            return 400, "this address is not one of the server's"
        origin = headers.get("origin")
        if method not in ("GET", "HEAD") and origin is not None and origin.lower() != f"http://{host.lower()}":
            return 403, "asked from another site"
        if self._token is None or path in OPEN_PATHS or self._known(headers):
            return None
        return 401, "a token is needed: Authorization: Bearer TOKEN, or the link printed at the start"

    def _host_fits(self, host: str) -> bool:
        """Against DNS rebinding: a foreign name that was made to point here is not answered."""
        name = host.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.rpartition(":")[0] or name
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_address  # an address cannot be rebound

    def _known(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._token is not None and _same(given.strip(), self._token):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and any(_same(cookie.value, session) for session in self._sessions)


SAFE = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


def _same(a: str, b: str) -> bool:
    """Whether two secrets are equal, in a time that tells nothing; half a character of JSON is no error."""
    return hmac.compare_digest(a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass"))
