import sys

import pytest
import torch

from tfpose_rt.ops import cpu_gather
from tfpose_rt.tools import bench_kernel, bench_timing, bench_variants, kernel_oracles
from tfpose_rt.tools.bench_workload import LARGE4, LEVELS4, BenchCase, oracle_of, workload
from tfpose_rt.tools.kernel_checks import NORM


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
    monkeypatch.setattr(bench_timing.time, "perf_counter", lambda: clock)
    assert bench_timing.host_cost(call, calls=1250, runs=2) == pytest.approx(3, rel=1e-3)
    assert fullest == 500


@pytest.mark.parametrize(("ms", "repeats"), [(0.02, 50), (30, 5)])
def test_slow_calls_are_timed_less_often(monkeypatch, ms, repeats):
    """Of 16 sizes, three types and three spreads, each variant's three timings of a thousand calls would take hours."""
    now, calls = 0.0, []

    def call():
        nonlocal now
        now += ms
        calls.append(now)

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = now

        def synchronize(self):
            pass

        def elapsed_time(self, other):
            return other.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert bench_timing.time_events([call]) == pytest.approx((ms * 1000,) * 3)
    assert len(calls) == 1 + 20 * repeats


def test_what_a_gpu_has_no_memory_for_is_left_out_and_no_failure(monkeypatch):
    def full(row, name, make, sets, timing):
        if name == "a fb":
            raise torch.OutOfMemoryError
        row.right.append(name)

    monkeypatch.setattr(bench_kernel, "_bench", full)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    case = BenchCase("enc small", (4, 3, 2, 2), 1, None, 16)
    options = bench_kernel.Options(device="cpu", timing=False, compiled=False)
    row = bench_kernel.bench_case(case, "fp32", "1", None, options)
    assert (row.skipped, row.failed) == (["a fb"], {})
    cells = dict(zip(bench_kernel.HEADER.split(" | "), bench_kernel.line(row).split(" | "), strict=True))
    assert (cells["a fb"], cells["ours fb"], cells["b"]) == ("memory", "right", "-")


def test_the_oracle_crop_by_crop_is_that_of_all():
    case = BenchCase("enc small", (4, 3, 2, 2), 3, 5, 16)
    x = workload(case, torch.float32, "1", None, "cpu", 0)
    leaves = [t.double().requires_grad_() for t in x.tensors[:3]]
    whole = kernel_oracles.loops(*leaves, x.ref, x.shapes)
    expected = torch.autograd.grad(whole, leaves, x.grad.double())
    for gradients, wanted in ((False, (whole,)), (True, expected)):
        parts = [oracle_of(x, crop, gradients) for crop in range(3)]
        for part, all_at_once in zip(zip(*parts, strict=True), wanted, strict=True):
            torch.testing.assert_close(torch.cat(part), all_at_once)


def test_the_versions_are_told_without_cupy(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Test GPU")
    monkeypatch.setitem(sys.modules, "cupy", None)
    told = bench_kernel.environment()
    assert told["device"] == "Test GPU"
    assert told["cupy"].startswith("none: ")


def through_cpu(x):
    """Gradients by the CPU's path, whose coordinates are float32 as the kernel's are."""
    return cpu_gather.backward(x.grad, *x.tensors, x.shapes, (True, True, True, False))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_points_on_pixel_edges_are_no_error_of_a_half_precision_gradient(dtype):
    """Offsets of few digits often lie on a whole pixel, where float32 and float64 stand on either side of a jump."""
    case = BenchCase("enc", (16, 12, 8, 6), 1)
    x = workload(case, dtype, "4", None, "cpu", 0)
    assert bench_kernel.wrong("ours fb", lambda: through_cpu(x), x)[0] == ""
    value, offsets, logits, _ = through_cpu(x)
    for broken in ((value, offsets * 1.01, logits), (value, offsets, logits.clone().fill_(torch.nan)), (value * 0,)):
        assert "of the norm" in bench_kernel.wrong("ours fb", lambda given=broken: given, x)[0]


@pytest.mark.parametrize("case", [BenchCase("dec 4L", LEVELS4, 1, 17), BenchCase("dec 384x288", LARGE4, 1, 17)])
def test_large_maps_are_right_within_what_a_float32_coordinate_can_tell(case):
    x = workload(case, torch.float32, "4", None, "cpu", 0)
    found = cpu_gather.forward(*x.tensors, x.shapes)
    problem, error = bench_kernel.wrong("ours", lambda: found, x)
    assert problem == ""
    assert error > NORM[torch.float32]  # which holds for small maps
    assert "of the norm" in bench_kernel.wrong("ours", lambda: found * (1 + 2e-5), x)[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_plain_baseline_is_right_at_the_models_sizes(dtype):
    x = workload(BenchCase("dec 4L", LEVELS4, 1, 17), dtype, "1", None, "cpu", 0)
    assert bench_kernel.wrong("a", bench_variants.plain(x), x)[0] == ""
    assert bench_kernel.wrong("a fb", bench_variants.plain_both(x), x)[0] == ""
