"""Guesses weighed against a trunk's maps of the joints: by hand, and against plain float64 loops."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import UsageError
from tfpose_rt.model.backbone import build_backbone
from tfpose_rt.model.fusion import SEEN, Fusion, Guess, JointMaps, describe
from tfpose_rt.model.tfpose import TFPose

CONFIG = ModelConfig(trunk="movenet", maps=True, channels=32, decoder_layers=2, size=(64, 96))
W, H = 12, 16


def maps_with(peaks, keypoints=1, offset=(0.0, 0.0)):
    """Maps of one person, flat but for peaks (joint, x, y, logit); each joint lies `offset` (x, y) from its cell."""
    logits = torch.full((1, keypoints, H, W), -12.0)
    for joint, x, y, logit in peaks:
        logits[0, joint, y, x] = logit
    offsets = torch.tensor([offset[1], offset[0]]).view(1, 1, 2, 1, 1).expand(1, keypoints, 2, H, W)
    return JointMaps(F.logsigmoid(logits), offsets)


def guess_at(x, y, scale=0.1, score=0.0, keypoints=1):
    xy = torch.tensor([x / W, y / H]).expand(1, keypoints, 2)
    return Guess(xy, torch.full((1, keypoints, 2), math.log(scale)), torch.full((1, keypoints), score))


def test_a_single_peak_is_the_place_with_its_offset_within_the_cell():
    peak = maps_with([(0, 7, 9, 2.0)], offset=(0.25, -0.5))
    with torch.no_grad():
        place, height = Fusion(32, 1, (W, H), False).witness(guess_at(6, 8).xy, torch.full((1, 1, 2), 3.0), peak)
    torch.testing.assert_close(place[0, 0], torch.tensor([7.25 / W, 8.5 / H]), atol=1e-4, rtol=0)
    assert float(height) == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-3)


def test_of_two_equal_peaks_the_nearer_one_is_meant():
    peaks = maps_with([(0, 2, 3, 1.0), (0, 9, 12, 1.0)])
    for x, y in ((2, 3), (9, 12)):
        near = guess_at(x + 1, y + 1)
        place, _ = Fusion(32, 1, (W, H), False).witness(near.xy, torch.full((1, 1, 2), 2.0), peaks)
        torch.testing.assert_close(place[0, 0], torch.tensor([x / W, y / H]), atol=0.01, rtol=0)


def test_the_witness_is_a_posterior_mean():
    """Bayes, cell by cell in float64: height to the power of the sharpness, times the prior's density."""
    generator = torch.Generator().manual_seed(3)
    logits, offsets = (torch.randn(shape, generator=generator) for shape in ((2, 3, H, W), (2, 3, 2, H, W)))
    here, sigma = torch.rand(2, 3, 2, generator=generator), 1 + torch.rand(2, 3, 2, generator=generator)
    fusion = Fusion(32, 3, (W, H), False).requires_grad_(False)
    fusion.sharpness.copy_(torch.tensor([0.2, 0.9, 1.4]))
    fusion.blur.copy_(torch.tensor([0.1, 0.5, 0.8]))
    place, height = fusion.witness(here, sigma, JointMaps(F.logsigmoid(logits), offsets))
    for b, k in np.ndindex(2, 3):
        power, blur = (math.exp(float(t[k])) for t in (fusion.sharpness, fusion.blur))
        total, x_sum, y_sum, h_sum = 0.0, 0.0, 0.0, 0.0
        for y, x in np.ndindex(H, W):
            tall = 1 / (1 + math.exp(-float(logits[b, k, y, x])))
            far = 0.0
            for cell, axis, side in ((x, 0, W), (y, 1, H)):
                far += (cell - float(here[b, k, axis]) * side) ** 2 / (float(sigma[b, k, axis]) ** 2 + blur**2)
            weight = tall**power * math.exp(-far / 2)
            total += weight
            h_sum += weight * tall
            x_sum += weight * (x + float(offsets[b, k, 1, y, x]))
            y_sum += weight * (y + float(offsets[b, k, 0, y, x]))
        wanted = [min(max(x_sum / total / W, 0), 1), min(max(y_sum / total / H, 0), 1)]
        assert place[b, k].tolist() == pytest.approx(wanted, abs=1e-5)
        assert float(height[b, k]) == pytest.approx(h_sum / total, abs=1e-5)


def test_before_training_the_share_follows_the_rule():
    """A witness of height 0.9 two cells away from a guess of scale 0.2 and 0.1: 2.4 and 1.6 cells, 2.884 together."""
    guess = Guess(torch.tensor([[[6 / W, 8 / H]]]), torch.tensor([[[0.2, 0.1]]]).log(), torch.zeros(1, 1))
    logit = math.log(0.9 / 0.1)
    q = torch.randn(1, 1, 32)
    with torch.no_grad():
        told, met = Fusion(32, 1, (W, H), False)(q, guess, maps_with([(0, 8, 8, logit)]))
    share = 1 / (1 + (1.2 / (0.9 * 2.884)) ** 2)
    torch.testing.assert_close(met.xy[0, 0], torch.tensor([(6 + 2 * share) / W, 8 / H]), atol=1e-3, rtol=0)
    assert torch.equal(met.scale, guess.scale)
    assert torch.equal(met.score, guess.score)
    assert torch.equal(told, q)


def test_an_empty_map_changes_nothing():
    guess = guess_at(3, 4)
    with torch.no_grad():
        _, met = Fusion(32, 1, (W, H), False)(torch.randn(1, 1, 32), guess, maps_with([]))
    torch.testing.assert_close(met.xy, guess.xy, atol=1e-6, rtol=0)


def test_what_is_learnt_changes_share_scales_and_score():
    """As above, with 0.5 more for the share's logit, 0.1 and 0.2 for the scales, and 0.3 for the score."""
    guess = Guess(torch.tensor([[[6 / W, 8 / H]]]), torch.tensor([[[0.2, 0.1]]]).log(), torch.full((1, 1), 0.7))
    fusion = Fusion(32, 1, (W, H), True).requires_grad_(False)
    fusion.change.bias.copy_(torch.tensor([0.5, 0.1, 0.2, 0.3]))
    nn.init.eye_(fusion.tell.weight)
    q = torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(1))
    maps = maps_with([(0, 8, 8, math.log(0.9 / 0.1))])
    told, met = fusion(q, guess, maps)
    share = 1 / (1 + math.exp(-(2 * math.log(0.9 * 2.884 / 1.2) + 0.5)))
    torch.testing.assert_close(met.xy[0, 0], torch.tensor([(6 + 2 * share) / W, 8 / H]), atol=1e-3, rtol=0)
    torch.testing.assert_close(met.scale, guess.scale + torch.tensor([0.1, 0.2]))
    torch.testing.assert_close(met.score, guess.score + 0.3)
    torch.testing.assert_close(told - q, fusion.meet(q, guess, maps).told)
    other = fusion.meet(-q, guess, maps).told  # the queries have a say in it
    assert (other - fusion.meet(q, guess, maps).told).abs().max() > 0.1


def test_a_place_beyond_the_crop_is_held_at_its_edge():
    peak = maps_with([(0, 11, 15, 3.0)], offset=(2.0, 2.0))
    with torch.no_grad():
        place, _ = Fusion(32, 1, (W, H), False).witness(guess_at(11, 15).xy, torch.full((1, 1, 2), 2.0), peak)
    assert place.tolist() == [[[1.0, 1.0]]]


def test_what_is_seen_of_a_meeting():
    """Two joints of unlike certainty; one witness sits on its guess, the other four cells beside it."""
    apart = torch.tensor([[[0.0, 0.0], [4.0, -1.0]]])
    sigma, height = torch.tensor([[[1.0, 2.0], [0.5, 3.0]]]), torch.tensor([[0.8, 0.3]])
    score, prior = torch.tensor([[2.0, -1.0]]), torch.tensor([[3.0, -4.0]])
    seen = describe(apart, sigma, height, score, prior)
    assert seen.shape == (1, 2, SEEN)
    sure = [0.8 / (1 + math.exp(-2)), 0.3 / (1 + math.exp(1))]
    alike = [1.0, math.exp(-17 / 8)]
    agreed = (sure[0] + sure[1] * alike[1]) / sum(sure)
    wanted = [
        [0, 0, math.log(0.8), 0, 1, agreed, 1, 1.5, 0.5 * math.log(5)],
        [math.asinh(8), -math.asinh(1 / 3), math.log(0.3), math.log(1 + math.sqrt(17)), alike[1], agreed, -0.5, -2,
         0.5 * math.log(9.25)],
    ]  # fmt: skip
    for joint in (0, 1):
        assert seen[0, joint].tolist() == pytest.approx(wanted[joint], abs=1e-5)


def test_every_parameter_learns():
    model = TFPose(CONFIG)
    for layer in [*(h.last for h in model.heads), *(f.change for f in model.fusions), model.fusions[0].tell]:
        nn.init.normal_(layer.weight, std=0.1)
    told = model.guesses(torch.rand(2, 3, 96, 64))
    assert len(told.xy) == 3
    (told.xy.square().sum() + told.sigma.sum() + told.score.sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert [name for name, p in model.fusions.named_parameters() if not p.grad.any()] == []


def test_the_guess_stays_a_prior():
    """Gradients pass to it by the share of it that is left, and by no other way; the maps learn through their share."""
    torch.manual_seed(2)
    fusion = Fusion(32, 17, (W, H), False)
    nn.init.normal_(fusion.change.weight, std=0.1)
    here, scale, score = (torch.rand(shape, requires_grad=True) for shape in ((1, 17, 2), (1, 17, 2), (1, 17)))
    maps = maps_with([(k, 6, 8, 3.0) for k in range(17)], 17)
    logits = maps.log_heights.clone().requires_grad_()
    guess, maps = Guess(here, scale - 3, score), maps._replace(log_heights=logits)
    q = torch.randn(1, 17, 32)
    _, met = fusion(q, guess, maps)
    left, *others = torch.autograd.grad(met.xy.sum(), [here, scale, score], retain_graph=True, allow_unused=True)
    share = fusion.meet(q, guess, maps).share
    torch.testing.assert_close(left, (1 - share)[..., None].expand_as(left).detach())
    assert others == [None, None]
    ones = torch.autograd.grad(met.scale.sum() + met.score.sum(), [scale, score], retain_graph=True)
    assert all(torch.equal(grad, torch.ones_like(grad)) for grad in ones)
    assert torch.autograd.grad(share.sum(), logits)[0].abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision_it_says_nearly_the_same(dtype):
    torch.manual_seed(2)
    fusion = Fusion(32, 17, (W, H), True).requires_grad_(False)
    nn.init.normal_(fusion.change.weight, std=0.1)
    guess = Guess(torch.rand(1, 17, 2), torch.rand(1, 17, 2) - 3, torch.randn(1, 17))
    maps = maps_with([(k, k % W, k % H, 2.0) for k in range(17)], 17)
    q = torch.randn(1, 17, 32)
    _, exact = fusion(q, guess, maps)
    told, rough = fusion.to(dtype)(q.to(dtype), guess, maps)
    assert (told.dtype, rough.xy.dtype) == (dtype, torch.float32)
    for one, two in zip(exact, rough, strict=True):
        torch.testing.assert_close(one, two, atol=0.02, rtol=0.02)


def test_the_last_layer_tells_nobody():
    assert [fusion.tell is None for fusion in TFPose(CONFIG).fusions] == [False, True]


def test_without_maps_there_is_no_fusion():
    model = TFPose(dataclasses.replace(CONFIG, maps=False))
    assert not model.fusions
    assert not any("fusions" in name for name in model.state_dict())


def test_maps_of_a_trunk_that_has_none_are_a_usage_error():
    for changes in ({"trunk": "yolo11n-pose"}, {"trunk": "movenet", "keypoints": 16}):
        with pytest.raises(UsageError, match="only MoveNet's trunk has maps, of COCO's 17 joints; try: maps = false"):
            ModelConfig(maps=True, **changes)


def test_a_trunk_has_the_head_for_offsets_only_where_maps_are_asked_for():
    assert build_backbone("movenet", (8, 16, 32)).offsets is None
    assert build_backbone("yolo11n-pose+movenet", (8, 16, 32), True).parts["movenet"].offsets is not None
    model = TFPose(CONFIG)
    with pytest.raises(AssertionError, match="needs the maps"):
        model.decode(torch.zeros(1, 126, 32))
