"""The operator, the reference and the CPU path against the float64 oracles, and under torch's own checks."""

import warnings

import pytest
import torch
from torch import nn

from tfpose_rt.ops import cpu_gather
from tfpose_rt.ops.deform_attn import DECOMPOSITIONS, OPERATOR, ms_deform_attn, reference
from tfpose_rt.tools import kernel_cases, kernel_checks, kernel_oracles
from tfpose_rt.tools.kernel_cases import Case, make

CASES = [case for case in kernel_cases.representative() if case.logits != "none"]
SHAPES = (4, 3, 2, 2)


def inputs(dtype=torch.float32, ref_dim=2, grad=True, heads=4, channels=8):
    """Coordinates stay clear of whole pixels, where the derivative jumps."""
    draw = torch.Generator().manual_seed(7)
    value = torch.randn((1, 16, heads, channels), generator=draw, dtype=torch.float64)
    ref = torch.rand((1, 2, 1, ref_dim), generator=draw, dtype=torch.float64) + 0.1
    offsets = torch.randn((1, 2, heads, 2, 2, 2), generator=draw, dtype=torch.float64)
    for level, (h, w) in enumerate(((4, 3), (2, 2))):
        wh = torch.tensor([w, h], dtype=torch.float64)
        scale = ref[:, :, None, 0, None, 2:] * wh * 0.25 if ref_dim == 4 else 1.0
        base = ref[:, :, None, 0, None, :2] * wh - 0.5
        pixel = base + offsets[:, :, :, level] * scale
        clear = pixel.floor() + 0.1 + 0.8 * (pixel - pixel.floor())
        offsets[:, :, :, level] = (clear - base) / scale
    logits = torch.randn((1, 2, heads, 4), generator=draw, dtype=torch.float64)
    return [t.to(dtype).requires_grad_(grad) for t in (value, offsets, logits, ref)]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_reference_and_cpu_path_equal_the_oracle(case):
    x = make(case)
    oracle = kernel_oracles.loops(*x.tensors, x.shapes)
    for name, function in (("reference", reference), ("gather", cpu_gather.forward), ("operator", OPERATOR)):
        assert kernel_checks.compare(name, function(*x.tensors, x.shapes), oracle, case.dtype) == []


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_cpu_gradients_equal_the_oracle(case):
    class Cpu:
        """The CPU path with the kernel's methods, so that the same check serves it."""

        def backward(self, grad, value, offsets, logits, ref, shapes, needs, deterministic):
            return cpu_gather.backward(grad, value, offsets, logits, ref, shapes, needs)

    assert kernel_checks.check_backward(Cpu(), case) == []


@pytest.mark.parametrize("needs", [(True, True, True, True), (False, True, True, False)])
@pytest.mark.parametrize("empty", [{"batch": 0}, {"queries": 0}], ids=["no crop", "no query"])
def test_without_crops_or_queries_there_is_nothing_and_every_gradient_is_zero(empty, needs):
    x = make(Case(**empty))
    out = OPERATOR(*x.tensors, x.shapes)
    assert out.shape == x.grad.shape
    assert not out.numel()
    grads = cpu_gather.backward(x.grad, *x.tensors, x.shapes, needs)
    for given, grad, need in zip(x.tensors, grads, needs, strict=True):
        assert grad.shape == (given.shape if need else (0,))
        assert not grad.any()


def test_both_ways_of_scattering_values_gradient_agree(monkeypatch):
    x = make(Case(queries=130, channels=16))  # more points than tokens: sorted
    sorted_way = cpu_gather.backward(x.grad, *x.tensors, x.shapes, (True,) * 4)
    few = make(Case(queries=5, channels=16))
    for case in (x, few):
        leaves = [t.double().requires_grad_() for t in case.tensors]
        expected = torch.autograd.grad(kernel_oracles.loops(*leaves, case.shapes), leaves[0], case.grad.double())[0]
        got = cpu_gather.backward(case.grad, *case.tensors, case.shapes, (True,) * 4)[0]
        assert kernel_checks.compare("grad_value", got, expected, torch.float32) == []
    assert sorted_way[0].shape == x.value.shape


@pytest.mark.parametrize("ref_dim", [2, 4])
@pytest.mark.parametrize("function", [ms_deform_attn, OPERATOR, reference, kernel_oracles.loops])
def test_gradients_by_finite_differences(function, ref_dim):
    leaves = inputs(torch.float64, ref_dim, heads=2, channels=2)  # two calls for each of their numbers
    assert torch.autograd.gradcheck(lambda *t: function(*t, SHAPES), leaves)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # opcheck's own doing
@pytest.mark.parametrize("ref_dim", [2, 4])
def test_opcheck(ref_dim):
    torch.library.opcheck(OPERATOR, (*inputs(ref_dim=ref_dim), SHAPES))
    torch.library.opcheck(OPERATOR, (*inputs(ref_dim=ref_dim, grad=False), SHAPES))


def test_second_derivative_is_refused_in_words():
    leaves = inputs()
    for function in (OPERATOR, ms_deform_attn):
        (first,) = torch.autograd.grad(function(*leaves, SHAPES).square().sum(), leaves[0], create_graph=True)
        with pytest.raises(RuntimeError, match=r"second derivative|once_differentiable"):
            first.sum().backward()


def test_gradients_come_only_where_asked():
    value, offsets, logits, ref = inputs(grad=False)
    out = OPERATOR(value, offsets.requires_grad_(), logits, ref, SHAPES)
    out.sum().backward()
    assert offsets.grad is not None
    assert value.grad is None
    assert ref.grad is None


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_as_one_graph_for_any_batch(backend):
    torch._dynamo.reset()
    compiled = torch.compile(ms_deform_attn, fullgraph=True, backend=backend, dynamic=True)
    for batch in (2, 3, 5):
        x = make(Case(batch=batch))
        torch.testing.assert_close(compiled(*x.tensors, x.shapes), reference(*x.tensors, x.shapes))
    leaves = inputs()
    loss = compiled(*leaves, SHAPES).square().sum()
    expected = reference(*leaves, SHAPES).square().sum()
    for got, wanted in zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiles_with_inductor():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = make(Case())
        compiled = torch.compile(ms_deform_attn, fullgraph=True)
        torch.testing.assert_close(compiled(*x.tensors, x.shapes), reference(*x.tensors, x.shapes))


class Model(nn.Module):
    def forward(self, value, offsets, logits, ref):
        return ms_deform_attn(value, offsets, logits, ref, SHAPES)


def test_exports_as_one_node_and_decomposes_to_grid_sample():
    leaves = tuple(inputs(grad=False))
    exported = torch.export.export(Model(), leaves)
    targets = [node.target for node in exported.graph.nodes if node.op == "call_function"]
    assert targets == [OPERATOR]
    plain = exported.run_decompositions(DECOMPOSITIONS)
    assert not any("tfpose" in str(node.target) for node in plain.graph.nodes)
    torch.testing.assert_close(plain.module()(*leaves), reference(*leaves, SHAPES))


def test_autocast_casts_value_and_leaves_coordinates_alone():
    leaves = inputs(grad=False)
    half = [leaves[0].bfloat16(), *leaves[1:]]
    expected = reference(*half, SHAPES)
    with torch.autocast("cpu", torch.bfloat16):
        for function in (ms_deform_attn, OPERATOR):
            got = function(*leaves, SHAPES)
            assert got.dtype == torch.bfloat16
            # A coordinate rounded to bfloat16 would move by up to a quarter pixel.
            torch.testing.assert_close(got, expected, rtol=8e-3, atol=1e-2)


def test_nan_and_far_points_add_nothing_and_keep_their_share():
    value, offsets, logits, ref = inputs(grad=False)
    offsets[:, :, :, 0, 0] = torch.nan
    offsets[:, :, :, 0, 1] = torch.inf
    shares = logits.softmax(-1).view(1, 2, 4, 2, 2)
    ones = torch.ones_like(value)
    offsets[:, :, :, 1] = 0.5 * 2 - ref[:, :, None, 0, None, :] * 2 + 0.5 - 0.5  # the middle of the 2 x 2 map
    got = ms_deform_attn(ones, offsets, logits, ref, SHAPES).view(1, 2, 4, 8)
    torch.testing.assert_close(got, shares[:, :, :, 1].sum(-1, keepdim=True).expand_as(got))
