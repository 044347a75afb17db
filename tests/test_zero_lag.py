"""Smoothing afterwards: against SciPy's own Butterworth filter, hand-made figures, bad frames, breaks."""

from __future__ import annotations

import numpy as np
import pytest

from tfpose_rt.errors import UsageError
from tfpose_rt.records import Poses, Result
from tfpose_rt.zero_lag import ZeroLag, low_pass

RATE, STILL = 30, np.ones((1, 1))


def frame(index: int, pts: float, people: dict[int, float], **others: object) -> Result:
    """People by id, each with both coordinates of one joint at that place."""
    n = len(people)
    xy = np.repeat(np.array(list(people.values()), np.float32), 2).reshape(n, 1, 2)
    poses = Poses(
        xy=xy, scores=None, boxes=np.zeros((n, 4), np.float32), box_scores=np.ones(n, np.float32),
        ids=np.array(list(people), np.int64), frame=index, pts=pts, **others,  # type: ignore[arg-type]
    )  # fmt: skip
    return Result(frame=index, pts=pts, poses=poses)


def paths(results: list[Result], cutoff: float = 6.0) -> dict[int, np.ndarray]:
    """Each id's smoothed x, one value a frame in which it is."""
    smoother = ZeroLag(cutoff)
    smoother.learn(results)
    out: dict[int, list[float]] = {}
    for result in smoother.apply(results):
        if result.poses is not None:
            for row, number in enumerate(result.poses.ids.tolist()):
                out.setdefault(number, []).append(float(result.poses.xy_smooth[row, 0, 0]))
    return {number: np.array(values) for number, values in out.items()}


def alone(values: np.ndarray, cutoff: float = 6.0) -> np.ndarray:
    t = np.arange(len(values)) / RATE
    xy = np.repeat(values[:, None, None], 2, axis=2)
    return low_pass(t, xy, np.ones((len(values), 1)), cutoff)[:, 0, 0]


def test_alike_frames_pass_as_through_a_zero_lag_butterworth_filter() -> None:
    """SciPy's filter, of second order, both ways, its cut-off corrected for two passes as Winter says."""
    from scipy.signal import butter, sosfiltfilt  # which takes longer than the test

    rng = np.random.default_rng(0)
    t = np.arange(300) / RATE
    values = 300 + 50 * np.sin(2 * np.pi * 0.8 * t) + 10 * np.sin(2 * np.pi * 2.5 * t) + rng.normal(0, 2, 300)
    once = 4.0 / (np.sqrt(2) - 1) ** 0.25
    theirs = sosfiltfilt(butter(2, once, fs=RATE, output="sos"), values)
    inner = slice(15, -15)  # ends are padded there, and are not here
    assert np.abs(alone(values, 4.0) - theirs)[inner].max() < 0.15 * np.abs(values - theirs)[inner].max()


@pytest.mark.parametrize(
    ("hz", "passed"), [(1.0, 1 / (1 + 0.41421 / 6**4)), (6.0, 2**-0.5), (9.0, 1 / (1 + 0.41421 * 1.5**4))]
)
def test_the_amplitude_falls_as_stated(hz: float, passed: float) -> None:
    t = np.arange(1200) / 120  # at 120 fps, where samples hardly differ from a continuous path
    wave = np.sin(2 * np.pi * hz * t)
    xy = np.repeat(wave[:, None, None], 2, axis=2)
    out = low_pass(t, xy, np.ones((1200, 1)), 6.0)[120:-120, 0, 0]
    assert np.abs(out).max() == pytest.approx(passed, rel=0.02)


def test_nothing_lags_and_a_straight_line_stays() -> None:
    line = 5.0 + 3.0 * np.arange(40)
    np.testing.assert_allclose(alone(line, 1.0), line, atol=1e-6)  # its ends, too
    step = np.where(np.arange(61) < 30, 0.0, 1.0)
    step[30] = 0.5
    np.testing.assert_allclose(alone(step) + alone(step)[::-1], 1.0, atol=1e-9)  # the same from both sides


def test_a_frame_of_which_the_model_is_unsure_does_not_bend_the_others() -> None:
    t = np.arange(60) / RATE
    xy = np.zeros((60, 1, 2))
    xy[30] = 40.0
    errors = np.full((60, 1), 2.0)
    trusted = low_pass(t, xy, errors, 6.0)
    errors[30] = 40.0
    doubted = low_pass(t, xy, errors, 6.0)
    assert np.abs(trusted[29]).max() > 3
    assert np.abs(doubted).max() < 0.5


def test_uneven_times_are_taken_as_they_are() -> None:
    rng = np.random.default_rng(1)
    t = np.cumsum(rng.uniform(0.01, 0.06, 200))
    results = [frame(i, float(s), {0: 100 * np.sin(2 * np.pi * 0.5 * s)}) for i, s in enumerate(t)]
    np.testing.assert_allclose(paths(results)[0], 100 * np.sin(2 * np.pi * 0.5 * t), atol=0.5)


def test_somebody_who_was_away_starts_afresh() -> None:
    """Two seconds at 0, away for half a second, two seconds at 100: no frame knows of the other place."""
    here = [(i, 0.0) for i in range(60)] + [(i, 100.0) for i in range(75, 135)]
    places = dict(here)
    results = [frame(i, i / RATE, {3: places[i]} if i in places else {}) for i in range(135)]
    out = paths(results)[3]
    np.testing.assert_allclose(out, [x for _, x in here], atol=1e-4)


def test_a_short_absence_is_crossed_but_not_filled() -> None:
    results = [frame(i, i / RATE, {} if i in (20, 21) else {0: 2.0 * i}) for i in range(40)]
    out = paths(results)[0]
    assert len(out) == 38
    np.testing.assert_allclose(out, [2.0 * i for i in range(40) if i not in (20, 21)], atol=1e-4)


def test_other_pixels_start_afresh() -> None:
    sizes = [(640, 480)] * 30 + [(1280, 960)] * 30
    results = [frame(i, i / RATE, {0: 100.0 * (1 + (i >= 30))}, size=size) for i, size in enumerate(sizes)]
    np.testing.assert_allclose(paths(results)[0], [100.0] * 30 + [200.0] * 30, atol=1e-4)


def test_people_are_kept_apart_and_raw_points_stay() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 1, (60, 2))
    results = [frame(i, i / RATE, {0: 10 + noise[i, 0], 7: 500 + noise[i, 1]}) for i in range(60)]
    out = paths(results)
    assert np.abs(out[0] - 10).max() < 2
    assert np.abs(out[7] - 500).max() < 2
    assert np.std(np.diff(out[0], 2)) < 0.3 * np.std(np.diff(noise[:, 0], 2))
    assert results[5].poses.xy[0, 0, 0] == np.float32(10 + noise[5, 0])


def test_gaps_and_short_appearances_go_through() -> None:
    results = [frame(0, 0.0, {0: 1.0}), Result(frame=1, pts=0.1), frame(2, 0.15, {0: 9.0})]
    smoother = ZeroLag()
    smoother.learn(results)
    out = list(smoother.apply(results))
    assert out[1].poses is None
    assert [float(r.poses.xy_smooth[0, 0, 0]) for r in out if r.poses is not None] == [1.0, 9.0]


@pytest.mark.parametrize(
    "text", ["zero-lag:0", "zero-lag:-1", "zero-lag:x", "zero-lag:", "zero-lag:inf", "butterworth", "off"]
)
def test_a_wrong_word_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="zero-lag:6"):
        ZeroLag.parse(text)


def test_words() -> None:
    assert ZeroLag.parse("zero-lag").cutoff == 6.0
    assert ZeroLag.parse("zero-lag:2.5").cutoff == 2.5


def test_people_without_ids_are_refused() -> None:
    poses = frame(0, 0.0, {0: 1.0}).poses
    nameless = Poses(xy=poses.xy, scores=None, boxes=poses.boxes, box_scores=poses.box_scores)
    with pytest.raises(UsageError, match="no-track"):
        ZeroLag().learn([Result(poses=nameless)])


@pytest.mark.parametrize(("cutoff", "told"), [(14.9, False), (15.1, True), (20.0, True)])
def test_a_cutoff_beyond_half_the_frame_rate_is_told(
    caplog: pytest.LogCaptureFixture, cutoff: float, told: bool
) -> None:
    paths([frame(i, i / RATE, {0: float(i)}) for i in range(30)], cutoff)
    assert bool(caplog.records) is told
    assert not told or "30 frames a second hold nothing above 15 Hz" in caplog.text
