"""Poses with known numbers, for the tests of every file format."""

import numpy as np

from tfpose_rt.config import RunConfig
from tfpose_rt.io.jsonl import JsonlSink, build_header
from tfpose_rt.records import Gap, Poses, Result, StreamInfo

INFO = StreamInfo(kind="file", name="clip one.mp4", size=(640, 480), fps=30.0, frames=6, duration=0.2, codec="h264")
SUMMARY = {"complete": True, "ended": "eof", "frames": 5, "exit_code": 0}


def header(info=INFO, sides="model", **more):
    return build_header(info, RunConfig(sides=sides), model={"name": "n", "sha256": "ab", "input": [192, 256]}, **more)


def poses(ids, frame=0, pts=0.0, *, scores=True, track=True, errors=False, swapped=False):
    """Person i has joint k at (100 i + k + 0.25, 200 + k + 0.5), score 0.5 + k / 100; a box 10 px around.

    Its error, where errors are asked for, is i + k / 4 px. Where swaps are asked for, even people's legs are.
    """
    n, k = len(ids), np.arange(17)
    xy = np.array([np.column_stack((100 * i + k + 0.25 + frame, 200 + k + 0.5)) for i in ids], np.float32)
    return Poses(
        xy=xy.reshape(n, 17, 2),
        scores=np.tile((0.5 + k / 100).astype(np.float32), (n, 1)) if scores else None,
        boxes=np.array([[100 * i - 10 + frame, 190, 100 * i + 26 + frame, 226] for i in ids], np.float32).reshape(n, 4),
        box_scores=np.full(n, 0.8, np.float32),
        errors=np.array([i + k / 4 for i in ids], np.float32).reshape(n, 17) if errors else None,
        swapped=np.array([[False, i % 2 == 0] for i in ids], bool).reshape(n, 2) if swapped else None,
        ids=np.array(ids, np.int64) if track else None,
        frame=frame, pts=pts, size=(640, 480), box_from=("detector",) * n, new=np.zeros(n, bool),
    )  # fmt: skip


def results(**options):
    """Frames 0..4 and 6 at 30 a second: nobody, one, two, one, nobody; frame 5 is lost."""
    people = {0: [], 1: [1], 2: [1, 2], 3: [2], 4: [], 6: [2]}
    for frame, ids in people.items():
        if frame == 6:
            yield Result(gap=Gap(reason="decode_error", t_start=4 / 30, t_end=0.2, seq_from=5, seq_to=5), pts=4 / 30)
        pts = round(frame / 30, 6)
        yield Result(frame=frame, pts=pts, poses=poses(ids, frame, pts, **options), seq=frame)


def recording(path, items, **told):
    """A finished JSONL recording of these results; its path. `told` is of the header."""
    sink = JsonlSink(path, header(**told))
    for item in items:
        sink.write(item)
    sink.close({"complete": True, "ended": "eof", "frames": len(items), "exit_code": 0})
    return path
