"""`bench kernel`: times the fused kernel against its floors and baselines, each result checked before it is timed.

Runs without typer or rich: `python -m tfpose_rt.tools.bench_kernel --json out.json`. `--dry-run` goes through every
step on a small input with the CPU build of the kernels; its times mean nothing and are not printed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tfpose_rt.errors import DeviceError, TfposeError
from tfpose_rt.ops.launch import Kernel
from tfpose_rt.tools import bench_variants as variants
from tfpose_rt.tools.bench_timing import host_cost, time_events, time_graph
from tfpose_rt.tools.bench_variants import Call, Workload
from tfpose_rt.tools.bench_workload import SPREADS, BenchCase, cases, oracle_of, workload
from tfpose_rt.tools.kernel_checks import away_from_kinks, norm_allowed

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
COPY_BYTES_A_US = 4.3e6  # an H200's measured device copy, for the floor of bytes


@dataclass(slots=True)
class Row:
    """One line of the table: microseconds a call as (median, p10, p90) for each variant, and what was found."""

    case: str
    dtype: str
    spread: str
    times: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    right: list[str] = field(default_factory=list)  # variants whose result was checked
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)  # what this GPU has too little memory for
    error: float = 0.0  # ours against the oracle, of the norm
    hbm_floor: float = 0.0


def forward_variants(compiled: bool) -> dict[str, Callable[[Workload], Call]]:
    """Name in the table: maker. F1's answer is no operator result and is checked on its own."""
    found: dict[str, Callable[[Workload], Call]] = {"a": variants.plain, "c": variants.unfused, "ours": variants.fused}
    if compiled:
        found["b"] = variants.compiled
    found["F1"] = lambda x: variants.floor(x, "floor_gather")
    found["F2"] = lambda x: variants.floor(x, "floor_blend")
    return found


BACKWARD: dict[str, Callable[[Workload], Call]] = {
    "a fb": variants.plain_both,
    "c fb": variants.unfused_both,
    "ours fb": variants.fused_both,
    "reds": variants.floor_reds,
}
LOOSE = ("a", "b", "a fb")  # computed in the value's dtype throughout: sanity only
# Timed in a CUDA graph, too; and the kernels they launch.
IN_GRAPHS = {"ours": "forward_a", "c": "unfused_forward", "F1": "floor_gather", "F2": "floor_blend"}


def wrong(name: str, call: Call, x: Workload) -> tuple[str, float]:
    """Why a variant may not be timed ("" if it may), and its error as a share of the oracle's norm."""
    got = call()
    if name == "F1":
        same = torch.equal(got.view(torch.uint8), variants.xor_of_corners(x).view(torch.uint8))
        return ("" if same else "does not load what it should"), 0.0
    found = (got,) if isinstance(got, Tensor) else tuple(got)[:3]
    if name == "a fb":  # its coordinates are of value's type too, and slopes jump where those are rounded over an edge
        found = found[:1]
    gradients = name not in ("F2", "a", "b", "c", "ours")
    parts = [oracle_of(x, crop, gradients) for crop in range(len(x.value))]
    pairs = [(got, torch.cat(part)) for got, part in zip(found, zip(*parts, strict=True), strict=False)]
    if len(pairs) == 3:
        pairs[1] = away_from_kinks(x, *pairs[1], keep=False)
    errors = [float((a.double() - b).norm() / b.norm().clamp_min(1e-30)) for a, b in pairs]
    error = math.inf if any(map(math.isnan, errors)) else max(errors)
    allowed = norm_allowed(found[0].dtype if name == "reds" else x.value.dtype, max(x.shapes))
    allowed = 0.3 if name in LOOSE else 4 * allowed if name == "c fb" else allowed
    return ("" if error <= allowed else f"error {error:.1e} of the norm, allowed {allowed:.0e}"), error


def bench_case(case: BenchCase, dtype: str, spread: str, kernel: Kernel, options: Options) -> Row:
    """Check, then time, every variant on one set of sizes."""
    x = workload(case, DTYPES[dtype], spread, kernel, options.device, 0)
    moved = sum(t.numel() * t.itemsize for t in (x.value, x.offsets, x.logits, x.grad))
    row = Row(case.name, dtype, spread, hbm_floor=moved / COPY_BYTES_A_US)
    sets = [x]
    if options.timing:
        cache = torch.cuda.get_device_properties(0).L2_cache_size
        sets += [
            workload(case, DTYPES[dtype], spread, kernel, options.device, s)
            for s in range(1, min(3 * cache // moved + 2, 64))
        ]
    makers = forward_variants(options.compiled) | (BACKWARD if options.backward else {})
    for name, make in makers.items():
        try:
            _bench(row, name, make, sets, options.timing)
        except torch.OutOfMemoryError:
            row.skipped.append(name)
            torch.cuda.empty_cache()
    if options.timing:
        row.times["copy warm"], row.times["copy cold"] = (
            time_events([variants.copy(s) for s in some]) for some in (sets[:1], sets)
        )
        row.times["host"] = (host_cost(variants.fused(x)),) * 3
    return row


def _bench(row: Row, name: str, make: Callable[[Workload], Call], sets: list[Workload], timing: bool) -> None:
    """Check one variant, then time it."""
    call = make(sets[0])
    problem, error = wrong(name, call, sets[0])
    row.error = error if name == "ours" else row.error
    if problem:
        row.failed[name] = problem
        return
    row.right.append(name)
    if timing:
        _time(row, name, [call, *(make(other) for other in sets[1:])])


def _time(row: Row, name: str, calls: list[Call]) -> None:
    row.times[name] = time_events(calls[:1])
    row.times[f"{name} again"] = time_events(calls[:1])  # a difference between the two is noise
    row.times[f"{name} cold"] = time_events(calls)
    if name in IN_GRAPHS:
        row.times[f"{name} graph"] = time_graph(calls[0])


@dataclass(frozen=True, slots=True)
class Options:
    """What to run: device is cuda, or cpu in a dry run, which times nothing."""

    device: str = "cuda"
    timing: bool = True
    backward: bool = True
    compiled: bool = True
    only: str = ""  # part of a case's name
    dtypes: tuple[str, ...] = tuple(DTYPES)
    spreads: tuple[str, ...] = SPREADS


def run(options: Options, kernel: Kernel, rows: Sequence[BenchCase], tell: Callable[[str], None]) -> list[Row]:
    """Time all rows, telling each as it is done."""
    done = []
    tell(HEADER)
    for case in rows:
        for dtype in options.dtypes if options.only in case.name else ():
            if options.compiled:  # after eight sets of sizes, it would run "b" uncompiled
                torch._dynamo.reset()
            for spread in options.spreads:
                done.append(bench_case(case, dtype, spread, kernel, options))
                tell(line(done[-1]))
    return done


COLUMNS = ("a", "b", "c", "ours", "ours graph", "F1", "F2", "a fb", "c fb", "ours fb", "reds", "host")
HEADER = "case | dtype | spread | " + " | ".join(COLUMNS) + " | HBM | ours/F2 | ours/F1 | c/ours | a/ours | error"


def line(row: Row) -> str:
    """One line of the table; a variant that failed its check shows why in place of a time."""
    times = {name: found[0] for name, found in row.times.items()}
    cells = []
    for name in COLUMNS:
        words = {"FAILED": row.failed, "memory": row.skipped, "right": row.right}
        untimed = next((word for word, names in words.items() if name in names), "-")
        cells.append(f"{times[name]:.1f}" if name in times else untimed)

    def ratio(over: str, under: str) -> str:
        return f"{times[over] / times[under]:.2f}" if over in times and under in times else "-"

    pairs = (("ours", "F2"), ("ours", "F1"), ("c", "ours"), ("a", "ours"))
    cells += [f"{row.hbm_floor:.1f}", *(ratio(*pair) for pair in pairs), f"{row.error:.1e}"]
    told = [f"\n  {name}: {why}" for name, why in row.failed.items()]
    return " | ".join((row.case, row.dtype, row.spread, *cells)) + "".join(told)


def environment() -> dict[str, str]:
    """The device and the versions that a table of times needs beside it."""
    if not torch.cuda.is_available():
        return {"device": "none: dry run on the CPU", "torch": torch.__version__}
    from tfpose_rt.ops.cupy_kernel import versions

    found = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    try:
        return found | versions()
    except (ImportError, OSError, RuntimeError) as error:  # a dry run needs no CuPy; what does need it says so itself
        return {**found, "cupy": f"none: {error}"}


def dry_run(tell: Callable[[str], None]) -> list[Row]:
    """Every step but timing, on small inputs, with the kernels' CPU build. Raises DeviceError: no g++."""
    from tfpose_rt.ops.source import kernel_source
    from tfpose_rt.tools.host_kernel import HostLauncher

    small = (BenchCase("enc dry", (4, 3, 2, 2), 2, None, 24), BenchCase("dec dry", (4, 3, 2, 2), 2, 5, 16))
    options = Options(device="cpu", timing=False, compiled=False, dtypes=("fp16", "fp32"), spreads=("1", "uniform"))
    with tempfile.TemporaryDirectory() as folder:
        return run(options, Kernel(HostLauncher(Path(folder), source=kernel_source(bench=True))), small, tell)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of `python -m tfpose_rt.tools.bench_kernel`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bench kernel", description="Time the fused deformable attention kernel.")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--only", default="", help="only cases whose name has this in it, such as 'enc 3L'")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="only these types")
    parser.add_argument("--no-backward", action="store_true", help="forward only")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile's baseline, the slowest")
    parser.add_argument("--dry-run", action="store_true", help="no GPU: check every step on the CPU, time nothing")
    given = parser.parse_args(arguments)
    try:
        rows = _run(given, lambda text: print_line(text))
    except TfposeError as error:
        print_line(f"error: {error}")
        return error.exit_code
    if given.json:
        body: dict[str, Any] = {"environment": environment(), "rows": [asdict(row) for row in rows]}
        given.json.write_text(json.dumps(body, indent=1))
    return 1 if any(row.failed for row in rows) else 0


def _run(given: argparse.Namespace, tell: Callable[[str], None]) -> list[Row]:
    if given.dry_run:
        return dry_run(tell)
    from tfpose_rt.ops.choice import kernel_choice
    from tfpose_rt.ops.cupy_kernel import CupyLauncher

    if not torch.cuda.is_available():
        raise DeviceError("bench kernel needs a GPU", why="torch finds none", fix="--dry-run")
    kernel_choice("fused", torch.device("cuda", torch.cuda.current_device()))
    for name, value in environment().items():
        tell(f"{name}: {value}")
    options = Options(
        backward=not given.no_backward,
        compiled=not given.no_compile,
        only=given.only,
        dtypes=tuple(given.dtype or DTYPES),
    )
    return run(options, Kernel(CupyLauncher(bench=True)), list(cases()), tell)


def print_line(text: str) -> None:
    """Write a line at once; the command line proper is typer's and may be absent here."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
