import json
import shutil
import subprocess
import sys
from functools import partial

import pytest
import torch

from tfpose_rt.tools import bench_kernel, bench_variants, bench_workload, check_kernel, host_kernel, kernel_checks
from tfpose_rt.tools.host_kernel import HostLauncher
from tfpose_rt.tools.kernel_cases import Case

NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="the kernel's CPU build needs g++")
pytestmark = pytest.mark.usefixtures("quick_builds")


class WithGuards(HostLauncher):
    """Compiles what the steps behind the cases need along with the cases', in one go."""

    def prepare(self, expressions):
        more = {Case(dtype=torch.float16, channels=channels, heads=8) for channels in (32, 24)}
        super().prepare({*expressions, *kernel_checks.instances(more)} if not self._libraries else expressions)


@NEEDS_COMPILER
def test_check_recipe_runs_dry(monkeypatch):
    monkeypatch.setattr(host_kernel, "HostLauncher", WithGuards)
    repeat = kernel_checks.check_determinism
    monkeypatch.setattr(kernel_checks, "check_determinism", partial(repeat, runs=3))  # 20 in test_kernel_host
    told = []
    assert check_kernel.dry_run(told.append, [Case(channels=16)]) == 0
    assert any("guard bands" in line for line in told)
    assert "compute-sanitizer memcheck" in told[-1]


@NEEDS_COMPILER
def test_check_recipe_fails_when_a_step_does():
    class Wrong:
        def forward(self, *given):
            raise AssertionError

    def broken():
        return ["too large"]

    told = []
    steps = check_kernel.steps
    check_kernel.steps = lambda *given: iter([("a step", broken)])
    try:
        assert check_kernel.run(Wrong(), [], "cpu", False, told.append) == 1
    finally:
        check_kernel.steps = steps
    assert told == ["FAIL a step\n     too large"]


class AtOnce(HostLauncher):
    """Compiles in one go what the dry run would have compiled one by one, each behind the shim and all the source."""

    def __init__(self, folder, **named):
        super().__init__(folder, **named)
        names = ("unfused_forward", "floor_gather", "floor_blend", "unfused_backward", "floor_reds")
        self.prepare(
            f"{name}<{kind}, {kind}, {channels}, 8, 2, 4, 2, false{more}>"
            for channels, forward in ((24, "forward_a"), (16, "forward_b"))
            for kind in ("f16", "float")
            for name, more in (*((name, "") for name in names), (forward, ""), ("backward", ", false, 1"))
        )


@NEEDS_COMPILER
def test_bench_runs_dry_and_every_variant_is_right(tmp_path, monkeypatch):
    monkeypatch.setattr(host_kernel, "HostLauncher", AtOnce)
    assert bench_kernel.main(["--dry-run", "--json", str(tmp_path / "b.json")]) == 0
    body = json.loads((tmp_path / "b.json").read_text())
    assert "dry run" in body["environment"]["device"]
    for row in body["rows"]:
        assert not row["failed"]
        assert not row["times"]  # a dry run has nothing to say about speed
        assert set(row["right"]) == {"a", "c", "ours", "F1", "F2", "a fb", "c fb", "ours fb", "reds"}


@NEEDS_COMPILER
def test_a_wrong_variant_is_not_timed(tmp_path, monkeypatch):
    from tfpose_rt.ops.launch import Kernel
    from tfpose_rt.ops.source import kernel_source

    source = kernel_source(bench=True).replace("sum += a * c.w *", "sum += c.w *")
    kernel = Kernel(HostLauncher(tmp_path, source=source))
    x = bench_workload.workload(
        bench_workload.BenchCase("small", (4, 3, 2, 2), 1, 5, 16), bench_kernel.DTYPES["fp32"], "1", kernel, "cpu", 0
    )
    problem, _ = bench_kernel.wrong("c", bench_variants.unfused(x), x)
    assert "of the norm" in problem


def test_bench_without_a_gpu_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench_kernel.main([]) == 6
    assert "--dry-run" in capsys.readouterr().out


def test_kernel_tools_need_neither_typer_nor_ultralytics():
    code = (
        "import sys\n"
        "for name in ('typer', 'rich', 'ultralytics', 'cv2', 'cupy', 'scipy'): sys.modules[name] = None\n"
        "import tfpose_rt.tools.bench_kernel, tfpose_rt.tools.check_kernel, tfpose_rt.ops.cupy_kernel\n"
        "import tfpose_rt.ops.deform_attn\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_columns_are_named_once():
    assert len(set(bench_kernel.COLUMNS)) == len(bench_kernel.COLUMNS)
    assert bench_kernel.HEADER.count("|") == len(bench_kernel.COLUMNS) + 8 - 1 + 1


def test_cases_cover_the_models():
    names = [case.name for case in bench_workload.cases()]
    assert len(names) == len(set(names)) == 16
    assert "enc 3L B=32" in names
    assert "dec 4L B=1" in names
