import pytest
import torch

from tfpose_rt.tools import bench_kernel


def test_the_host_is_timed_on_a_queue_that_never_fills(monkeypatch):
    """A full queue makes a launch wait for the device; emptying it is off the clock."""
    clock, queued, fullest = 0.0, 0, 0

    def call():
        nonlocal clock, queued, fullest
        clock, queued = clock + 3e-6, queued + 1
        fullest = max(fullest, queued)

    def synchronize():
        nonlocal clock, queued
        clock, queued = clock + 1, 0

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(bench_kernel.time, "perf_counter", lambda: clock)
    assert bench_kernel.host_cost(call, calls=1250, runs=2) == pytest.approx(3, rel=1e-3)
    assert fullest == 500
