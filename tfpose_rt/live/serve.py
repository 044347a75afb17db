"""The live view in a browser: one page, an annotated MJPEG stream, poses as server-sent events, figures, takes.

There is no TLS: off this machine, use it on a network you trust or through a tunnel (ssh -L).
"""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import json
import re
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tfpose_rt.errors import OutputError
from tfpose_rt.live.calls import RunEndedError
from tfpose_rt.live.guard import COOKIE, Guard
from tfpose_rt.live.hub import Hub
from tfpose_rt.live.session import Session

PATIENCE = 10.0  # s that one piece of a stream may take to be sent before the reader is dropped
ANSWER = 10.0  # s that starting or finishing a take may take
SENT = 128 * 1024  # bytes the system may hold for a viewer: what waits there is old when it is seen
MOST_BODY = 4096  # bytes of a request


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How the page is served.

    Args:
        host: address to bind.
        port: 0 = any free one.
        token: asked for when not None.
        video: whether pictures are streamed.
        max_clients: open streams of pictures and poses together.
        record: takes may be started from the page; they go to the session's folder.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    video: bool = True
    max_clients: int = 4
    record: bool = False


class LiveServer:
    """Serves one session until it is closed; the session itself runs on another thread.

    Args:
        session: the live run.
        hub: where the session publishes its results.
        options: how.
        listening: from `bind`, where the address was taken before; closed with the server.
    Raises: OutputError: the port is taken or may not be used.
    """

    def __init__(
        self, session: Session, hub: Hub, options: ServeOptions, listening: socket.socket | None = None
    ) -> None:
        self._session, self._hub, self._options = session, hub, options
        self.streams = 0  # open ones; only the server's own thread counts
        self._socket = listening or bind(options.host, options.port)
        self.port: int = self._socket.getsockname()[1]
        page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
        self._page, self._policy = page, _policy(page)
        routes = [
            Route("/", self._show_page, methods=["GET"]),
            Route("/session", self._exchange, methods=["POST"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/record", self._record, methods=["POST"]),
            Route("/poses", _Stream(self, "text/event-stream", self._events)),
            Route("/stream.mjpg", _Stream(self, "multipart/x-mixed-replace; boundary=frame", self._parts)),
        ]
        self.guard = Guard(Starlette(routes=routes), host=options.host, token=options.token)
        config = uvicorn.Config(
            self.guard,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # a viewer who leaves is no news
            access_log=False,
            server_header=False,
            limit_concurrency=options.max_clients + 32,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=16384,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="serve page", daemon=True)

    @property
    def url(self) -> str:
        """The page's address, with the one-time code where a token is asked for."""
        host = self._options.host
        shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname(), "": socket.gethostname()}.get(host, host)
        shown = f"[{shown}]" if ":" in shown else shown
        fragment = self.guard.link_fragment
        return f"http://{shown}:{self.port}/" + (f"#{fragment}" if fragment else "")

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and end all streams; safe to call twice."""
        self._server.should_exit = True
        self._hub.close()
        if self._thread.is_alive():
            self._thread.join(5)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    async def _show_page(self, _: Request) -> Response:
        return HTMLResponse(self._page, headers={"content-security-policy": self._policy})

    async def _exchange(self, request: Request) -> Response:
        """One-time code or token for a cookie."""
        if self._options.token is None:
            return Response(status_code=204)
        session = self.guard.exchange(str((await _json(request)).get("code", "")))
        if session is None:
            return PlainTextResponse("not the token, or a link used before\n", 401)
        answer = Response(status_code=204)
        answer.set_cookie(COOKIE, session, httponly=True, samesite="strict", path="/")
        return answer

    async def _health(self, _: Request) -> Response:
        return JSONResponse(self._state())

    def _state(self) -> dict[str, object]:
        take, info = self._session.takes.recording, self._session.stream.info
        return {
            **self._session.metrics.numbers(),
            "source": info.name,
            "size": list(info.size),
            "video": self._options.video,
            "may_record": self._options.record,
            "recording": None
            if take is None
            else {"file": take.name, "seconds": round(self._session.takes.seconds, 1)},
            "readers": self._hub.readers,
        }

    async def _record(self, request: Request) -> Response:
        """{"on": true} starts a take, {"on": false} ends it; the state afterwards."""
        if not self._options.record:
            return PlainTextResponse("recording was not allowed at start: --record DIR\n", 403)
        wanted = (await _json(request)).get("on")
        if not isinstance(wanted, bool):
            return PlainTextResponse('{"on": true} or {"on": false}\n', 400)

        def switch() -> dict[str, object]:
            if (self._session.takes.recording is not None) != wanted:
                self._session.toggle_recording()
            return self._state()  # now: the end of the run ends the take, too

        try:
            state = await asyncio.wait_for(asyncio.wrap_future(self._session.call(switch)), ANSWER)
        except TimeoutError:
            return PlainTextResponse("the run did not answer\n", 503)
        except RunEndedError:
            return PlainTextResponse("the run is over\n", 503)
        return JSONResponse(state, 200 if (state["recording"] is not None) == wanted else 500)

    async def _events(self) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        async for line in self._hub.records():
            yield line

    async def _parts(self) -> AsyncIterator[bytes]:
        async for jpeg in self._hub.pictures():
            yield b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)


class _Stream:
    """An answer that goes on: as an ASGI app, so that a reader who stops reading can be dropped."""

    def __init__(self, owner: LiveServer, kind: str, pieces: object) -> None:
        self._owner, self._kind, self._pieces = owner, kind, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        options, owner = self._owner._options, self._owner
        if scope["method"] != "GET":
            await PlainTextResponse("GET only\n", 405)(scope, receive, send)
        elif self._kind.startswith("multipart") and not options.video:
            await PlainTextResponse("pictures are off: --no-video\n", 404)(scope, receive, send)
        elif owner.streams >= options.max_clients:
            headers = {"retry-after": "5"}
            await PlainTextResponse("too many streams: --max-clients\n", 503, headers)(scope, receive, send)
        else:
            owner.streams += 1  # now: until the hub knows of it others may come
            pieces = self._pieces()  # type: ignore[operator]
            try:
                await self._send_all(pieces, receive, send)
            finally:
                owner.streams -= 1
                await pieces.aclose()

    async def _send_all(self, pieces: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
        head = [(b"content-type", self._kind.encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        gone = asyncio.ensure_future(_left(receive))
        try:
            while True:
                piece = asyncio.ensure_future(anext(pieces, None))
                await asyncio.wait({piece, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not piece.done():
                    piece.cancel()
                    await asyncio.gather(piece, return_exceptions=True)
                    return
                data = piece.result()
                if data is None:
                    await asyncio.wait_for(send({"type": "http.response.body", "body": b""}), PATIENCE)
                if data is None or gone.done():
                    return
                body = {"type": "http.response.body", "body": data, "more_body": True}
                await asyncio.wait_for(send(body), PATIENCE)
        except (TimeoutError, OSError):
            return  # it reads no more: its place is for somebody else
        finally:
            gone.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _json(request: Request) -> dict[str, object]:
    """The body as a JSON object; {} for anything else, and for a body over 4 KiB."""
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > MOST_BODY:
            return {}
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def bind(host: str, port: int) -> socket.socket:
    """Take an address, before anything slow is done for it; 0 = any free port.

    Raises: OutputError: it is taken or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    # "Reuse" means while old connections linger; on Windows it would mean while another server listens.
    alone = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
    server.setsockopt(socket.SOL_SOCKET, alone, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENT)  # handed on to each connection
    try:
        server.bind((host, port))
        server.listen(64)
    except (OSError, OverflowError) as error:
        server.close()
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        why = "the port is taken" if taken else getattr(error, "strerror", None) or str(error)
        raise OutputError(f"cannot serve on {host}:{port}", why=why, fix="--port 0 picks a free one") from error
    return server


def _policy(page: str) -> str:
    """A content security policy under which only this page's own script and style run."""

    def digests(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in found)

    return (
        f"default-src 'none'; script-src {digests('script')}; style-src {digests('style')}; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
