"""The kernel's correctness recipe on a GPU: `python -m tfpose_rt.tools.check_kernel`; needs torch and CuPy only.

Every case against the oracles, guard bands, repeatability, streams, graph capture, a second device where there is
one, then itself again under compute-sanitizer. `--dry-run` goes through it without a GPU, on the kernels' CPU build.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tfpose_rt.errors import TfposeError
from tfpose_rt.ops.launch import Kernel
from tfpose_rt.tools import kernel_cases, kernel_checks
from tfpose_rt.tools.bench_kernel import environment, print_line
from tfpose_rt.tools.kernel_cases import Case, make

TOOLS = ("memcheck", "racecheck", "initcheck")
UNPOOLED = "PYTORCH_NO_CUDA_MEMORY_CACHING"  # an allocation for each tensor: memcheck sees the edges of these alone
GUARD = 4096  # bytes before and after the output
PATTERN = 0xA5
Step = tuple[str, Callable[[], list[str]]]


def check_guards(kernel: Kernel, case: Case, device: str) -> list[str]:
    """The output between two bands of a pattern: the bands stay, and no byte of the output stays unwritten."""
    x = make(case, device)
    found = []
    for variant in kernel_checks.VARIANTS:
        size = x.grad.numel() * x.grad.itemsize
        whole = torch.full((2 * GUARD + size,), PATTERN, dtype=torch.uint8, device=device)
        out = whole[GUARD : GUARD + size].view(x.grad.dtype).view(x.grad.shape)
        kernel.forward(*x.tensors, x.shapes, variant, out)
        for name, band in (("before", whole[:GUARD]), ("after", whole[GUARD + size :])):
            if not bool((band == PATTERN).all()):
                found.append(f"forward {variant} writes {name} its output")
        if not torch.equal(out, kernel.forward(*x.tensors, x.shapes, variant)):
            found.append(f"forward {variant} leaves bytes of its output unwritten")
    return found


def check_graph(kernel: Kernel, case: Case) -> list[str]:
    """Captured once, replayed on other inputs."""
    x, y = make(case, "cuda"), make(replace(case, logits="equal"), "cuda")
    kernel.forward(*x.tensors, x.shapes)  # loads the module: not allowed inside a capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = kernel.forward(*x.tensors, x.shapes)
    for mine, other in zip(x.tensors, y.tensors, strict=True):
        mine.copy_(other)
    graph.replay()
    torch.cuda.synchronize()
    same = torch.equal(out, kernel.forward(*y.tensors, y.shapes))
    return [] if same else ["a replayed graph does not see changed inputs"]


def check_streams(kernel: Kernel, case: Case) -> list[str]:
    """Two streams at once, each behind a long wait of its own: launched elsewhere, the kernel would run too early."""
    inputs = [make(replace(case, batch=b), "cuda") for b in (1, 2)]
    expected = [kernel.forward(*x.tensors, x.shapes) for x in inputs]
    late = [x.value.clone() for x in inputs]
    for x in inputs:
        x.value.zero_()
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in inputs]  # type: ignore[no-untyped-call]
    got: list[Tensor] = []
    for stream, x, value in zip(streams, inputs, late, strict=True):
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)  # type: ignore[no-untyped-call]
            x.value.copy_(value)
            got.append(kernel.forward(*x.tensors, x.shapes))
    torch.cuda.synchronize()
    same = all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    return [] if same else ["the kernel does not run on torch's current stream"]


def check_second_device(kernel: Kernel, case: Case) -> list[str]:
    """The tensors' device, not the current one, is where it runs."""
    return kernel_checks.check_forward(kernel, case, "cuda:1")


def sanitizer(tool: str) -> list[str]:
    """This recipe's small cases under one tool of compute-sanitizer."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return ["compute-sanitizer is not on the path: install the CUDA toolkit's, or pass --no-sanitizer"]
    own = (sys.executable, "-m", "tfpose_rt.tools.check_kernel", "--small", "--no-sanitizer")
    # Calls that fail raise errors of their own here; torch makes some that may.
    options = ("--tool", tool, "--error-exitcode", "9", "--report-api-errors", "no")
    done = subprocess.run(
        (program, *options, *own), capture_output=True, text=True, check=False, env={**os.environ, UNPOOLED: "1"}
    )
    return [] if done.returncode == 0 else [f"{tool}: exit code {done.returncode}: {done.stdout[-1500:]}"]


def steps(kernel: Kernel, cases: Iterable[Case], device: str, with_sanitizer: bool) -> Iterator[Step]:
    """The recipe: a name and a function that returns what is wrong."""
    for case in cases:
        yield f"forward  {case.name}", partial(kernel_checks.check_forward, kernel, case, device)
        yield f"backward {case.name}", partial(kernel_checks.check_backward, kernel, case, device)
    plain = Case(dtype=torch.float16, channels=32, heads=8)
    yield "guard bands", lambda: check_guards(kernel, plain, device)
    yield "guard bands, padding lanes", lambda: check_guards(kernel, replace(plain, channels=24, queries=65), device)
    yield "20 deterministic backward runs", lambda: kernel_checks.check_determinism(kernel, plain, device)
    if device != "cuda":
        return
    if not os.environ.get(UNPOOLED):  # a graph's memory comes from a pool
        yield "graph capture and replay", lambda: check_graph(kernel, plain)
    yield "two streams", lambda: check_streams(kernel, plain)
    if torch.cuda.device_count() > 1:
        yield "second device", lambda: check_second_device(kernel, plain)
    for tool in TOOLS if with_sanitizer else ():
        yield f"compute-sanitizer {tool}", partial(sanitizer, tool)


def small_cases() -> list[Case]:
    """The representative cases of few queries, for runs a hundred times slower."""
    return [case for case in kernel_cases.representative() if case.queries <= 17]


def run(kernel: Kernel, cases: Iterable[Case], device: str, with_sanitizer: bool, tell: Callable[[str], None]) -> int:
    """Go through the recipe; returns how many steps failed."""
    failed = 0
    for name, step in steps(kernel, cases, device, with_sanitizer):
        found = step()
        failed += bool(found)
        tell(f"{'FAIL' if found else 'ok  '} {name}" + "".join(f"\n     {what}" for what in found))
    return failed


def dry_run(tell: Callable[[str], None], cases: Iterable[Case] | None = None) -> int:
    """The recipe on the CPU build; what needs a device is named, not run. Raises DeviceError: no g++."""
    from tfpose_rt.tools.host_kernel import HostLauncher

    chosen = list(small_cases() if cases is None else cases)
    with tempfile.TemporaryDirectory() as folder:
        launcher = HostLauncher(Path(folder))
        launcher.prepare(kernel_checks.instances(chosen))
        failed = run(Kernel(launcher), chosen, "cpu", False, tell)
    skipped = ["graph capture and replay", "two streams", "second device", *(f"compute-sanitizer {t}" for t in TOOLS)]
    tell("not run without a GPU: " + ", ".join(skipped))
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0, 1 when a step failed, or an error's exit code."""
    parser = argparse.ArgumentParser(prog="check_kernel", description="Check the fused kernel on this GPU.")
    parser.add_argument("--small", action="store_true", help="only small cases, as under compute-sanitizer")
    parser.add_argument("--no-sanitizer", action="store_true", help="leave compute-sanitizer out")
    parser.add_argument("--dry-run", action="store_true", help="no GPU: the recipe on the kernels' CPU build")
    given = parser.parse_args(arguments)
    for name, value in environment().items():
        print_line(f"{name}: {value}")
    try:
        failed = _run(given)
    except TfposeError as error:
        print_line(f"error: {error}")
        return error.exit_code
    print_line(f"{failed} steps failed" if failed else "all steps passed")
    return 1 if failed else 0


def _run(given: argparse.Namespace) -> int:
    if given.dry_run:
        return dry_run(print_line)
    from tfpose_rt.ops.choice import kernel_choice
    from tfpose_rt.ops.cupy_kernel import kernel

    kernel_choice("fused", torch.device("cuda", 0))
    cases = small_cases() if given.small else [*kernel_cases.representative(), *kernel_cases.exhaustive()]
    return run(kernel(), cases, "cuda", not given.no_sanitizer, print_line)


if __name__ == "__main__":
    sys.exit(main())
