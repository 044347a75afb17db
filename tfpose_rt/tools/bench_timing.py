"""How long calls take on a CUDA device and on the thread that launches them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

from tfpose_rt.tools.bench_variants import Call

FEWEST, LONGEST = 5, 0.5e6  # measurements of a variant, and µs after which it gets no more of them


def time_events(calls: Sequence[Call], repeats: int = 50, inner: int = 20) -> tuple[float, float, float]:
    """Median, p10 and p90 in µs a call by CUDA events, rotating over the calls' input sets; slow calls repeat less."""
    for call in calls:
        call()
    torch.cuda.synchronize()
    found: list[float] = []
    turn = 0
    while len(found) < repeats and (len(found) < FEWEST or sum(found) * inner < LONGEST):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        for _ in range(inner):
            calls[turn % len(calls)]()
            turn += 1
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end) * 1000 / inner)
    return _spread(found)


def time_graph(call: Call, inner: int = 20, repeats: int = 50) -> tuple[float, float, float]:
    """As `time_events`, of calls recorded in one CUDA graph."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(side):
        call()
    side.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(inner):
            call()
    median, low, high = time_events([graph.replay], repeats, 1)
    return median / inner, low / inner, high / inner


def host_cost(call: Call, calls: int = 2_000, runs: int = 5, burst: int = 500) -> float:
    """µs of the calling thread a call, without waiting for the device; the least of the runs.

    A queue of launches holds about a thousand: after each `burst` it is emptied, off the clock.
    """
    best = float("inf")
    for _ in range(runs):
        spent = 0.0
        for first in range(0, calls, burst):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(min(burst, calls - first)):
                call()
            spent += time.perf_counter() - start
        best = min(best, spent / calls * 1e6)
    torch.cuda.synchronize()
    return best


def _spread(found: list[float]) -> tuple[float, float, float]:
    cuts = statistics.quantiles(found, n=10)
    return statistics.median(found), cuts[0], cuts[-1]
