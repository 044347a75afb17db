"""Decoding with PyAV, packet by packet: every picture, upright, with its container time; errors counted, not fatal."""

from __future__ import annotations

import heapq
import math
import os
import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.error import EOFError as AvEOFError
from av.error import FFmpegError
from av.sidedata.sidedata import Type as SideDataType

from tfpose_rt.errors import InputError
from tfpose_rt.io.av_local import exact, open_local
from tfpose_rt.io.av_seek import Jump, plan
from tfpose_rt.records import Image

TEXT_DEMUXERS = {"tty", "bin", "xbin", "adf", "idf"}  # FFmpeg draws text files as "video"; nobody means that here
ERRORS_IN_A_ROW = 32  # of the container, without one packet between them
SLACK = 32  # pictures that may come out between an error and the place it belongs to (reordering)
Orientation = tuple[bool, bool, bool]  # transpose, then flip x, then flip y


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded picture, still in the decoder's own pixel format.

    Args:
        frame: PyAV's frame.
        stamp: container time in s, or None.
        lost: what the decoder said of each picture lost just before this one, in display order.
    """

    frame: Any
    stamp: float | None
    lost: tuple[str, ...] = ()


class AvReader:
    """The first real video stream of a file.

    Args:
        path: an existing file.
    Raises: InputError: FFmpeg cannot open it, it has no video stream, or no picture decodes.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.closed, self._lock = path, False, threading.Lock()
        try:
            self._container = open_local(path)
        except (FFmpegError, OSError, ValueError) as error:
            raise InputError(f"cannot read {path.name}", why=_reason(error), fix="a file that FFmpeg plays") from error
        streams = [s for s in self._container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams or self._container.format.name in TEXT_DEMUXERS:
            self._container.close()
            raise InputError(f"{path.name} holds no video", why="no video stream in it", fix="another file")
        self.stream = streams[0]
        self.stream.thread_type = "AUTO"
        self.stream.codec_context.thread_count = min(4, os.cpu_count() or 1)  # each thread holds frames: keeps 4K small
        self.errors = 0  # pictures that could not be decoded, and damaged places in the container
        self.packets = 0  # seen in the container, edit-listed ones included
        self.trailing: tuple[str, ...] = ()  # errors after the last picture; set at the end
        self._pictures = self._decode()
        first = next(self._pictures, None)
        if first is None:
            self._container.close()
            raise InputError(f"{path.name} holds no picture", why=f"{self.errors} decoder errors", fix="another file")
        self.orientation = orientation(first.frame)
        self.size: tuple[int, int] = (first.frame.width, first.frame.height)  # W, H as stored, px
        self.origin = first.stamp or 0.0  # container time of the first picture, s
        self._first: Picture | None = first

    @property
    def time_base(self) -> Fraction:
        """Unit of the stream's stamps, s."""
        return exact(self.stream.time_base) or Fraction(1, 90000)

    @property
    def rate(self) -> Fraction | None:
        """Nominal pictures a second."""
        return exact(self.stream.guessed_rate) or exact(self.stream.average_rate)

    @property
    def variable(self) -> bool:
        """Whether the container's average and base rates disagree, which is how a variable rate shows up front."""
        average, base = exact(self.stream.average_rate), exact(self.stream.base_rate)
        return average is not None and base is not None and abs(float(average / base) - 1) > 0.01

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return str(self.stream.codec_context.codec.canonical_name)

    @property
    def frames(self) -> int | None:
        """The container's own count, when it gives one."""
        return self.stream.frames if self.stream.frames > 0 else None

    @property
    def duration(self) -> float | None:
        """Length of the video stream in s, when the container gives one."""
        if self.stream.duration:
            return float(self.stream.duration * self.time_base)
        with suppress(ValueError, IndexError):  # Matroska keeps it in a tag, "00:00:10.020000000"
            hours, minutes, seconds = self.stream.metadata.get("DURATION", "").split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        return self._container.duration / 1e6 if self._container.duration else None

    def __iter__(self) -> Iterator[Picture]:
        """Every picture, in display order, until the end or until it is closed."""
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        while True:
            with self._lock:
                picture = None if self.closed else next(self._pictures, None)
            if picture is None:
                return
            yield picture

    def close(self) -> None:
        """Release the file; safe from any thread while another one reads, and safe to call twice."""
        with self._lock:  # waits for the picture that is being decoded
            if not self.closed:
                self.closed = True
                self._pictures.close()
                self._container.close()

    def jump(self, start: float | None, index: int) -> Jump | None:
        """Go on from a key frame near the start of a part, where that is worth it; before the first picture is read.

        Args:
            start: container time of the first wanted picture, s, or None.
            index: number of the first wanted picture.
        Returns: where the next picture is, or None: decoding goes on from the start of the file.
        """
        stamp = None if start is None else math.ceil(round(start / self.time_base, 3))
        to = plan(self._path, self.stream.index, stamp, index)
        if to is None:
            return None
        with self._lock:
            try:
                self._container.seek(to.aim, stream=self.stream)
            except FFmpegError:
                return None
            self._pictures.close()
            self._first, self.errors, self.packets = None, 0, to.packets
            self._pictures = self._decode(to.pts)
        return to

    def _packets(self, begin: int | None) -> Iterator[Any]:
        """Packets, then one empty packet; a damaged place in the container is yielded as its message."""
        in_a_row = 0
        packets = self._container.demux(self.stream)
        while in_a_row < ERRORS_IN_A_ROW:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (FFmpegError, OSError) as error:
                in_a_row += 1
                packets = self._container.demux(self.stream)  # the generator is spent, the container is not
                yield _reason(error)
                continue
            in_a_row = 0
            if begin is not None and packet.size and packet.pts != begin:
                continue  # containers seek to somewhere before the key frame
            begin = None
            yield packet
        yield None

    def _decode(self, begin: int | None = None) -> Generator[Picture, None, None]:
        """Pictures from the packet with stamp `begin` on; those shown before it are left out."""
        waiting: list[int] = []  # stamps sent in and not yet out, smallest first
        failed: deque[tuple[str, int]] = deque()  # message, pictures out when it came
        out = 0
        for packet in self._packets(begin):
            if isinstance(packet, str):
                self.errors += 1
                failed.append((packet, out))
                continue
            if packet is not None and packet.size:
                self.packets += 1
                if packet.pts is not None and not packet.is_discard and packet.pts >= (begin or packet.pts):
                    heapq.heappush(waiting, packet.pts)
            for got in self._send(packet):
                if isinstance(got, str):
                    self.errors += 1
                    failed.append((got, out))
                    continue
                pts = got.pts if got.pts is not None else got.dts
                if begin is not None and pts is not None and pts < begin:
                    continue
                lost = _lost_before(pts, waiting, failed, out)
                out += 1
                yield Picture(got, None if pts is None else float(pts * self.time_base), lost)
        self.trailing = tuple(message for message, _ in failed)

    def _send(self, packet: Any) -> Iterator[Any]:
        """Frames that come out for one packet, then the message of an error, if any; None or empty drains."""
        last = packet is None or not packet.size
        for _ in range(ERRORS_IN_A_ROW if last else 1):
            try:
                yield from self.stream.codec_context.decode(None if last else packet)
            except AvEOFError:
                return
            except FFmpegError as error:
                yield _reason(error)
                continue  # draining goes on behind an error
            return


def to_bgr(frame: Any, turn: Orientation) -> Image:
    """A decoded frame as an upright (H, W, 3) uint8 BGR array, read-only."""
    image: npt.NDArray[Any] = frame.to_ndarray(format="bgr24")
    transpose, flip_x, flip_y = turn
    if transpose:
        image = image.transpose(1, 0, 2)
    image = np.ascontiguousarray(image[:: -1 if flip_y else 1, :: -1 if flip_x else 1])
    image.flags.writeable = False
    return image


def orientation(frame: Any) -> Orientation:
    """How to turn a frame upright, from its display matrix; any of the eight EXIF-like orientations."""
    data = frame.side_data.get(SideDataType.DISPLAYMATRIX)
    if data is None:
        return False, False, False
    # Row vectors: (p, q) of the stored picture goes to (a p + c q, b p + d q) of the shown one.
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), "<i4").tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def clockwise(turn: Orientation) -> int:
    """Degrees clockwise of an orientation (0, 90, 180, 270); a mirror that comes with it is not counted."""
    transpose, flip_x, flip_y = turn
    if transpose:
        return 90 if flip_x else 270
    return 180 if flip_x and flip_y else 0


def from_degrees(degrees: int) -> Orientation:
    """The orientation that turns a picture clockwise by 0, 90, 180 or 270 degrees."""
    return {
        0: (False, False, False), 90: (True, True, False), 180: (False, True, True), 270: (True, False, True),
    }[degrees]  # fmt: skip


def _lost_before(pts: int | None, waiting: list[int], failed: deque[tuple[str, int]], out: int) -> tuple[str, ...]:
    """Messages of the pictures that should have come before `pts` and did not.

    A decoder reports an error later than the picture it belongs to; the stamp that went in and never came out tells
    the place.
    """
    missing = 0
    while waiting and pts is not None and waiting[0] <= pts:
        missing += heapq.heappop(waiting) < pts
    overdue = sum(out - at > SLACK for _, at in failed)
    count = len(failed) if pts is None else min(len(failed), max(missing, overdue))
    return tuple(failed.popleft()[0] for _ in range(count))


def _reason(error: BaseException) -> str:
    """The cause in FFmpeg's words, without the file's path."""
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:]
