"""Streams on loopback that misbehave on demand: what a camera on a bad network does to its viewers."""

from __future__ import annotations

import base64
import itertools
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import av
import cv2
import numpy as np

from tfpose_rt.io.synthetic import number_of, pattern
from tfpose_rt.records import Image

_JPEGS: dict[tuple[int, tuple[int, int]], bytes] = {}


def jpeg(number: int, size: tuple[int, int]) -> bytes:
    """Test picture `number` as JPEG; the number can be read back from the picture."""
    key = number % 4096, size
    if key not in _JPEGS:
        _JPEGS[key] = cv2.imencode(".jpg", pattern(key[0], size), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return _JPEGS[key]


def made_up(images: Sequence[Image], sent: Iterable[int]) -> list[int]:
    """Places of pictures that were not sent so: of no number that was, not newer, or unlike the one of their number.

    The number of a black picture is 0, and the first one sent is 0, too: numbers alone do not tell.
    """
    known, newest, found = set(sent), -1, []
    for place, image in enumerate(images):
        number = number_of(image)
        truth = pattern(number, (image.shape[1], image.shape[0])).astype(int)
        if number not in known or number <= newest or np.abs(image.astype(int) - truth).mean() > 6:  # JPEG: 2 or 3
            found.append(place)
        newest = number
    return found


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MjpegServer:
    """An HTTP camera. Its attributes may be changed while it runs.

    Attributes:
        mode: "run"; "stall": connected but silent; "cut": JPEGs end half way; "drop": connections are closed.
        size: W, H of the pictures sent from now on.
        fps: pictures a second.
        login: "user:password" that is asked for, or None.
        sent: numbers of the pictures that went out whole, the one on its way included.
    """

    def __init__(self, *, size: tuple[int, int] = (320, 240), fps: float = 30, login: str | None = None) -> None:
        self.mode, self.size, self.fps, self.login = "run", size, fps, login
        self.sent: list[int] = []
        self.requests: list[str] = []
        self.redirect: str | None = None
        self.body: tuple[str, bytes] | None = None  # content type and bytes to send instead of a stream
        self.port = free_port()
        self._numbers = itertools.count()
        self._server: ThreadingHTTPServer | None = None
        self._ending = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video"

    def start(self) -> Self:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with suppress(OSError):
                    owner._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._ending = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Pull the cable: open connections end, new ones are refused, until `start`."""
        self._ending.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(request.path)
        expected = "Basic " + base64.b64encode((self.login or "").encode()).decode()
        if self.login and request.headers.get("Authorization") != expected:
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="camera"')
            request.end_headers()
            return
        if self.redirect:
            request.send_response(302)
            request.send_header("Location", self.redirect)
            request.end_headers()
            return
        request.send_response(200)
        if self.body:
            request.send_header("Content-Type", self.body[0])
            request.send_header("Content-Length", str(len(self.body[1])))
            request.end_headers()
            request.wfile.write(self.body[1])
            return
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        self._stream(request, self._ending)

    def _stream(self, request: BaseHTTPRequestHandler, ending: threading.Event) -> None:
        due = time.monotonic()
        while not ending.is_set() and self.mode != "drop":
            due = max(due + 1 / self.fps, time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))
            if self.mode == "stall":
                continue
            number = next(self._numbers)
            data = jpeg(number, self.size)
            data = data[: len(data) // 2] if self.mode == "cut" else data
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            if self.mode != "cut":  # noted first: it may be seen before the write returns
                self.sent.append(number % 4096)
            request.wfile.write(head.encode() + data + b"\r\n")


def h264(
    target: Any,
    seconds: float,
    *,
    size: tuple[int, int] = (320, 240),
    fps: int = 30,
    format: str = "mpegts",
    live: bool = True,
) -> Iterator[int]:
    """Encode test pictures into `target` (an address or a file object), paced by the clock when `live`."""
    options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "keyint=15"}
    with av.open(target, "w", format=format, options={"movflags": "faststart"} if format == "mp4" else {}) as out:
        stream = out.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        start = time.monotonic()
        for number in range(int(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pattern(number, size)), format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            for packet in stream.encode(frame):
                out.mux(packet)
            if live:
                time.sleep(max(0.0, start + (number + 1) / fps - time.monotonic()))
            yield number
        for packet in stream.encode(None):
            out.mux(packet)


class Sender(threading.Thread):
    """Runs `h264` in the background until told to end."""

    def __init__(self, target: Any, seconds: float = 60, **kwargs: Any) -> None:
        super().__init__(daemon=True)
        self._frames, self._ending = h264(target, seconds, **kwargs), threading.Event()
        self.start()

    def run(self) -> None:
        with suppress(OSError, ValueError, av.error.FFmpegError):
            for _ in self._frames:
                if self._ending.is_set():
                    self._frames.close()  # type: ignore[attr-defined]

    def end(self) -> None:
        self._ending.set()
        self.join(5)
