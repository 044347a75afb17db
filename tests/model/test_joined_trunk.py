"""Two trunks side by side, MoveNet's among them, and models that begin with the weights of the first one alone."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import UsageError
from tfpose_rt.model.backbone import build_backbone
from tfpose_rt.model.movenet import conv, roomy
from tfpose_rt.model.movenet_trunk import MoveNetTrunk
from tfpose_rt.model.quantise import observe, quantise
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import save_model, write
from tfpose_rt.training.checkpoint import start_from
from tfpose_rt.training.loop import groups
from tfpose_rt.training.objective import Objective
from tfpose_rt.training.settings import TrainConfig

ONE = ModelConfig(trunk="yolo11n-pose", channels=32, decoder_layers=1, size=(64, 96))
BOTH = dataclasses.replace(ONE, trunk="yolo11n-pose+movenet")
STRIDES = (8, 16, 32)


@pytest.fixture
def image():
    return torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))


def test_levels_are_both_trunks_one_after_another(image):
    torch.manual_seed(0)
    both = build_backbone("yolo11n-pose+movenet", STRIDES).eval()
    with torch.no_grad():
        levels, first, second = both(image), both.parts["yolo11n-pose"](image), both.parts["movenet"](image)
    for level, a, b, channels, stride in zip(levels, first, second, both.channels, STRIDES, strict=True):
        assert level.shape == (2, channels, 96 // stride, 64 // stride)
        assert torch.equal(level, torch.cat((a, b), 1))


def test_a_strided_convolution_is_padded_below_and_to_the_right():
    layer = conv(1, 1, 3, 2, bias=False)
    torch.nn.init.ones_(layer.weight)
    ones = torch.ones(1, 1, 4, 4)
    assert layer(roomy(ones)).squeeze().tolist() == [[9, 6], [6, 4]]  # by hand; torch's own padding gives 4, 6, 6, 9
    assert conv(1, 1, 3)(ones).shape == ones.shape


def test_in_eight_bits_it_says_nearly_the_same(image):
    torch.manual_seed(0)
    trunk = MoveNetTrunk().eval()
    with torch.no_grad():
        exact = trunk.pyramid(image)[0]
        rounded = quantise(trunk, observe(trunk, [image])).pyramid(image)[0]
    for a, b in zip(exact, rounded, strict=True):
        assert (a - b).abs().max() < 0.1 * a.abs().max()


def test_joints_reach_stride_8_whole(image):
    torch.manual_seed(0)
    trunk = MoveNetTrunk().eval()
    with torch.no_grad():
        finest = trunk.pyramid(image)[1]
        maps = trunk.said(finest)[0].sigmoid()
        level8, level16, level32 = trunk(image)
    assert torch.equal(F.pixel_shuffle(level8[:, 24 : 24 + 68], 2), maps)
    for level, first, cells in ((level16, 32, 4), (level32, 64, 8)):
        b, k, h, w = maps.shape
        peaks = maps.reshape(b, k, h // cells, cells, w // cells, cells).amax((3, 5))
        assert torch.equal(level[:, first : first + 17], peaks)


def test_what_the_second_trunk_adds_begins_at_nothing(image, tmp_path):
    torch.manual_seed(0)
    alone = TFPose(ONE).eval()
    for head in alone.heads:
        torch.nn.init.normal_(head.last.weight, std=0.1)  # so that the answer hangs on the picture
    second = MoveNetTrunk()
    save_model(tmp_path / "one.safetensors", alone, {})
    write(tmp_path / "second.safetensors", second.state_dict(), {})
    alone.load_state_dict({k: v.half().float() for k, v in alone.state_dict().items()})  # as saved
    both = TFPose(BOTH).eval()
    first, rest = (start_from(both, tmp_path / f"{name}.safetensors") for name in ("one", "second"))
    assert first | rest == set(both.state_dict())
    assert not first & rest
    with torch.no_grad():
        for mine, theirs in zip(both(image), alone(image), strict=True):
            torch.testing.assert_close(mine, theirs)
        assert not torch.equal(both(image)[0][0], both(image)[0][1])
    assert torch.equal(both.trunk.parts["movenet"].stem.weight, second.stem.weight)


def test_a_frozen_part_gets_no_gradient(image):
    config = TrainConfig(model=BOTH, frozen=("movenet",))
    objective = Objective(TFPose(BOTH), config)
    torch.nn.init.normal_(objective.model.heads[0].last.weight)  # zero at first, and nothing passes it
    mine = {id(p) for group in groups(objective, config) for p in group["params"]}
    guesses = objective.model.guesses(image)
    (guesses.xy.sum() + guesses.sigma.sum()).backward()
    parts = objective.model.trunk.parts
    assert all(p.grad is None and id(p) not in mine for p in parts["movenet"].parameters())
    assert all(id(p) in mine for p in parts["yolo11n-pose"].parameters())
    assert objective.model.project[0][0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("frozen", "trunk", "fix"),
    [("pose", "yolo11n-pose+movenet", "yolo11n-pose, movenet"), ("movenet", "movenet", "none")],
)
def test_a_part_that_is_not_there_is_not_frozen(frozen, trunk, fix):
    config = TrainConfig(model=dataclasses.replace(ONE, trunk=trunk), frozen=(frozen,))
    with pytest.raises(UsageError) as caught:
        groups(Objective(TFPose(config.model), config), config)
    assert fix in caught.value.fix


@pytest.mark.parametrize("name", ["movenet+nothing", "movenet+", "movenet+movenet"])
def test_trunks_that_do_not_join(name):
    with pytest.raises(UsageError, match="no such trunk"):
        build_backbone(name, STRIDES)


def test_levels_that_movenet_lacks():
    with pytest.raises(UsageError, match="8, 16, 32"):
        build_backbone("movenet", (16, 32))
