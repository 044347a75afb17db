"""The figures of a live run at rates of minutes to milliseconds, by a clock that the test sets."""

from collections import deque
from types import SimpleNamespace

import pytest

from tfpose_rt.live import metrics
from tfpose_rt.live.metrics import Metrics
from tfpose_rt.stats import Stats


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(time=1000.0)
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: now.time))
    return now


@pytest.mark.parametrize("step", [1 / 240, 1 / 30, 0.5, 1.5, 3.0, 20.0, 90.0])
def test_a_rate_is_that_of_the_last_frames_however_slow(clock, step):
    times = deque(maxlen=120)
    for _ in range(200):
        times.append(clock.time)
        clock.time += step
    assert metrics._rate(times) == pytest.approx(1 / step, rel=1e-6)


def test_a_rate_follows_and_ends_with_what_it_counts(clock):
    times = deque([990.0, 995.0, 1000.0], maxlen=120)
    assert metrics._rate(times) == pytest.approx(0.2)
    clock.time = 1000.1
    times.extend([1000.05, 1000.1])
    assert metrics._rate(times) == pytest.approx(20)
    clock.time = 1004.9
    assert metrics._rate(times) == 0  # 20 a second were here
    assert metrics._rate(deque([990.0, 995.0])) == pytest.approx(0.2)  # the next is due at 1000, or a little later
    clock.time = 1010.0
    assert metrics._rate(deque([990.0, 995.0])) == 0
    assert metrics._rate(deque([1009.0])) == 0


def test_a_slow_machine_is_shown_as_slow_not_as_stopped(clock):
    stream = SimpleNamespace(source=SimpleNamespace(captured=9), stats=Stats(), waiting=0, hiding=False)
    stream.run = SimpleNamespace(det_every=1)
    shown = Metrics(stream)
    frame = SimpleNamespace(t_capture=None, gap=None, poses=[None])
    for _ in range(3):
        shown.processed(frame)
        shown.shown(frame)
        clock.time += 8.0
    assert shown.short()[0] == "0.12 fps · 1 person · cpu torch"
    assert shown.numbers()["fps"] == 0.125
    assert "camera 0 · processed 0.12 · shown 0.12 fps" in [text for text, _ in shown.full()]
