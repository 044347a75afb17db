"""What reaches whoever iterates over a stream: every end, and times that never go back."""

from __future__ import annotations

import time

import numpy as np
import pytest
from fakes import BlockEstimator, ListSource, picture

from tfpose_rt.live.trails import Trails
from tfpose_rt.pipeline import Stream
from tfpose_rt.records import Gap, Poses, Segment, frozen

BLOCK = picture([(40, 60)])


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_source_of_the_callers_own_that_ends_the_program_does_not_leave_it_waiting(end: BaseException) -> None:
    with Stream(ListSource([BLOCK, BLOCK, end]), BlockEstimator()) as stream:
        assert [stream.take(20), stream.take(20)].count(None) == 0
        with pytest.raises(type(end)):
            stream.take(20)
        assert stream.finished


def test_a_model_that_ends_the_program_does_not_leave_it_waiting() -> None:
    class Leaves(BlockEstimator):
        def detect(self, images, *, steady=False):
            raise SystemExit(3)

    with Stream(ListSource([BLOCK]), Leaves()) as stream, pytest.raises(SystemExit):
        stream.take(20)


def test_the_time_of_results_never_goes_back_however_late_they_are_taken() -> None:
    lost = Gap(reason="decode_error", t_start=8 / 30, t_end=9 / 30, seq_from=9)
    items = [*[BLOCK] * 9, Segment(size=(320, 240)), BLOCK, lost, Segment(size=(320, 240)), *[BLOCK] * 3]
    with Stream(ListSource(items), BlockEstimator()) as stream:
        while len(stream._results) < 4:
            time.sleep(0.01)  # the model is ahead of whoever takes the results
        results = list(stream)
    times = [result.pts for result in results if result.gap is None]
    assert times == sorted(times)
    assert [result.pts for result in results if result.segment is not None] == [8 / 30, 9 / 30]


def test_a_frozen_file_stays_frozen_though_it_was_read_to_its_end() -> None:
    with Stream(ListSource([BLOCK] * 3, interval=0.05), BlockEstimator()) as stream:
        stream.pause(True)
        while not stream._frames.closed:
            time.sleep(0.01)
        time.sleep(0.2)
        assert stream.estimator.calls == []
        assert not stream.finished
        stream.pause(False)
        assert [result.frame for result in stream] == [0, 1, 2]


def test_a_trail_ends_where_the_size_of_the_picture_changes() -> None:
    trails = Trails()
    for pts, size in ((0.0, (640, 480)), (0.1, (640, 480)), (0.2, (320, 240)), (0.3, (320, 240))):
        place = frozen(np.full((1, 17, 2), size[1] / 2))
        trails.add(Poses(
            xy=place, scores=None, boxes=frozen([[0, 0, 9, 9]]), box_scores=frozen([0.9]), ids=frozen([0], np.int64),
            pts=pts, size=size,
        ))  # fmt: skip
    assert trails.paths()[0][:, 0].tolist() == [[120, 120], [120, 120]]
