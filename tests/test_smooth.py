"""The One Euro filter against hand-made figures: rest, motion, gaps, real time steps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tfpose_rt.errors import UsageError
from tfpose_rt.records import Poses
from tfpose_rt.smooth import Smoother


def poses(xy: np.ndarray, pts: float, *, ids: list[int] | None = None, new: list[bool] | None = None) -> Poses:
    xy = np.asarray(xy, np.float32)
    n = len(xy)
    return Poses(
        xy=xy,
        scores=None,
        boxes=np.zeros((n, 4), np.float32),
        box_scores=np.ones(n, np.float32),
        ids=np.array(ids if ids is not None else range(n), np.int64),
        new=None if new is None else np.array(new),
        pts=pts,
    )


def test_one_step_by_hand() -> None:
    """dt 0.1 s, 10 px step: speed = 100 px/s x 0.2pi/(1+0.2pi); cut-off = 1 + 0.05 x speed; the gain follows."""
    smoother = Smoother(1.0, 0.05)
    smoother.update(poses(np.zeros((1, 1, 2)), 0.0))
    out = smoother.update(poses(np.array([[[6.0, 8.0]]]), 0.1))
    gain = 0.2 * np.pi / (1 + 0.2 * np.pi)
    r = 2 * np.pi * (1 + 0.05 * 100 * gain) * 0.1
    np.testing.assert_allclose(out.xy_smooth[0, 0], np.array([6.0, 8.0]) * r / (1 + r), rtol=1e-6)
    np.testing.assert_array_equal(out.xy[0, 0], [6.0, 8.0])  # raw stays


def test_trembling_is_calmed_and_motion_is_followed() -> None:
    rng = np.random.default_rng(0)
    still, moving = Smoother(1.0, 0.05), Smoother(1.0, 0.05)
    noise = rng.normal(0, 1.0, (300, 1, 17, 2))
    rest, lag = [], []
    for i in range(300):
        rest.append(still.update(poses(100 + noise[i], i / 30)).xy_smooth)
        truth = np.full((1, 17, 2), 400.0 * i / 30)
        lag.append(np.abs(moving.update(poses(truth, i / 30)).xy_smooth - truth).max())
    assert np.std(np.diff(np.array(rest[30:]), axis=0)) < 0.6 * np.std(np.diff(noise[30:], axis=0))
    assert max(lag[30:]) < 400 / 30  # less than one frame behind at 400 px/s


def test_the_time_step_is_real() -> None:
    """A step response depends on seconds, not on how many frames they are cut into."""
    ends = []
    for rate in (60, 240):
        smoother = Smoother(1.0, 0.0)
        smoother.update(poses(np.zeros((1, 1, 2)), 0.0))
        for i in range(1, rate // 4 + 1):
            out = smoother.update(poses(np.ones((1, 1, 2)), i / rate))
        ends.append(out.xy_smooth[0, 0, 0])
    assert ends[0] == pytest.approx(1 - np.exp(-2 * np.pi / 4), abs=0.02)
    assert ends[0] == pytest.approx(ends[1], abs=0.02)


def test_new_ids_and_gaps_start_afresh() -> None:
    smoother = Smoother()
    smoother.update(poses(np.zeros((1, 1, 2)), 0.0, ids=[4]))
    far = np.full((1, 1, 2), 500.0)
    assert smoother.update(poses(far, 0.1, ids=[5])).xy_smooth[0, 0, 0] == 500
    assert smoother.update(poses(far, 0.7, ids=[4])).xy_smooth[0, 0, 0] == 500
    assert smoother.update(poses(far * 2, 0.8, ids=[4], new=[True])).xy_smooth[0, 0, 0] == 1000
    assert smoother.update(poses(far * 2, 0.9, ids=[5])).xy_smooth[0, 0, 0] == 1000  # 0.8 s unseen


def test_another_size_of_picture_starts_afresh() -> None:
    """The same place of a picture three times as large is elsewhere in px; nobody walked there."""
    smoother = Smoother()
    smoother.update(dataclasses.replace(poses(np.full((1, 1, 2), 100.0), 0.0), size=(640, 480)))
    large = dataclasses.replace(poses(np.full((1, 1, 2), 300.0), 0.1), size=(1920, 1440))
    assert smoother.update(large).xy_smooth[0, 0].tolist() == [300, 300]


def test_people_do_not_mix_when_their_rows_change_places() -> None:
    smoother = Smoother()
    a, b = np.zeros((1, 2)), np.full((1, 2), 900.0)
    smoother.update(poses(np.array([a, b]), 0.0, ids=[0, 1]))
    out = smoother.update(poses(np.array([b, a]), 0.1, ids=[1, 0]))
    np.testing.assert_allclose(out.xy_smooth[:, 0, 0], [900, 0])


def test_nobody_and_no_ids() -> None:
    smoother = Smoother()
    assert smoother.update(poses(np.zeros((0, 17, 2)), 0.0)).xy_smooth.shape == (0, 17, 2)
    no_ids = Poses(xy=np.zeros((1, 17, 2), np.float32), scores=None, boxes=np.zeros((1, 4)), box_scores=np.ones(1))
    with pytest.raises(ValueError, match="ids"):
        smoother.update(no_ids)


def test_a_year_of_passers_by_leaves_no_trace() -> None:
    smoother = Smoother()
    for i in range(2000):
        smoother.update(poses(np.zeros((1, 17, 2)), i * 0.1, ids=[i]))
    assert len(smoother._states) <= 6  # those of the last 0.5 s


@pytest.mark.parametrize(
    "text", ["one-euro:1", "one-euro:0,1", "one-euro:a,b", "kalman", "off:1", "one-euro:nan,1", "one-euro:1,inf"]
)
def test_settings_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="one-euro"):
        Smoother.parse(text)


def test_settings() -> None:
    assert Smoother.parse("off") is None
    assert Smoother.parse("one-euro") == Smoother(1.0, 0.05)
    assert Smoother.parse("one-euro:0.5,0.1") == Smoother(0.5, 0.1)
