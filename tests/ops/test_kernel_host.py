"""The shipped CUDA source, run on the CPU lane by lane, against float64 oracles."""

import itertools
import re
from dataclasses import replace

import pytest
import torch

from tfpose_rt.assets import cuda_dir
from tfpose_rt.ops.launch import Kernel
from tfpose_rt.ops.plan import PARAMS_BYTES, POINTERS, STATICS, check, forward_plan
from tfpose_rt.ops.source import PARTS
from tfpose_rt.tools import kernel_cases, kernel_checks, kernel_oracles
from tfpose_rt.tools.host_kernel import HostLauncher
from tfpose_rt.tools.kernel_cases import Case, make

CASES = list(kernel_cases.representative())


def named(cases):
    return [pytest.param(case, id=case.name) for case in cases]


@pytest.mark.parametrize("case", named(CASES))
def test_forward_equals_the_oracles(kernel, case):
    assert kernel_checks.check_forward(kernel, case) == []


@pytest.mark.parametrize("case", named(CASES))
def test_backward_equals_the_oracle(kernel, case):
    assert kernel_checks.check_backward(kernel, case) == []


@pytest.mark.slow
@pytest.mark.parametrize("case", named(kernel_cases.exhaustive()))
def test_every_combination(kernel, case):
    assert kernel_checks.check_forward(kernel, case) + kernel_checks.check_backward(kernel, case) == []


def test_fixed_point_gradients_repeat_bit_by_bit(kernel):
    assert kernel_checks.check_determinism(kernel, CASES[1]) == []


def test_fixed_point_gradient_is_the_same_for_every_partition(kernel, launcher):
    x = make(CASES[1])
    found = []
    for blocks, threads in ((1, 32), (2, 96), (7, 64)):
        launcher.blocks, launcher.threads = blocks, threads
        found.append(kernel.backward(x.grad, *x.tensors, x.shapes, (True, True, True, True), True))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_a_gradient_that_is_not_finite_poisons_the_fixed_point_sum(kernel):
    x = make(CASES[1])
    x.grad[0, 0, 0] = torch.inf
    grad_value = kernel.backward(x.grad, *x.tensors, x.shapes, (True, True, True, True), True)[0]
    assert grad_value.isnan().all()


def test_a_weight_that_is_not_a_number_poisons_the_fixed_point_sum(kernel):
    x = make(CASES[1])
    x.logits[0, 1, 0, 0] = torch.nan
    grad_value, _, grad_logits, _ = kernel.backward(x.grad, *x.tensors, x.shapes, (True, True, True, True), True)
    assert grad_logits[0, 1, 0].isnan().all()
    assert grad_value.isnan().all()


def test_a_gradient_that_is_not_aligned_counts_all_the_same(kernel):
    """Dense, but one number into a larger tensor, as autograd hands out the gradient of a concatenation."""
    x = make(CASES[1])
    moved = torch.cat((x.grad.new_zeros(1), x.grad.flatten()))[1:].view_as(x.grad)
    assert moved.is_contiguous()
    assert moved.data_ptr() % 16
    given = (*x.tensors, x.shapes, (True, True, True, True), True)
    for got, expected in zip(kernel.backward(moved, *given), kernel.backward(x.grad, *given), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("blocks", [1, 2, 5, 11])
@pytest.mark.parametrize("threads", [32, 96, 1024])
def test_every_unit_is_done_once_whatever_the_launch(kernel, launcher, blocks, threads):
    # The shim refuses a byte of the output that is stored twice or never.
    case = CASES[1]
    x = make(case)
    oracle = kernel_oracles.loops(*x.tensors, x.shapes)
    launcher.blocks, launcher.threads = blocks, threads
    assert kernel_checks.compare("out", kernel.forward(*x.tensors, x.shapes, "A"), oracle, case.dtype) == []


@pytest.mark.parametrize(("units", "blocks"), [(1, 1), (7, 3), (1008, 132), (2**31 - 1, 132)])
def test_runs_are_contiguous_and_even(launcher, units, blocks):
    library = launcher.library(next(iter(sorted(kernel_checks.instances(CASES[:1])))))
    edges = [library.msda_run_start(units, block, blocks) for block in range(blocks + 1)]
    lengths = {b - a for a, b in itertools.pairwise(edges)}
    assert (edges[0], edges[-1]) == (0, units)
    assert max(lengths) - min(lengths) <= 1


def test_struct_is_packed_as_the_kernel_reads_it(launcher):
    library = launcher.library(next(iter(sorted(kernel_checks.instances(CASES[:1])))))
    assert library.msda_sizeof_params() == PARAMS_BYTES == POINTERS.size + STATICS.size


def test_crops_do_not_depend_on_the_number_of_multiprocessors(kernel, tmp_path_factory, launcher):
    x = make(CASES[1])
    wide = HostLauncher(launcher.folder, sms=132)
    assert torch.equal(kernel.forward(*x.tensors, x.shapes, "A"), Kernel(wide).forward(*x.tensors, x.shapes, "A"))


def test_variant_b_serves_small_decoders_only():
    small, big = make(Case()), make(replace(Case(), queries=65))
    for x, sms, kernel_name in ((small, 132, "forward_b"), (small, 1, "forward_a"), (big, 132, "forward_a")):
        plan = forward_plan(check(*x.tensors, x.shapes), x.tensors, sms)
        assert plan.expression.startswith(kernel_name)


def test_device_words_stay_in_the_header():
    # What the shim does not define cannot be tested on a CPU: only the header section may use it.
    device = re.compile(
        r"threadIdx|blockIdx|blockDim|gridDim|\basm\b|__shfl|__ldg|atomic|__(float|uint)|__sync|__CUDA|#include"
    )
    for part in PARTS:
        text = (cuda_dir() / part).read_text()
        plain = text.split("#endif  // ---- from here on, plain C++ ----")[-1]
        code = "\n".join(line.split("//")[0] for line in plain.splitlines())
        assert device.findall(code) == []
        assert "#include" not in "\n".join(line.split("//")[0] for line in text.splitlines())
