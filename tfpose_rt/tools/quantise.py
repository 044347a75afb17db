"""Observe the bounds that `--precision int8` needs: python -m tfpose_rt.tools.quantise DATA WEIGHTS.

DATA is a training pack or a folder of COCO keypoints; pictures that are held out for validation are left out. The
bounds are written beside WEIGHTS (a pose model or a detector, file or name), which stay as they are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from tfpose_rt import assets
from tfpose_rt.config import ModelConfig
from tfpose_rt.detect import GREY
from tfpose_rt.errors import InputError
from tfpose_rt.records import Image
from tfpose_rt.tools.entry import exits
from tfpose_rt.training.data import Sample

PEOPLE = 192  # looked at by a pose model, in batches of 8
SCENES = 48  # looked at by a detector
SCENE = (640, 480)  # px, W and H


def crops(samples: Sequence[Sample], config: ModelConfig) -> Iterator[Tensor]:
    """People as a pose model sees them, eight at a time."""
    from tfpose_rt.training.validate import cut

    for first in range(0, len(samples), 8):
        part = samples[first : first + 8]
        yield cut(part, np.stack([s.box for s in part]), config)[0]


def scene(samples: Sequence[Sample], rng: np.random.Generator, across: int) -> Image:
    """Pictures side by side, `across` of them in each direction, as large as fits: (H, W, 3) BGR."""
    w, h = SCENE[0] // across, SCENE[1] // across
    whole: Image = np.full((SCENE[1], SCENE[0], 3), GREY, np.uint8)
    for i, one in enumerate(rng.choice(len(samples), across * across)):
        picture = samples[one].read()
        ratio = min(w / picture.shape[1], h / picture.shape[0])
        small = cv2.resize(picture, (max(int(picture.shape[1] * ratio), 1), max(int(picture.shape[0] * ratio), 1)))
        y, x = i // across * h, i % across * w
        whole[y : y + small.shape[0], x : x + small.shape[1]] = small
    return whole


def scenes(samples: Sequence[Sample], rng: np.random.Generator) -> Iterator[Tensor]:
    """Pictures as a detector sees them: one, four or nine people, in turns."""
    for i in range(SCENES):
        rgb = np.ascontiguousarray(scene(samples, rng, 1 + i % 3)[..., ::-1])
        yield torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255


def observe_file(samples: Sequence[Sample], weights: Path, seen: str) -> Path:
    """Observe the bounds of a pose model or a detector and write them beside it; the file that was written."""
    from tfpose_rt.bounds import write_bounds
    from tfpose_rt.detect import load_network
    from tfpose_rt.model.quantise import observe
    from tfpose_rt.model.weights import load_model
    from tfpose_rt.tools.export_network import is_pose

    rng = np.random.default_rng(0)
    if is_pose(weights):
        model = load_model(weights)[0]
        chosen = [samples[i] for i in rng.permutation(len(samples))[:PEOPLE]]
        bounds = observe(model, crops(chosen, model.config))
    else:
        bounds = observe(load_network(weights), scenes(samples, rng))
    return write_bounds(weights, bounds, seen)


@exits
def main() -> None:
    """Observe, write, say where."""
    from tfpose_rt.training.data import is_validation, load

    parser = argparse.ArgumentParser(prog="python -m tfpose_rt.tools.quantise", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights")
    given = parser.parse_args()
    samples = [s for s in load(given.data) if not is_validation(s.image)]
    if not samples:
        raise InputError(f"no people in {given.data}", why="nothing to look at", fix="the training packs")
    path = observe_file(samples, assets.resolve(given.weights), f"{given.data.name}, {len(samples)} people")
    sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    sys.exit(main())
