"""Somebody in red before somebody in blue: where the colours come to lie, and what stays as it was."""

import dataclasses

import numpy as np
import pytest
import torch

from tfpose_rt import skeleton
from tfpose_rt.errors import UsageError
from tfpose_rt.training.crowd import crowd
from tfpose_rt.training.data import Sample
from tfpose_rt.training.loader import Loader
from tfpose_rt.training.settings import AugmentConfig, TrainConfig

H, W = 256, 192
# px of somebody who stands in the middle of a crop, facing us: the left is on the right
STANDING = {
    "nose": (96, 50), "left_eye": (100, 46), "right_eye": (92, 46), "left_ear": (106, 48), "right_ear": (86, 48),
    "left_shoulder": (116, 80), "right_shoulder": (76, 80), "left_elbow": (124, 110), "right_elbow": (68, 110),
    "left_wrist": (126, 138), "right_wrist": (66, 138), "left_hip": (110, 140), "right_hip": (82, 140),
    "left_knee": (111, 180), "right_knee": (81, 180), "left_ankle": (112, 220), "right_ankle": (80, 220),
}  # fmt: skip
PLACES = torch.tensor([STANDING[name] for name in skeleton.NAMES], dtype=torch.float32)
BLUE, RED = torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0])


def people(count=2, labelled=17):
    """Crops of one colour each, blue and red by turns, all standing alike."""
    images = torch.stack([(BLUE, RED)[i % 2].view(3, 1, 1).expand(3, H, W) for i in range(count)])
    xy = ((PLACES + 0.5) / torch.tensor([W, H])).expand(count, 17, 2).clone()
    weight = (torch.arange(17) >= 17 - labelled).float().expand(count, 17).clone()
    return images, xy, weight


def laid(seed, share=1.0, **options):
    """How much of the first crop somebody red covers, (H, W)."""
    return crowd(*people(**options), share, np.random.default_rng(seed))[0, 0]


def test_somebody_is_cut_out_along_the_limbs():
    """The red place is the standing figure moved and scaled: as high as 170 px of joints and a head, and with a gap
    between the legs, which a rectangle would not leave."""
    found = 0
    for seed in range(20):
        red = laid(seed)
        rows, columns = np.nonzero((red > 0.5).numpy())
        if not len(rows):
            continue
        found += 1
        assert red.max() == pytest.approx(1, abs=1e-6)
        assert len(rows) < 0.8 * (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert found >= 15


def test_the_middle_is_moved_aside():
    """By 0.3 to 0.8 of the width of the joints, 60 px (with a fifth of the height as the least, 35): 18 to 48 px."""
    found = 0
    for seed in range(60):
        red = laid(seed)
        weight = red / red.sum() if red.sum() else red
        if red[:, [0, -1]].any() or red[[0, -1]].any() or not red.any():
            continue  # cut off by the crop's edge
        across = (weight.sum(0) * torch.arange(W)).sum()
        assert 14 < abs(across - 96) < 52
        found += 1
    assert found >= 8


def test_nobody_is_hidden_for_the_most_part():
    """Of 17 joints at most 0.6, so 10, lie under the other one."""
    joints = PLACES.long()
    hidden = [int((laid(seed)[joints[:, 1], joints[:, 0]] > 0.9).sum()) for seed in range(60)]
    assert 5 <= max(hidden) <= 10


@pytest.mark.parametrize(("labelled", "some"), [(8, True), (7, False)])
def test_few_labels_cut_nobody_out(labelled, some):
    """The last eight in COCO's order are without the shoulders: they are added, and one joint less is too few."""
    images, xy, weight = people(labelled=labelled - 2)
    weight[:, 5:7] = 1
    out = crowd(images, xy, weight, 1.0, np.random.default_rng(0))
    assert bool((out[0] != images[0]).any()) == some
    weight[:, skeleton.INDEX["left_hip"]] = 0  # the trunk is not known
    assert crowd(images, xy, weight, 1.0, np.random.default_rng(0)) is images


def test_share():
    images, xy, weight = people(200)
    assert crowd(images, xy, weight, 0.0, np.random.default_rng(0)) is images
    changed = (crowd(images, xy, weight, 0.3, np.random.default_rng(0)) != images).flatten(1).any(1)
    assert 30 <= changed.sum() <= 80  # 60 are expected, of whom some would hide too much


def test_a_batch_is_a_function_of_seed_and_step():
    def read():
        return np.full((300, 220, 3), 90, np.uint8)

    xy = (PLACES + 10).numpy().astype(np.float32)
    box = np.array([60, 40, 150, 250], np.float32)
    samples = [
        Sample(str(i), f"photo{i}", "set", lambda i=i: read() + np.uint8(i * 9), box, xy, np.ones(17, np.float32), 9e3)
        for i in range(8)
    ]
    plain = TrainConfig(batch=8, augment=AugmentConfig(erase=0))
    config = dataclasses.replace(plain, augment=AugmentConfig(erase=0, crowd=1))
    first, again = (Loader(samples, config, 0, 1).batch(5) for _ in range(2))
    before = Loader(samples, plain, 0, 1).batch(5)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, before.images)
    assert torch.equal(first.xy, before.xy)
    assert torch.equal(first.weight, before.weight)
    with pytest.raises(UsageError, match="crowd = 2"):
        AugmentConfig(crowd=2)
