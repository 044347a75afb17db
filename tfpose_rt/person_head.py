"""The last layer of the person detector, in plain torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class PersonHead(nn.Module):
    """A YOLO head of ultralytics cut down to boxes and one class, decoded in float32 whatever the network runs in.

    Args:
        boxes: one branch a level: features -> distances from the anchor to the four sides, or bins of them.
        classes: one branch a level, ending in a 1x1 convolution: features -> a logit a class.
        strides: px of the input a cell, one a level.
        bins: of a side's distance; 1 = the distance itself.
        person: number of the class that is kept.
    """

    def __init__(
        self, boxes: nn.ModuleList, classes: nn.ModuleList, strides: list[float], bins: int, person: int
    ) -> None:
        super().__init__()
        self.boxes, self.classes, self.strides, self.bins = boxes, classes, strides, bins
        for branch in classes:
            last: Any = branch[-1]  # type: ignore[index]
            only: Any = nn.Conv2d(last.in_channels, 1, 1)
            only.weight.data = last.weight.data[person : person + 1].clone()
            only.bias.data = last.bias.data[person : person + 1].clone()
            branch[-1] = only  # type: ignore[operator]

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Features (B, C_l, H_l, W_l) a level -> (B, 5, A): x0, y0, x1, y1 in px of the input, score."""
        found = []
        for x, box, person, stride in zip(levels, self.boxes, self.classes, self.strides, strict=True):
            sides = box(x).float().flatten(2)  # (B, 4 * bins, H * W)
            if self.bins > 1:
                weights = sides.unflatten(1, (4, self.bins)).softmax(2)
                sides = (weights * torch.arange(self.bins, device=x.device)[:, None]).sum(2)
            ys, xs = torch.meshgrid(*(torch.arange(n, device=x.device) + 0.5 for n in x.shape[2:]), indexing="ij")
            anchor = torch.stack([xs, ys]).flatten(1)  # (2, H * W), cells
            corners = torch.cat([anchor - sides[:, :2], anchor + sides[:, 2:]], 1) * stride
            found.append(torch.cat([corners, person(x).float().flatten(2).sigmoid()], 1))
        return torch.cat(found, 2)
