"""Trunks: an RGB image in [0, 1] goes in, feature maps at known strides come out. Each normalises its own input."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from tfpose_rt.errors import UsageError
from tfpose_rt.model.fusion import JointMaps
from tfpose_rt.model.movenet_trunk import MoveNetTrunk
from tfpose_rt.model.yolo_trunk import YoloTrunk

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MOBILENET_CUTS = (0, 4, 7, 14, 18)  # torchvision's blocks, where the stride doubles; the classifier's 1 x 1 is left out


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Torchvision's names of a ResNet or MobileNetV2 -> this trunk's, without classifiers; {} for other networks."""
    named = {}
    for key, value in state.items():
        first, _, rest = key.partition(".")
        if first == "features":
            block, _, rest = rest.partition(".")
            stage = bisect_right(MOBILENET_CUTS, int(block)) - 1
            if stage < len(MOBILENET_CUTS) - 1:
                named[f"stages.{stage}.{int(block) - MOBILENET_CUTS[stage]}.{rest}"] = value
        elif first in ("conv1", "bn1"):
            named[f"stages.0.{int(first == 'bn1')}.{rest}"] = value
        elif first.startswith("layer"):
            named[f"stages.{first.removeprefix('layer')}.{rest}"] = value
    return named


class ImageNetTrunk(nn.Module):
    """A stack of stages, some of whose outputs are the levels; input is normalised as ImageNet models expect.

    Args:
        stages: modules run one after another.
        taps: stage index -> stride of its output.
        channels: channels of the tapped outputs, in order.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, stages: Sequence[nn.Module], taps: dict[int, int], channels: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.taps = taps
        self.strides = tuple(taps.values())
        self.channels = tuple(channels)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in [0, 1] -> one map a tap, finest first."""
        x = (x - self.mean) / self.std
        levels = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.taps:
                levels.append(x)
        return levels


def _resnet(name: str, strides: Sequence[int]) -> ImageNetTrunk:
    import torchvision

    net = getattr(torchvision.models, name)(weights=None)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    stages = [stem, net.layer1, net.layer2, net.layer3, net.layer4]
    widths = {4: 64, 8: 128, 16: 256, 32: 512}
    expansion = 1 if name in ("resnet18", "resnet34") else 4
    index = {4: 1, 8: 2, 16: 3, 32: 4}
    return ImageNetTrunk(stages, {index[s]: s for s in strides}, [widths[s] * expansion for s in strides])


def _mobilenet(strides: Sequence[int]) -> ImageNetTrunk:
    import torchvision

    blocks = list(torchvision.models.mobilenet_v2(weights=None).features)
    stages = [nn.Sequential(*blocks[a:b]) for a, b in pairwise(MOBILENET_CUTS)]
    ends = {4: (0, 24), 8: (1, 32), 16: (2, 96), 32: (3, 320)}  # stride -> stage, channels
    return ImageNetTrunk(stages, {ends[s][0]: s for s in strides}, [ends[s][1] for s in strides])


def _pyramid(what: str, build: Callable[[], nn.Module]) -> Callable[[Sequence[int]], nn.Module]:
    def built(strides: Sequence[int]) -> nn.Module:
        if tuple(strides) != (8, 16, 32):
            raise UsageError(f"strides = {tuple(strides)}", why=f"{what} has levels 8, 16, 32", fix="8, 16, 32")
        return build()

    return built


class JoinedTrunk(nn.Module):
    """Several trunks side by side: a level is theirs at that stride, one after another along the channels.

    Args:
        parts: by name; all with the same strides.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        levels = zip(*(part.channels for part in parts.values()), strict=True)
        self.channels = tuple(sum(widths) for widths in levels)

    def look(self, x: Tensor) -> tuple[list[Tensor], JointMaps | None]:
        """(B, 3, H, W) RGB in [0, 1] -> one map a stride, finest first; the joints' maps of a part that has any."""
        told = [look(part, x) for part in self.parts.values()]
        levels = [torch.cat(level, 1) for level in zip(*(levels for levels, _ in told), strict=True)]
        return levels, next((maps for _, maps in told if maps is not None), None)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in [0, 1] -> one map a stride, finest first."""
        return self.look(x)[0]


def look(trunk: nn.Module, x: Tensor) -> tuple[list[Tensor], JointMaps | None]:
    """A trunk's levels of images (B, 3, H, W), and its maps of the joints, where it has any."""
    return trunk.look(x) if isinstance(trunk, JoinedTrunk | MoveNetTrunk) else (trunk(x), None)


def parts_of(trunk: nn.Module) -> dict[str, nn.Module]:
    """The trunks that stand side by side in this one, by name; {} for a single one."""
    return dict(trunk.parts.items()) if isinstance(trunk, JoinedTrunk) else {}


# A newcomer is one line here: a function of the strides that gives a module with `strides` and `channels`.
BACKBONES: dict[str, Callable[[Sequence[int]], nn.Module]] = {
    "resnet18": lambda strides: _resnet("resnet18", strides),
    "resnet50": lambda strides: _resnet("resnet50", strides),
    "mobilenet_v2": _mobilenet,
    "yolo11n-pose": _pyramid("a YOLO trunk", lambda: YoloTrunk(1, 11, pose=51)),
    "movenet": _pyramid("MoveNet's trunk", MoveNetTrunk),
    "yolo26n": _pyramid("a YOLO trunk", lambda: YoloTrunk(1, 26)),
    "yolo26s": _pyramid("a YOLO trunk", lambda: YoloTrunk(2, 26)),
}
# Those of them that can give maps of the joints, made so that they do.
WITH_MAPS = {"movenet": _pyramid("MoveNet's trunk", lambda: MoveNetTrunk(maps=True))}


def build_backbone(name: str, strides: Sequence[int], maps: str = "") -> nn.Module:
    """The trunk called `name` with levels at `strides` (ascending); "a+b" is a and b side by side.

    Args:
        name: of BACKBONES, or several joined by +.
        strides: of the levels.
        maps: one of them, whose maps of the joints `look` is to give, too.
    Raises: UsageError: no such trunk, or it has no maps, or no level at one of the strides.
    """
    names = name.split("+")
    if not set(names) <= set(BACKBONES) or len(set(names)) < len(names):
        raise UsageError(f"trunk = {name!r}", why="no such trunk", fix=f"{', '.join(BACKBONES)}, or two joined by +")
    if maps and maps not in WITH_MAPS:
        raise UsageError(f"witness = {maps!r}", why="this trunk has no maps of joints", fix=", ".join(WITH_MAPS))
    if not set(strides) <= {4, 8, 16, 32} or list(strides) != sorted(set(strides)):
        raise UsageError(
            f"strides = {tuple(strides)}", why="levels are ascending, out of 4, 8, 16, 32", fix="8, 16, 32"
        )
    parts = {part: (WITH_MAPS if part == maps else BACKBONES)[part](strides) for part in names}
    return JoinedTrunk(parts) if len(parts) > 1 else parts[name]
