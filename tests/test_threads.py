"""Loading the detector must leave the process as it was: each case runs in an interpreter of its own.

What plain ultralytics does to one is seen in test_privacy.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import json, logging, os, sys, warnings
from tfpose_rt.device import usual_threads
usual = usual_threads()
assert "torch" not in sys.modules
import cv2, numpy as np, torch
taken = torch.get_num_threads()
{before}
def state():
    return {{
        "torch threads": torch.get_num_threads(), "interop": torch.get_num_interop_threads(),
        "cv2 threads": cv2.getNumThreads(), "torch print": repr(torch.tensor([1 / 3, 1e4, 1e-5])),
        "numpy print": repr(np.array([1 / 3, 1e4, 1e-5])) + repr(np.get_printoptions()), "save": torch.save.__module__,
        "imread": cv2.imread.__name__, "warnings": repr(warnings.filters), "seed": torch.initial_seed(),
        "random": torch.get_rng_state().tolist(),
        "variables": {{k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "ULTRALYTICS_"))}},
    }}
first = state()
from tfpose_rt.detect import PersonDetector
PersonDetector()
assert "ultralytics.nn.tasks" in sys.modules
print(json.dumps([first, state(), usual, taken]))
"""


@functools.cache
def run(before: str, **environment: str) -> list[Any]:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "ULTRALYTICS_")) and k != "OMP_NUM_THREADS"
    }
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=before)],
        env=kept | environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("\n") == 1  # no banner, no progress
    return json.loads(answer.stdout)


ONE = {"OMP_NUM_THREADS": "1"}
OTHER = "torch.set_num_threads(2); cv2.setNumThreads(2); np.set_printoptions(precision=3)"


@pytest.mark.parametrize(("before", "environment", "threads"), [("", ONE, 1), (OTHER, {}, 2)])
def test_the_process_is_as_it_was(before: str, environment: dict[str, str], threads: int) -> None:
    first, then, *_ = run(before, **environment)
    assert then == first
    assert then["torch threads"] == threads
    assert ("OMP_NUM_THREADS" in then["variables"]) == ("OMP_NUM_THREADS" in environment)


@pytest.mark.parametrize(("before", "environment"), [("", ONE), (OTHER, {})])
def test_threads_are_as_many_as_torch_takes(before: str, environment: dict[str, str]) -> None:
    """Known before torch is loaded, which decides when it is imported: seen in the same processes."""
    usual, taken = run(before, **environment)[2:]
    assert usual == taken


SPEED = """
import json, sys, time
if {guest!r}:
    from tfpose_rt.detect import PersonDetector  # before anything else, which is when it could do most harm
    PersonDetector()
    assert "ultralytics.nn.tasks" in sys.modules
import torch
draw = torch.Generator().manual_seed(0)
matrix, picture, kernel = (torch.rand(shape, generator=draw) for shape in ((640, 640), (4, 32, 96, 96), (32, 32, 3, 3)))
best = {{}}
with torch.inference_mode():
    for _ in range(60):
        for name, work in (("matmul", lambda: matrix @ matrix), ("conv", lambda: torch.conv2d(picture, kernel))):
            began = time.perf_counter()
            work()
            best[name] = min(best.get(name, 1e9), time.perf_counter() - began)
print(json.dumps(best))
"""


def seconds(*, guest: bool, threads: str = "") -> dict[str, float]:
    """The best times of a matrix product and a convolution in a new process, s."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "ULTRALYTICS_", "OMP_", "MKL_"))}
    answer = subprocess.run(
        [sys.executable, "-c", SPEED.format(guest=guest)], env=kept | ({"OMP_NUM_THREADS": threads} if threads else {}),
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return json.loads(answer.stdout)


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one thread is all there is")
def test_a_program_that_imports_this_one_computes_as_fast_as_before() -> None:
    """Nearer to the speed without the import than to that of one thread, which is what a careless import leaves.

    An attempt counts where one thread is slower at all, which it is not while others keep the machine busy.
    """
    told = []
    for _ in range(4):
        alone, single, beside = seconds(guest=False), seconds(guest=False, threads="1"), seconds(guest=True)
        if all(single[name] > 1.5 * alone[name] for name in alone):
            told.append((alone, single, beside))
            if all(beside[name] < (alone[name] + single[name]) / 2 for name in alone):
                return
    if not told:
        pytest.skip("this machine is too busy: one thread is as fast as all of them")
    pytest.fail(f"s alone, with one thread, and with the import: {told}")
