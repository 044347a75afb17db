"""Crops painted by torch beside those that OpenCV cuts, and by hand."""

import dataclasses
import itertools
import logging

import cv2
import numpy as np
import pytest
import torch

from tfpose_rt.config import ModelConfig
from tfpose_rt.crop import apply, invert
from tfpose_rt.errors import DeviceError, UsageError
from tfpose_rt.skeleton import FLIP
from tfpose_rt.training import device_crops, loader
from tfpose_rt.training.augment import Dice, vary
from tfpose_rt.training.data import Sample
from tfpose_rt.training.loader import Loader
from tfpose_rt.training.pictures import Pictures, upload
from tfpose_rt.training.settings import AugmentConfig, TrainConfig

SHOWN = AugmentConfig(degrade=0, erase=0, colour=0)
CPU = torch.device("cpu")
SIZE = (32, 64)


def person(number, width, height):
    """Somebody in a picture of soft noise with a grey frame, so that edges show."""
    rng = np.random.default_rng(number)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 1.5)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    image[[0, -1]] = image[:, [0, -1]] = 90
    box = np.array([0.2 * width, 0.15 * height, 0.8 * width, 0.9 * height], np.float32)
    xy = rng.uniform(box[:2], box[2:], (17, 2)).astype(np.float32)
    weight = (rng.random(17) < 0.9).astype(np.float32)
    return Sample(f"{number}", f"photo{number}", "coco", lambda: image.copy(), box, xy, weight, 1000.0)


@pytest.fixture(scope="module")
def people():
    return [person(number, 45 + 4 * number, 95 - 2 * number) for number in range(12)]


@pytest.fixture(scope="module")
def large():
    """Pictures up to seven times as large as their crops."""
    return [person(number, 60 + 21 * number, 90 + 25 * number) for number in range(12)]


def twelve():
    return Dice([np.random.default_rng(number) for number in range(12)])


def config(recipe=None, **settings):
    model = ModelConfig(size=SIZE)
    recipe = recipe or AugmentConfig()
    return TrainConfig(**{"model": model, "augment": recipe, "batch": 12, "workers": 1, "crops": "device", **settings})


def both(samples, recipe, step=0):
    host, device = (Loader(samples, config(recipe, crops=place), 0, 1) for place in ("host", "device"))
    assert host.pictures is None
    assert device.pictures is not None
    return host.batch(step), device.batch(step)


def assert_alike(host, device, most):
    """Labels to the bit; grey levels nearly."""
    for name in ("xy", "weight", "known", "area"):
        assert torch.equal(getattr(host, name), getattr(device, name)), name
    assert host.images.stride() == device.images.stride()
    apart = (host.images - device.images).abs().mean((1, 2, 3)) * 255
    assert apart.max() < most, apart


@pytest.mark.parametrize(
    ("pictures", "recipe", "most"),
    [
        ("people", SHOWN, 0.5),
        ("people", dataclasses.replace(SHOWN, tumble=1, zoom=(1.6, 3)), 0.5),  # much of what lies beyond the edge
        ("people", dataclasses.replace(SHOWN, cut=1, flip=1), 0.5),
        ("people", dataclasses.replace(SHOWN, colour=1), 1.0),
        ("people", dataclasses.replace(SHOWN, degrade=1), 1.0),
        ("people", dataclasses.replace(SHOWN, erase=1), 0.5),
        ("large", dataclasses.replace(SHOWN, tumble=1, zoom=(1.6, 3)), 0.5),
        ("large", AugmentConfig(cut=0.5), 1.0),
    ],
)
def test_host_and_device_make_the_same_batch(pictures, recipe, most, request):
    assert_alike(*both(request.getfixturevalue(pictures), recipe, 7), most)


def test_large_pictures_are_averaged_down(large):
    """The case above would prove nothing if no picture were: bilinear alone is far from the averages."""
    pictures = Pictures.hold(large, CPU, 2**30, 1)
    varied = vary(large, pictures.sides, SIZE, SHOWN, twelve())
    factor = 1 / np.sqrt(np.linalg.det(varied.matrix[:, :2, :2]))
    assert (factor >= 2).sum() in range(4, 12)
    averaged, _ = pictures.crops(range(12), varied, SIZE)
    place = {"first": pictures.first, "stride": pictures.sides[:, 0], "source": invert(varied.matrix)}
    skipping = device_crops.warp(pictures.rows, upload({**varied.arrays(), **place}, CPU), SIZE)
    apart = (skipping.flip(-1).permute(0, 3, 1, 2) - averaged * 255).abs().mean((1, 2, 3))
    assert apart[torch.from_numpy(factor >= 3)].min() > 3
    assert not apart[torch.from_numpy(factor < 2)].any()


@pytest.mark.parametrize(
    ("border", "line"),
    [
        (cv2.BORDER_CONSTANT, [7, 7, 10, 20, 40, 7, 7]),
        (cv2.BORDER_REPLICATE, [10, 10, 10, 20, 40, 40, 40]),
        (cv2.BORDER_REFLECT_101, [40, 20, 10, 20, 40, 20, 10]),
    ],
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_what_lies_beyond_the_edge_by_hand(border, line, mirrored):
    """A picture of one line, 10 20 40 (and a column that was cut off), looked at from two pixels before it begins."""
    rows = torch.tensor([[0], [10], [20], [40], [99]], dtype=torch.uint8).expand(-1, 3)
    on = {
        "source": torch.tensor([[[1.0, 0, -2], [0, 1, 0]]]), "fill": torch.full((1, 3), 7.0),
        "border": torch.tensor([border]), "first": torch.tensor([1]), "stride": torch.tensor([4]),
        "sides": torch.tensor([[3, 1]]), "mirrored": torch.tensor([float(mirrored)]),
    }  # fmt: skip
    expected = line[::-1] if mirrored else line
    assert device_crops.warp(rows, on, (7, 1))[0, 0, :, 0].tolist() == expected
    on["source"] = torch.tensor([[[1.0, 0, -0.25], [0, 1, 0]]])  # between pixels: a quarter of what lies before
    values = [7 if border == cv2.BORDER_CONSTANT else expected[1], *expected[2:5]]
    between = [int(0.25 * before + 0.75 * after + 0.5) for before, after in itertools.pairwise(values)]
    assert device_crops.warp(rows, on, (3, 1))[0, 0, :, 0].tolist() == between


def test_mirroring_is_exact(people):
    """Painted mirrored, or painted from what is left of the picture, written backwards: the same to the bit."""
    pictures = Pictures.hold(people, CPU, 2**30, 1)
    varied = vary(people, pictures.sides, SIZE, AugmentConfig(cut=1), twelve())
    assert (varied.sides < pictures.sides).any()
    backwards = []
    for sample, (w, h) in zip(people, varied.sides, strict=True):
        image = np.ascontiguousarray(sample.read()[:h, :w][:, ::-1])
        backwards.append(dataclasses.replace(sample, read=lambda image=image: image))
    flags = np.ones(12, bool)
    mirrored, _ = pictures.crops(range(12), dataclasses.replace(varied, mirrored=flags), SIZE)
    plain, _ = Pictures.hold(backwards, CPU, 2**30, 1).crops(
        range(12), dataclasses.replace(varied, mirrored=~flags), SIZE
    )
    assert torch.equal(mirrored, plain)


def test_joints_come_back_through_the_matrix(people):
    sides = np.array([sample.read().shape[1::-1] for sample in people])
    varied = vary(people, sides, SIZE, AugmentConfig(), twelve())
    device = upload(varied.arrays(), CPU)
    back = apply(invert(varied.matrix), device["xy"].double().numpy() * SIZE - 0.5)
    xy = np.stack([sample.xy for sample in people])
    there = np.stack((varied.sides[:, :1] - 1 - xy[..., 0], xy[..., 1]), -1)[:, list(FLIP)]
    np.testing.assert_allclose(back, np.where(varied.mirrored[:, None, None], there, xy), atol=1e-3)
    assert 0 < varied.mirrored.sum() < 12


def test_joints_that_were_cut_off_are_known_to_be_absent(people):
    batch = Loader(people, config(dataclasses.replace(SHOWN, cut=1)), 0, 1).batch(0)
    labelled = np.stack([sample.weight for sample in people]).sum()
    assert batch.known.sum() == labelled
    assert 0 < (batch.weight > 0).sum() < labelled
    assert (batch.weight <= batch.known).all()


def test_blur_and_coarseness_are_those_of_opencv():
    """To the edges: the largest difference, not the mean."""
    image = person(3, 48, 40).read()
    sigmas, smalls = [0.6, 1.1, 1.7, 2.0], [(12, 10), (28, 24), (17, 15)]
    on = {
        "blur": torch.tensor(sigmas + [0] * 3), "coarse": torch.tensor([(0, 0)] * 4 + smalls),
        "radius": torch.tensor([2, 4, 5, 6, 0, 0, 0]),
    }  # fmt: skip
    mixed = device_crops.degrade(torch.from_numpy(image).float().expand(7, -1, -1, -1), on, 28)
    expected = [cv2.GaussianBlur(image, (0, 0), sigma) for sigma in sigmas]
    for small in smalls:
        reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        expected.append(cv2.resize(reduced, (48, 40), interpolation=cv2.INTER_LINEAR))
    assert (mixed - torch.from_numpy(np.stack(expected)).float()).abs().amax((1, 2, 3)).max() <= 2


def test_light_by_hand():
    """204 is four fifths; squared 0.64; 1.5 (0.64 - 0.5) + 0.5 = 0.71; that is 181.05, rounded down as by the host."""
    image = torch.tensor([0.0, 51, 128, 204, 255]).view(1, 1, 5, 1).expand(1, 1, 5, 3)
    on = {
        "gamma": torch.tensor([2.0]), "gain": torch.tensor([1.5]), "offset": torch.tensor([[0, 0.1, -0.1]]),
        "coloured": torch.ones(1), "grey": torch.zeros(1),
    }  # fmt: skip
    lit = device_crops.light(image, on)[0, 0].T
    assert lit.tolist() == [[0, 0, 32, 181, 255], [0, 0, 58, 206, 255], [0, 0, 7, 155, 255]]
    pure = torch.eye(3).mul(255).view(1, 1, 3, 3)  # blue, green, red
    grey = device_crops.light(pure, {**on, "coloured": torch.zeros(1), "grey": torch.ones(1)})
    assert grey[0, 0].tolist() == [[29] * 3, [150] * 3, [76] * 3]


def test_a_batch_depends_on_seed_and_step_alone(people):
    settings = config(batch=4)
    before = Loader(people, settings, 0, 1).iterate(0)
    batches = [next(before) for _ in range(6)]
    before.close()
    resumed = Loader(people, settings, 0, 1).iterate(4)
    for number in (4, 5):
        again = next(resumed)
        for name in ("images", "xy", "weight", "known", "area"):
            assert torch.equal(getattr(again, name), getattr(batches[number], name)), name
    resumed.close()
    assert not torch.equal(batches[0].xy, batches[3].xy)  # another epoch, other variations
    other = Loader(people, dataclasses.replace(settings, seed=1), 0, 1).batch(0)
    assert not torch.equal(batches[0].xy, other.xy)


@pytest.mark.parametrize("crops", ["host", "device"])
def test_processes_share_a_batch(people, crops):
    settings = config(batch=6, crops=crops)
    whole = Loader(people, settings, 0, 1).batch(1)
    parts = [Loader(people, settings, rank, 2).batch(1) for rank in (0, 1)]
    for name in ("xy", "weight", "area"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    np.testing.assert_allclose(torch.cat([part.images for part in parts]), whole.images, atol=1.5 / 255)


def test_a_batch_larger_than_is_painted_at_once(people, monkeypatch):
    whole = Loader(people, config(), 0, 1).batch(0)
    monkeypatch.setattr("tfpose_rt.training.pictures.LARGEST", 5 * 32 * 64)
    parts = Loader(people, config(), 0, 1).batch(0)
    assert torch.equal(parts.xy, whole.xy)
    np.testing.assert_allclose(parts.images, whole.images, atol=1.5 / 255)


def test_a_picture_is_held_once(people):
    """A repeated person, and two people of one photograph that are read from the same file."""
    first = people[0]
    neighbour = dataclasses.replace(first, read=lambda: first.read(), box=first.box + 3)
    pictures = Pictures.hold([first, people[1], first, neighbour], CPU, 2**30, 1)
    pixels = [int(np.prod(sample.read().shape[:2])) for sample in people[:2]]
    assert len(pictures.rows) == sum(pixels)
    assert pictures.first.tolist() == [0, pixels[0], 0, 0]
    assert pictures.sides.tolist()[1] == list(people[1].read().shape[1::-1])
    np.testing.assert_array_equal(pictures.rows[pixels[0] :], people[1].read().reshape(-1, 3))


def test_pictures_that_do_not_fit(people, monkeypatch, caplog):
    taken = sum(sample.read().nbytes for sample in people)
    assert Pictures.hold(people, CPU, taken, 1) is not None
    assert Pictures.hold(people, CPU, taken - 1, 1) is None
    with pytest.raises(DeviceError, match="crop_memory"):
        Loader(people, config(crop_memory=0), 0, 1)
    # a GPU with room for a quarter of them: the processor cuts the crops, and says so
    monkeypatch.setattr(loader, "free_memory", lambda _: taken)
    with caplog.at_level(logging.WARNING, "tfpose_rt"):
        fallen = Loader(people, config(crops="auto", crop_memory=0.25), 0, 1, torch.device("cuda"))
    assert "processor cuts" in caplog.text
    assert torch.equal(fallen.batch(0).images, Loader(people, config(crops="host"), 0, 1).batch(0).images)


def test_on_a_processor_the_host_cuts_unless_told_otherwise(people):
    assert Loader(people, config(crops="auto"), 0, 1).pictures is None
    with pytest.raises(UsageError, match="crops"):
        config(crops="gpu")
    with pytest.raises(UsageError, match="crop_memory"):
        config(crop_memory=1.5)


def test_large_numbers_arrive_whole():
    numbers = np.array([0, 2**31 + 1, 2**52 + 1])
    values = np.array([[0.1], [1e-30], [3e38]], np.float32)
    on = upload({"numbers": numbers, "values": values, "flags": numbers > 0}, CPU)
    assert on["numbers"].tolist() == numbers.tolist()
    np.testing.assert_array_equal(on["values"], values)
    assert on["flags"].tolist() == [0, 1, 1]


@pytest.mark.gpu
def test_a_gpu_makes_the_host_s_batch(people):
    device = torch.device("cuda")
    painted = Loader(people, config(crops="auto"), 0, 1, device)
    assert painted.pictures is not None
    batches = painted.iterate(3)
    batch = next(batches)
    batches.close()
    assert batch.images.is_cuda
    assert_alike(Loader(people, config(crops="host"), 0, 1).batch(3), batch.to(CPU), 1.0)
