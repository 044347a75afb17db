"""Raw MJPEG on a pipe: JPEG pictures one after the other, as `ffmpeg -f mjpeg -` and camera tools write them."""

from __future__ import annotations

import os
import re
import select
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from tfpose_rt import clock
from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError
from tfpose_rt.io.images import decode_image
from tfpose_rt.records import Frame, Gap, Image, Segment, StreamInfo

CHUNK = 1 << 16
LARGEST = 64 << 20  # bytes of one JPEG; more means that this is not MJPEG
LOOK = 0.1  # s of silence after which it is seen whether the source was closed
MARKER = re.compile(
    rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL
)  # not stuffing, restart or fill: no length follows those


class MjpegSource:
    """JPEG pictures read from a pipe, every one of them.

    A pipe carries no times: with `options.fps` frame i is at i / fps, otherwise a frame's time is its arrival on the
    monotonic clock, counted from the first.

    Args:
        pipe: a binary file; standard input when not given.
        options: `fps`, `start`, `end`, `frames` and `stride` apply.
    Raises: InputError: no JPEG arrives before the pipe ends.
    """

    live = False

    def __init__(self, pipe: BinaryIO | None = None, options: SourceOptions | None = None) -> None:
        self._options = options or SourceOptions()
        self.decode_errors = 0
        self.ended = "eof"
        self._closed = threading.Event()
        self._jpegs = split_jpegs(self._chunks(pipe))
        data = next(self._jpegs, None)
        image = None if data is None else decode_image(np.frombuffer(data, np.uint8))
        if data is None or image is None:
            raise InputError("no picture on standard input", why="no JPEG came", fix="ffmpeg -i IN -f mjpeg - | …")
        self._first: bytes | None = data
        self._begin = clock.now()
        self.info = StreamInfo(
            kind="stdin", name="stdin", size=(image.shape[1], image.shape[0]), fps=self._options.fps, codec="mjpeg",
            variable=self._options.fps is None, detail={"time_base_kind": "monotonic"},
        )  # fmt: skip

    def _pictures(self) -> Iterator[tuple[float, Image | None]]:
        """Time and picture; None for a picture that cannot be decoded."""
        fps, last = self._options.fps, -1e-6
        data, self._first = self._first, None
        index = 0
        while data is not None:
            arrival = 0.0 if index == 0 else clock.now() - self._begin
            pts = index / fps if fps else max(arrival, last + 1e-6)  # strictly increasing, however fast they come
            yield round(pts, 6), decode_image(np.frombuffer(data, np.uint8))
            last, index = pts, index + 1
            data = next(self._jpegs, None)

    def __iter__(self) -> Iterator[Frame | Gap | Segment]:
        """Frames, and a gap for each picture that cannot be decoded."""
        options, size, first = self._options, self.info.size, None
        begin, stop = options.frames or (0, None)
        for index, (pts, image) in enumerate(self._pictures()):
            if (stop is not None and index >= stop) or (options.end is not None and pts >= options.end):
                self.ended = "limit"
                return
            if index < begin or pts < (options.start or 0.0):
                continue
            if image is None:
                self.decode_errors += 1
                yield Gap(reason="decode_error", t_start=pts, t_end=pts, seq_from=index, seq_to=index, detail="JPEG")
                continue
            if (image.shape[1], image.shape[0]) != size:
                size = (image.shape[1], image.shape[0])
                yield Segment(size=size, fps=options.fps)
            first = index if first is None else first
            if (index - first) % options.stride == 0 and index >= options.skip_to:
                yield Frame(index=index, pts=pts, image=image, seq=index)
        self.ended = "decode_error" if self.decode_errors else "eof"

    def close(self) -> None:
        """Read no more; the pipe itself belongs to whoever opened it. Safe from any thread."""
        self._closed.set()

    def _chunks(self, pipe: BinaryIO | None) -> Iterator[bytes]:
        """What comes down the pipe, as it comes, until its end or until the source is closed."""
        if pipe is not None:
            read = getattr(pipe, "read1", pipe.read)
            while not self._closed.is_set() and (chunk := read(CHUNK)):
                yield chunk
            return
        # Past Python's buffer: a thread that waits inside it while the program ends would abort the interpreter.
        number = sys.stdin.fileno()
        while not self._closed.is_set():
            if sys.platform != "win32" and not select.select([number], [], [], LOOK)[0]:
                continue  # silent: time to see whether the source was closed
            chunk = os.read(number, CHUNK)
            if not chunk:
                return
            yield chunk


def split_jpegs(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a byte stream into whole JPEG pictures; bytes between pictures and a cut-off last one are left out.

    Raises: InputError: no picture ends within 64 MiB.
    """
    buffer, at, inside = bytearray(), 0, False  # each byte is looked at once: `at` is where to go on
    for chunk in chunks:
        buffer += chunk
        while True:
            if not inside:
                start = buffer.find(b"\xff\xd8", at)
                if start < 0:
                    at = max(len(buffer) - 1, 0)
                    break
                del buffer[:start]
                at, inside = 2, True
            at, ended = _scan(buffer, at)
            if not ended:
                break
            yield bytes(buffer[:at])
            del buffer[:at]
            at, inside = 0, False
        if len(buffer) > LARGEST:
            raise InputError("standard input is not MJPEG", why="no picture ends within 64 MiB", fix="-f mjpeg")


def _scan(data: bytearray, at: int) -> tuple[int, bool]:
    """Go on from `at` inside a JPEG: the index behind it and True, or where to go on with more bytes and False.

    Segments are stepped over by their length: a thumbnail inside one holds markers of its own.
    """
    while found := MARKER.search(data, at):
        at, marker = found.start(), data[found.end() - 1]
        if marker == 0xD9:
            return at + 2, True
        if marker == 0xD8:  # the picture before was cut off; this one starts a new one
            return at, True
        if at + 4 > len(data):
            return at, False
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return max(at, len(data) - 1), False  # the last byte may be the first of a marker
