"""Small faults sown in the kernel's source: each must be caught, or the checks above prove little."""

import shutil
from dataclasses import dataclass, replace

import pytest

from tfpose_rt.ops.launch import Kernel
from tfpose_rt.ops.source import kernel_source
from tfpose_rt.tools import kernel_checks
from tfpose_rt.tools.host_kernel import HostLauncher, RefusedError
from tfpose_rt.tools.kernel_cases import Case

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="the kernel's CPU build needs g++"),
    pytest.mark.usefixtures("quick_builds"),
]

SMALL = Case(batch=2, queries=9, channels=24, shapes=(5, 4, 3, 2))
EDGES = replace(SMALL, where="edges", heads=8)
TINY = replace(SMALL, shapes=(1, 5, 4, 1))
BOXES = replace(SMALL, ref_dim=4, ref_levels=True)


@dataclass(frozen=True)
class Mutant:
    name: str
    old: str
    new: str
    case: Case = SMALL
    backward: bool = False
    says: str = ""  # part of what must be said about it


IN = "x > -1.f && y > -1.f && x < w && y < h"
THREE = replace(SMALL, shapes=(5, 4, 3, 2, 2, 2))
SLOPE = "u < 0.f ? 1.f : u < 1.f ? -1.f : 0.f"
DIVERGENT = "  const float scale = lane < 16 ? rcp(sum) : lane_xor(rcp(sum), 0);\n  UNROLL"
STORE = "if (g.live && wanted < C::D) store16"
MUTANTS = (
    Mutant("swapped weights", "top * x.w0, top * x.w1", "top * x.w1, top * x.w0"),
    Mutant("clamp off by one", "float(n - 2)", "float(n - 1)", EDGES),
    Mutant("no lower clamp", "fmaxf(fminf(floorf(x), float(n - 2)), 0.f)", "fminf(floorf(x), float(n - 2))", EDGES),
    Mutant("wrong owner lane", "share<GL>(mine, k % GL)", "share<GL>(mine, (k + 1) % GL)"),
    Mutant("lost reduction step", "m > 0; m /= 2) sum +=", "m > 1; m /= 2) sum +="),
    Mutant("outside points count", "const bool in = x > -1.f &&", "const bool in = x > -2.f &&", EDGES, True),
    Mutant("NaN taken for inside", IN, "!(x <= -1.f) && !(y <= -1.f) && !(x >= w) && !(y >= h)", EDGES, True),
    Mutant("height for width", "float(p.w[level]), h = float(p.h[level])", "float(p.h[level]), h = float(p.w[level])"),
    Mutant("half a pixel off", "fmaf(centre.x, w, -0.5f)", "fmaf(centre.x, w, 0.0f)"),
    Mutant("box scale", "size.x * w * (0.5f / C::P)", "size.x * w * (1.0f / C::P)", BOXES),
    Mutant("level's reference ignored", "p.ref_row + level * p.ref_level", "p.ref_row", BOXES),
    Mutant("far side of a narrow level", "TINY && n == 1 ? 0.f : far};", "far};", TINY),
    Mutant("step past a narrow level", "C::TINY && w == 1 ? 0 : C::ROW", "C::ROW", TINY),
    Mutant("repeated queries store", STORE, "if (wanted < C::D) store16", says="twice"),
    Mutant("padding lanes store", STORE, "if (g.live) store16", says="twice"),
    Mutant("warps past the end store", "real && want < p.queries", "want < p.queries", says="twice"),
    Mutant("run one too short", "(long long)units * block", "(long long)(units - 1) * block"),
    Mutant("collective under a branch", "  const float scale = rcp(sum);\n  UNROLL", DIVERGENT, says="divergent"),
    Mutant("fold's halves exchanged", "keep = upper ? acc[i + HALF] : acc[i]", "keep = upper ? acc[i] : acc[i + HALF]"),
    Mutant("B's lost point", "first < C::K; first += SIDE", "first + SIDE <= C::K; first += SIDE", THREE),
    Mutant("max forgotten", "top = fmaxf(top, e[s]);", "", replace(SMALL, logits="huge")),
    Mutant("batch stride", "p.value + g.b * p.value_batch", "p.value", replace(SMALL, strided=True)),
    Mutant("wrong corner", "r.token + down + right, r.w11", "r.token + down, r.w11", backward=True),
    Mutant("logit gradient without its mean", "a[i] * (grad[i].ga - mean)", "a[i] * grad[i].ga", backward=True),
    Mutant("slope's sign", SLOPE, "u < 0.f ? -1.f : u < 1.f ? -1.f : 0.f", EDGES, True),
    Mutant("slope at whole coordinates", "far = u < 0.f ? 0.f : u < 1.f", "far = u <= 0.f ? 0.f : u < 1.f",
           Case(batch=1, shapes=(8, 8, 4, 4), where="whole"), True),
    Mutant("transpose's halves", "(is_upper ? upper : lower) +", "(is_upper ? lower : upper) +", backward=True),
    Mutant("padding lanes in the dots", "s.g[i] = own ? s.g[i] : 0.f;", "s.g[i] = s.g[i];", backward=True),
    Mutant("repeated queries add", "MODE != SKIP && own && g.live", "MODE != SKIP && own", backward=True),
    Mutant("offset's scale", "at[i].sx * gx", "gx", BOXES, True),
    Mutant("fixed point too coarse", "ex2(float(p.fixed_bits))", "ex2(20.f)", backward=True),
    Mutant("reference's sum", "k / C::P == level ? terms", "k / C::P != level ? terms", backward=True),
)  # fmt: skip


@pytest.mark.parametrize("mutant", [pytest.param(m, id=m.name) for m in MUTANTS])
def test_mutant_is_caught(mutant, tmp_path):
    source = kernel_source()
    assert mutant.old in source, "the source has changed: move the mutant along"
    launcher = HostLauncher(tmp_path, source=source.replace(mutant.old, mutant.new))
    launcher.threads = 96  # three warps do not divide a run of units: some pass its end
    check = kernel_checks.check_backward if mutant.backward else kernel_checks.check_forward
    launcher.prepare(name for name in kernel_checks.instances([mutant.case]) if ("backward" in name) == mutant.backward)
    try:
        found = check(Kernel(launcher), mutant.case)
    except RefusedError as refusal:
        found = [str(refusal)]
    assert any(mutant.says in sentence for sentence in found)


SOUND = (SMALL, EDGES, TINY, BOXES)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory, quick_builds):
    launcher = HostLauncher(tmp_path_factory.mktemp("sound"))
    launcher.prepare(kernel_checks.instances(SOUND))
    return Kernel(launcher)


@pytest.mark.parametrize("case", SOUND)
def test_the_source_itself_passes_the_same_checks(case, kernel):
    assert kernel_checks.check_forward(kernel, case) + kernel_checks.check_backward(kernel, case) == []
