"""What reaches whoever iterates over a stream: every end, and times that never go back."""

from __future__ import annotations

import time

import pytest
from fakes import BlockEstimator, ListSource, picture

from tfpose_rt.pipeline import Stream
from tfpose_rt.records import Gap, Segment

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
        def detect(self, images):
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
