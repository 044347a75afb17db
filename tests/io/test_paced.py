"""A recording played as a camera: real time, newest wins, an end that is an end."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from tfpose_rt.config import SourceOptions
from tfpose_rt.io.paced import PacedSource
from tfpose_rt.io.sources import open_source
from tfpose_rt.io.synthetic import number_of
from tfpose_rt.records import Frame

SECOND = SourceOptions(end=1.0)


def test_it_takes_as_long_as_the_recording() -> None:
    source = PacedSource(open_source("synthetic:320x240@30", SECOND), SECOND)
    start = time.monotonic()
    frames = [f for f in source if isinstance(f, Frame)]
    assert time.monotonic() - start == pytest.approx(29 / 30, abs=0.25)
    assert source.live
    assert source.info.live
    assert source.info.kind == "synthetic"
    assert source.ended == "eof"
    assert [f.seq for f in frames] == [number_of(f.image) for f in frames]
    assert frames[-1].pts == pytest.approx(frames[-1].seq / 30, abs=0.05)


def test_it_begins_when_it_is_watched_and_not_while_a_model_loads() -> None:
    source = PacedSource(open_source("synthetic:320x240@30", SECOND), SECOND)
    time.sleep(0.8)
    frames = [f for f in source if isinstance(f, Frame)]
    assert (frames[0].seq, frames[0].pts, number_of(frames[0].image)) == (0, 0.0, 0)
    assert frames[-1].pts - frames[0].pts == pytest.approx(29 / 30, abs=0.25)
    never = PacedSource(open_source("synthetic:320x240@30", SECOND), SECOND)
    never.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("capture")]


def test_a_slow_reader_sees_the_newest_and_one_that_queues_sees_all() -> None:
    for drop, count in ((True, 9), (False, 30)):
        options = SourceOptions(end=1.0, drop=drop)
        source = PacedSource(open_source("synthetic:320x240@30", options), options)
        numbers = []
        for frame in source:
            assert isinstance(frame, Frame)
            numbers.append(number_of(frame.image))
            time.sleep(0.15 if drop else 0.04)
        assert numbers == list(range(30)) if not drop else len(numbers) <= count
        assert np.diff(numbers).min() >= 1
        source.close()
