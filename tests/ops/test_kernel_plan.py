from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from tfpose_rt.ops.launch import Kernel
from tfpose_rt.ops.plan import check, check_pointers, fixed_bits, misfit
from tfpose_rt.ops.source import kernel_source
from tfpose_rt.tools.kernel_cases import Case, make

PLAIN = make(Case(dtype=torch.float16))


class Untouched:
    """A launcher that must not be reached."""

    def sm_count(self, device):
        raise AssertionError("planned a launch")

    def launch(self, plan, pointers, device):
        raise AssertionError("launched")


def change(**fields):
    given = dict(zip(("value", "offsets", "logits", "ref"), PLAIN.tensors, strict=True)) | {"shapes": PLAIN.shapes}
    return given | fields


WRONG = {
    "value's rank": (change(value=PLAIN.value[0]), ValueError, "value is of rank 3, expected rank 4"),
    "tokens": (change(value=PLAIN.value[:, 1:]), ValueError, "value is of 63 tokens, expected 64"),
    "channels": (change(value=PLAIN.value[..., :20]), ValueError, "24"),
    "heads": (change(value=PLAIN.value[:, :, :3]), ValueError, "heads"),
    "levels": (change(shapes=PLAIN.shapes[:4]), ValueError, "of 3 levels"),
    "empty level": (change(shapes=(8, 6, 4, 3, 2, 0)), ValueError, "at least 1"),
    "logits' shape": (change(logits=PLAIN.logits[..., :8]), ValueError, r"logits is .*12\)"),
    "ref's shape": (change(ref=PLAIN.ref[..., :1]), ValueError, "2 or 4"),
    "value's dtype": (change(value=PLAIN.value.double()), TypeError, "value is torch.float64"),
    "offsets' dtype": (change(offsets=PLAIN.offsets.bfloat16()), TypeError, "offsets is torch.bfloat16"),
    "logits' dtype": (change(logits=PLAIN.logits.float()), TypeError, "as offsets"),
    "half reference": (change(ref=PLAIN.ref.half()), TypeError, "float32 always"),
    "device": (change(ref=PLAIN.ref.to("meta")), ValueError, "on meta"),
    "inner stride": (change(value=PLAIN.value.mT.contiguous().mT), ValueError, r"value.contiguous\(\)"),
    "query stride": (change(offsets=PLAIN.offsets.mT.contiguous().mT), ValueError, r"offsets.contiguous\(\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_named_before_anything_is_launched(name):
    given, kind, says = WRONG[name]
    with pytest.raises(kind, match=says):
        Kernel(Untouched()).forward(*given.values())


def test_too_many_points_or_too_large_a_crop():
    many = make(replace(Case(), points=12))
    with pytest.raises(ValueError, match="at most 32 points"):
        check(*many.tensors, many.shapes)
    side = 2**12
    value = torch.empty((1, side * side, 8, 32), dtype=torch.float32, device="meta")
    query = torch.empty((1, 1, 8, 1, 4, 2), device="meta")
    logits, ref = torch.empty((1, 1, 8, 4), device="meta"), torch.empty((1, 1, 1, 2), device="meta")
    with pytest.raises(ValueError, match="bytes a crop"):
        check(value, query, logits, ref, (side, side))


@pytest.mark.parametrize(("heads", "each"), [(2, 24), (4, 8), (6, 32), (8, 40), (8, 64), (16, 16), (8, 80)])
@pytest.mark.parametrize(("sides", "points"), [((4, 3, 2, 2), 4), ((2, 2) * 3, 12), ((2, 2) * 6, 5), ((2, 2) * 7, 4)])
def test_a_model_fits_where_its_calls_pass(heads, each, sides, points):
    x = make(Case(queries=2, heads=heads, channels=each, shapes=sides, points=points))
    fits = misfit(heads, heads * each, len(sides) // 2, points) is None
    with nullcontext() if fits else pytest.raises(ValueError, match=r"heads|channels|points"):
        check(*x.tensors, x.shapes)


@pytest.mark.parametrize("argument", [0, 1, 3])
def test_a_base_off_its_alignment_is_named(argument):
    addresses = [0, 0, 0, 0]
    addresses[argument] = 2
    with pytest.raises(ValueError, match="aligned"):
        check_pointers(*addresses, check(*PLAIN.tensors, PLAIN.shapes))


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="A or B"):
        Kernel(type("One", (Untouched,), {"sm_count": lambda self, device: 1})()).forward(
            *PLAIN.tensors, PLAIN.shapes, "C"
        )


@pytest.mark.parametrize(("batch", "queries"), [(0, 17), (3, 0)])
def test_nothing_to_do_launches_nothing(batch, queries):
    x = make(Case(batch=batch, queries=queries))
    kernel = Kernel(Untouched())
    assert kernel.forward(*x.tensors, x.shapes).shape == (batch, queries, 96)
    grads = kernel.backward(x.grad, *x.tensors, x.shapes, (True, True, True, True), False)
    assert [g.shape for g in grads] == [t.shape for t in x.tensors]
    assert not any(g.any() for g in grads)


@pytest.mark.parametrize("queries", [1, 2, 17, 64, 65, 1008])
def test_fixed_point_sums_cannot_overflow(queries):
    assert queries * 2 ** fixed_bits(queries) <= 2**62
    assert fixed_bits(queries) >= 50


def test_launch_bounds_are_those_of_the_source():
    assert "FORWARD_THREADS = K > 12 ? 640 : MANY ? 768 : 1024, BACKWARD_THREADS = MANY ? 384 : 512;" in kernel_source()
    assert "MANY = (K + GL - 1) / GL > 4;" in kernel_source()
    for levels, channels, forward, backward in ((3, 24, 1024, 512), (4, 24, 640, 512), (3, 16, 768, 384)):
        x = make(Case(dtype=torch.float16, channels=channels, shapes=(8, 6, 4, 3, 2, 2, 3, 5)[: 2 * levels]))
        problem = check(*x.tensors, x.shapes)
        assert (problem.forward_threads, problem.backward_threads) == (forward, backward)
