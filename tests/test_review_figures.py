"""The camera's rate while nothing comes of it: lost, frozen, or before a model that takes seconds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tfpose_rt.live import metrics
from tfpose_rt.live.metrics import Metrics
from tfpose_rt.stats import Stats


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run at 30 results a second of a camera of 60; `go(seconds, results, camera)` lets time pass."""
    now = SimpleNamespace(time=1000.0)
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: now.time))
    source = SimpleNamespace(captured=0)
    figures = Metrics(SimpleNamespace(source=source, stats=Stats()))  # type: ignore[arg-type]

    def go(seconds: float, *, results: float = 30, camera: float = 60) -> None:
        for _ in range(max(round(seconds * results), 1)):
            step = 1 / results if results else seconds
            now.time += step
            source.captured += round(step * camera)
            if results:
                figures.processed(SimpleNamespace(gap=None, poses=[]))  # type: ignore[arg-type]

    go(5)
    return SimpleNamespace(go=go, figures=figures)


def test_the_rate_of_a_camera_is_what_it_gives(run: Any) -> None:
    assert run.figures.camera_fps == pytest.approx(60, abs=1)
    run.go(5, camera=30)
    assert run.figures.camera_fps == pytest.approx(30, abs=1)


def test_a_camera_that_is_lost_gives_nothing(run: Any) -> None:
    run.go(2, results=0, camera=0)
    assert 20 < run.figures.camera_fps < 45  # over the seconds around the loss
    run.go(4, results=0, camera=0)
    assert run.figures.camera_fps == 0


def test_a_camera_goes_on_while_the_picture_is_frozen_and_before_a_slow_model(run: Any) -> None:
    run.go(60, results=0)
    assert run.figures.camera_fps == pytest.approx(60, abs=1)
    run.go(30, results=0.1)
    assert run.figures.camera_fps == pytest.approx(60, abs=1)


def test_before_the_first_result_there_is_no_rate() -> None:
    stream = SimpleNamespace(source=SimpleNamespace(), stats=Stats())
    assert Metrics(stream).camera_fps == 0  # type: ignore[arg-type]
