"""A guess weighed against a witness's maps of the joints: by hand, and against plain float64 loops."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import UsageError
from tfpose_rt.model.backbone import build_backbone
from tfpose_rt.model.fusion import Fusion, JointMaps
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.skeleton import FLIPS

CONFIG = ModelConfig(trunk="movenet", witness="movenet", channels=32, decoder_layers=2, size=(64, 96))
W, H = 12, 16


def fusion_of(power=4.0, blur=2.0, doubt=1.2):
    fusion = Fusion((W, H), 17)
    for term, value in ((fusion.power, power), (fusion.blur, blur), (fusion.doubt, doubt)):
        term.fill_(value)
    return fusion


def maps_with(peaks, keypoints=1, offset=(0.0, 0.0)):
    """Maps of one person, flat but for peaks (joint, x, y, logit); each joint lies `offset` (x, y) from its cell."""
    logits = torch.full((1, keypoints, H, W), -12.0)
    for joint, x, y, logit in peaks:
        logits[0, joint, y, x] = logit
    offsets = torch.tensor([offset[1], offset[0]]).view(1, 1, 2, 1, 1).expand(1, keypoints, 2, H, W)
    return JointMaps(F.logsigmoid(logits), offsets)


def at(x, y):
    """(1, 1, 2): cell (x, y) of the map as a place in the crop."""
    return torch.tensor([[[x / W, y / H]]])


def asked(fusion, xy, spread, maps):
    """What the maps say around one guess of each joint."""
    return [part.squeeze(2) for part in fusion.witness(xy[:, :, None], spread[:, :, None], maps)]


def test_a_single_peak_is_the_place_with_its_offset_within_the_cell():
    peak = maps_with([(0, 7, 9, 2.0)], offset=(0.25, -0.5))
    place, height, _ = asked(fusion_of(), at(6, 8), torch.full((1, 1, 2), 3.0), peak)
    torch.testing.assert_close(place, at(7.25, 8.5), atol=1e-4, rtol=0)
    assert float(height) == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-3)


def test_of_two_equal_peaks_the_nearer_one_is_meant():
    peaks = maps_with([(0, 2, 3, 1.0), (0, 9, 12, 1.0)])
    for x, y in ((2, 3), (9, 12)):
        place, _, _ = asked(fusion_of(), at(x + 1, y + 1), torch.full((1, 1, 2), 2.0), peaks)
        torch.testing.assert_close(place, at(x, y), atol=0.01, rtol=0)


def test_the_witness_is_a_posterior_mean():
    """Bayes, cell by cell in float64: height to a power, times the prior's density."""
    generator = torch.Generator().manual_seed(3)
    logits, offsets = (torch.randn(shape, generator=generator) for shape in ((2, 3, H, W), (2, 3, 2, H, W)))
    xy, spread = torch.rand(2, 3, 2, generator=generator), 1 + torch.rand(2, 3, 2, generator=generator)
    power, blur = 2.4, 1.6
    place, height, evidence = asked(fusion_of(power, blur), xy, spread, JointMaps(F.logsigmoid(logits), offsets))
    for b, k in np.ndindex(2, 3):
        total, x_sum, y_sum, h_sum = 0.0, 0.0, 0.0, 0.0
        for y, x in np.ndindex(H, W):
            tall = 1 / (1 + math.exp(-float(logits[b, k, y, x])))
            far = 0.0
            for cell, axis, side in ((x, 0, W), (y, 1, H)):
                far += (cell - float(xy[b, k, axis]) * side) ** 2 / (float(spread[b, k, axis]) ** 2 + blur**2)
            weight = tall**power * math.exp(-far / 2)
            total += weight
            h_sum += weight * tall
            x_sum += weight * (x + float(offsets[b, k, 1, y, x]))
            y_sum += weight * (y + float(offsets[b, k, 0, y, x]))
        wanted = [min(max(x_sum / total / W, 0), 1), min(max(y_sum / total / H, 0), 1)]
        assert place[b, k].tolist() == pytest.approx(wanted, abs=1e-5)
        assert float(height[b, k]) == pytest.approx(h_sum / total, abs=1e-5)
        assert float(evidence[b, k]) == pytest.approx(math.log(total), abs=1e-4)


def test_the_share_is_by_the_variances_of_both():
    """A witness of height 0.9 two cells from a guess of scale 0.2 and 0.1: 2.4 and 1.6 cells, 2.884 together."""
    maps = maps_with([(k, 8, 8, math.log(0.9 / 0.1)) for k in range(17)], 17)
    xy = fusion_of()(at(6, 8).expand(1, 17, 2), torch.tensor([[[0.2, 0.1]]]).expand(1, 17, 2), maps)
    share = 1 / (1 + (1.2 / (0.9 * 2.884)) ** 2)
    torch.testing.assert_close(xy, at(6 + 2 * share, 8).expand(1, 17, 2), atol=1e-3, rtol=0)


def test_an_empty_map_changes_nothing():
    xy = fusion_of()(at(3, 4).expand(1, 17, 2), torch.full((1, 17, 2), 0.1), maps_with([], 17))
    torch.testing.assert_close(xy, at(3, 4).expand(1, 17, 2), atol=1e-6, rtol=0)


def test_maps_of_a_person_who_faces_the_other_way_are_read_in_the_mirror():
    """Limbs stay where they are seen, and keep the sides the guess gave them; one joint alone turns nobody round."""
    cells = [(1 + k % 10, 1 + (3 * k) % 14) for k in range(17)]
    guess = torch.tensor([[[x / W, y / H] for x, y in cells]])
    sigma = torch.full((1, 17, 2), 0.2)  # unsure: it would go most of the way
    for labels in (range(17), FLIPS[17]):
        maps = maps_with([(labels[k], *cells[k], 3.0) for k in range(17)], 17)
        torch.testing.assert_close(fusion_of()(guess, sigma, maps), guess, atol=1e-3, rtol=0)
    swapped = [*range(9), 10, 9, *range(11, 17)]  # the wrists alone, and hardly seen
    maps = maps_with([(swapped[k], *cells[k], -5.0 if k in (9, 10) else 3.0) for k in range(17)], 17)
    met = fusion_of().meet(guess, sigma, maps)
    torch.testing.assert_close(met.place[:, 9], guess[:, 10], atol=0.05, rtol=0)


def test_a_place_beyond_the_crop_is_held_at_its_edge():
    peak = maps_with([(0, 11, 15, 3.0)], offset=(2.0, 2.0))
    place, _, _ = asked(fusion_of(), at(11, 15), torch.full((1, 1, 2), 2.0), peak)
    assert place.tolist() == [[[1.0, 1.0]]]


def test_the_last_guess_alone_meets_the_maps():
    model = TFPose(CONFIG).eval()
    for head in model.heads:
        torch.nn.init.normal_(head.last.weight, std=0.1)
    image = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        memory, maps = model.encode(image)
        met = model.guesses(image)
        fusion, model.fusion = model.fusion, None
        own = model.decode(memory)
    for mine, theirs in zip(own._replace(xy=own.xy[:-1]), met._replace(xy=met.xy[:-1]), strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(met.xy[-1], fusion(own.xy[-1], own.sigma[-1], maps))
    assert (met.xy[-1] - own.xy[-1]).abs().max() > 1e-3
    model.fusion = fusion
    assert torch.equal(model.decode(memory).xy, own.xy)  # without maps the guess stays the transformer's


def test_the_guess_stays_a_prior():
    """Gradients pass to it by the share of it that is left, and by no other way."""
    xy, sigma = (torch.rand(1, 17, 2, requires_grad=True) for _ in range(2))
    maps, fusion = maps_with([(k, 6, 8, 3.0) for k in range(17)], 17), fusion_of()
    left, none = torch.autograd.grad(fusion(xy, sigma, maps).sum(), [xy, sigma], allow_unused=True)
    torch.testing.assert_close(left, (1 - fusion.meet(xy, sigma, maps).share)[..., None].expand_as(left))
    assert none is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_with_its_numbers_in_half_precision_it_says_nearly_the_same(dtype):
    xy, sigma = torch.rand(1, 17, 2), torch.rand(1, 17, 2) / 10
    maps = maps_with([(k, k % W, k % H, 2.0) for k in range(17)], 17)
    exact, rough = fusion_of()(xy, sigma, maps), fusion_of().to(dtype)(xy, sigma, maps)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(exact, rough, atol=2e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(dtype):
    """Faint cells, to a power, are far below what float16 can hold."""
    xy, sigma = torch.rand(1, 17, 2), torch.full((1, 17, 2), 0.3)
    maps = maps_with([(k, k % W, k % H, -4.0) for k in range(17)], 17)
    exact = fusion_of(6.0)(xy, sigma, maps)
    assert (exact - xy).abs().max() > 1e-3
    with torch.autocast("cpu", dtype):
        assert torch.equal(fusion_of(6.0)(xy, sigma, maps), exact)


def test_without_maps_there_is_no_fusion():
    model = TFPose(dataclasses.replace(CONFIG, witness=""))
    assert model.fusion is None
    assert not any("fusion" in name for name in model.state_dict())


def test_whoever_has_no_maps_is_no_witness():
    for witness, trunk, why in (
        ("yolo11n-pose", "yolo11n-pose", "this trunk has no maps of joints; try: movenet"),
        ("movenet", "yolo11n-pose", "no such network; try: movenet-lightning, or movenet where that is a part"),
    ):
        with pytest.raises(UsageError, match=why):
            TFPose(dataclasses.replace(CONFIG, trunk=trunk, witness=witness))
    with pytest.raises(UsageError, match="witnesses know COCO's 17 joints, not 16"):
        ModelConfig(witness="movenet", trunk="movenet", keypoints=16)


def test_a_trunk_has_the_head_for_offsets_only_where_maps_are_asked_for():
    assert build_backbone("movenet", (8, 16, 32)).offsets is None
    assert build_backbone("yolo11n-pose+movenet", (8, 16, 32), "movenet").parts["movenet"].offsets is not None
