"""The correctness recipe on a GPU: torch, CuPy and nothing else of the project's needs."""

import pytest
import torch

from tfpose_rt.ops.cupy_kernel import kernel
from tfpose_rt.ops.deform_attn import OPERATOR, ms_deform_attn
from tfpose_rt.tools import check_kernel, kernel_cases
from tfpose_rt.tools.kernel_cases import Case, make

pytestmark = pytest.mark.gpu


def test_recipe():
    told = []
    assert check_kernel.run(kernel(), kernel_cases.representative(), "cuda", False, told.append) == 0, told


@pytest.mark.filterwarnings("ignore")  # what a compiler warns of, in one version of it or another, is not ours
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiles_on_the_gpu(mode):
    x = make(Case(dtype=torch.float16, channels=32, heads=8), "cuda")
    expected = ms_deform_attn(*x.tensors, x.shapes)
    compiled = torch.compile(ms_deform_attn, fullgraph=True, mode=mode)
    for _ in range(3):
        assert torch.equal(compiled(*x.tensors, x.shapes), expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # opcheck's own doing
def test_opcheck_on_the_gpu():
    x = make(Case(), "cuda")
    torch.library.opcheck(OPERATOR, (*(t.requires_grad_() for t in x.tensors), x.shapes))


def test_first_use_inside_a_capture_is_an_error_in_words():
    x = make(Case(channels=48, points=2), "cuda")  # an instance that no other test loads
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="warmup"), torch.cuda.graph(graph):  # noqa: PT012 - the second statement raises
        _ = x.value + 0  # at the end torch warns of an empty graph, and a warning would replace the error
        ms_deform_attn(*x.tensors, x.shapes)
