"""Where to start decoding for a part deep inside a long file, with the numbers that decoding from its start would give.

Only the packets' stamps are read up to there: in display order a packet's place among the stamps is its frame's number.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av.error import FFmpegError

from tfpose_rt.io.av_local import open_local
from tfpose_rt.io.times import WORTH

# One packet is one frame in these containers; VP8 hides frames, and others may keep two fields apart.
CONTAINERS = ("mp4", "matroska")
REORDER = 32  # frames by which decoding order and display order may differ, and more
CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "prores", "ffv1", "mjpeg")


@dataclass(frozen=True, slots=True)
class Jump:
    """A key frame to decode from.

    Args:
        pts: its stamp, in the stream's time base.
        aim: stamp of a key frame at or before it, to seek to.
        index: its number in the file.
        packets: packets of the stream before it, edit-listed ones included.
        stamps: of every frame up to a little behind the part's start, in display order.
    """

    pts: int
    aim: int
    index: int
    packets: int
    stamps: tuple[int, ...]


def plan(path: Path, number: int, start: int | None, index: int) -> Jump | None:
    """The jump to the first wanted frame; None where decoding from the start is as good, or the only sure way.

    Args:
        path: the file; it is opened a second time.
        number: of its video stream.
        start: stamp of the first wanted frame, or None.
        index: number of the first wanted frame. The later of both counts.
    """
    try:
        with open_local(path) as container:
            names, stream = container.format.name.split(","), container.streams[number]
            if not any(name in names for name in CONTAINERS) or stream.codec_context.codec.canonical_name not in CODECS:
                return None
            return _choose(container.demux(stream), start, index)
    except (FFmpegError, OSError):
        return None


def _choose(demuxed: Iterator[Any], start: int | None, index: int) -> Jump | None:
    stamps: list[int] = []
    keys: list[tuple[int, int]] = []  # stamp, packets before it
    behind = 0
    for packets, packet in enumerate(demuxed):
        if not packet.size:
            break
        if packet.pts is None:
            return None
        if packet.is_keyframe:
            keys.append((packet.pts, packets))
            behind += len(stamps) > index and (start is None or packet.pts > start)
            if behind > 1:  # pictures shown before a key frame may come after it in the file: look one further
                break
        if not packet.is_discard:
            stamps.append(packet.pts)
    stamps.sort()
    if len(set(stamps)) != len(stamps):
        return None  # repeated stamps: numbers cannot be told from them
    wanted = max(index, 0 if start is None else bisect_left(stamps, start))
    if wanted >= len(stamps):
        return None
    before = [key for key in keys if key[0] <= stamps[wanted]]
    if len(before) < 2:
        return None
    pts, count = before[-2]  # one key frame more than needed: pictures that lean on both sides of it come out whole
    place = bisect_left(stamps, pts)
    # Containers seek by decoding time, which runs ahead of a key frame's stamp: aim well before it.
    aim = max((stamp for stamp, packets in keys if packets <= count - REORDER), default=keys[0][0])
    return Jump(pts, aim, place, count, tuple(stamps)) if place >= WORTH else None
