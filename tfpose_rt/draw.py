"""Skeletons, boxes, ids and trails on a picture. Pure: a new image comes back, nothing is remembered.

Coordinates are pixel centres, as OpenCV draws; lines are anti-aliased and placed to 1/16 px. A joint under the
threshold is hollow, and lines that end in it are thin and dashed; one that is most likely not there, or outside the
picture, is not drawn, nor is any line that ends in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from tfpose_rt.caption import DARK, WHITE, Colour, banner, put_text, text_width
from tfpose_rt.records import Image, Poses
from tfpose_rt.skeleton import EDGES, INDEX, LEFT_BGR, MIDDLE_BGR, NAMES, RIGHT_BGR, side
from tfpose_rt.strokes import SHIFT, at, dashes, dot, line, ring

__all__ = ["DrawStyle", "banner", "draw", "edge_colour", "id_colour", "visible", "with_threshold"]

Bools = npt.NDArray[np.bool_]
Background = Literal["frame", "black", "blur-people"]

FAINT = 0.1  # score from which a joint under the threshold is drawn, hollow; under it nothing is there to be shown
SIDE_BGR: Mapping[str, Colour] = {"left": LEFT_BGR, "right": RIGHT_BGR, "middle": MIDDLE_BGR}
TRAIL_JOINTS = tuple(INDEX[n] for n in ("nose", "left_wrist", "right_wrist", "left_ankle", "right_ankle"))
# Paul Tol's "light" and "vibrant" picks that stay apart for colour-blind viewers and from the limbs' colours. BGR.
ID_BGR: tuple[Colour, ...] = (
    (221, 170, 119), (102, 119, 238), (136, 221, 238), (187, 187, 68), (238, 187, 255),
    (153, 136, 0), (136, 51, 170), (102, 204, 187), (51, 119, 238), (221, 221, 221),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawStyle:
    """What is drawn.

    Args:
        kpt_thr: joint score under which a joint is hollow; nothing stored ever changes.
        skeleton: the lines between joints.
        points: the joints.
        boxes: the person boxes.
        ids: the person ids; the detector's score stands beside them where boxes are drawn.
        names: the joints' names.
        background: the picture; nothing but black; or the picture with the people made unrecognisable.
        mirror: show the picture as a mirror does; left stays the person's left.
        scale: factor on line widths and text.
    """

    kpt_thr: float = 0.3
    skeleton: bool = True
    points: bool = True
    boxes: bool = True
    ids: bool = True
    names: bool = False
    background: Background = "frame"
    mirror: bool = False
    scale: float = 1.0


def draw(
    image: Image,
    poses: Poses,
    style: DrawStyle | None = None,
    *,
    trails: Mapping[int, npt.NDArray[np.floating]] | None = None,
    hide: npt.NDArray[np.floating] | None = None,
) -> Image:
    """Draw the people of one frame; smoothed joints where there are any.

    Args:
        image: (H, W, 3) uint8 BGR; not changed.
        poses: N people in px of the image.
        style: what to draw; all but names when None.
        trails: id -> (T, K, 2) px, where that person's joints were, oldest first; NaN where unseen.
        hide: (M, 4) px, further boxes to blur with background "blur-people", such as people just lost.
    Returns: (H, W, 3) uint8 BGR, a new image.
    """
    style = style or DrawStyle()
    points = np.asarray(poses.xy if poses.xy_smooth is None else poses.xy_smooth, np.float64)
    boxes = np.asarray(poses.boxes, np.float64).reshape(-1, 4)
    canvas = _background(image, points, boxes, hide, style.background)
    h, w = canvas.shape[:2]
    if style.mirror:
        canvas = np.ascontiguousarray(canvas[:, ::-1])
        points = _mirrored(points, w)
        boxes = np.stack([w - 1 - boxes[:, 2], boxes[:, 1], w - 1 - boxes[:, 0], boxes[:, 3]], 1)
        trails = {i: _mirrored(np.asarray(t, np.float64), w) for i, t in (trails or {}).items()}
    if trails:
        _draw_trails(canvas, trails, _thickness(canvas, style))
    # Small people first: whoever is nearer to the camera ends on top.
    for row in np.argsort((boxes[:, 3] - boxes[:, 1]) * (boxes[:, 2] - boxes[:, 0]), kind="stable"):
        scores = None if poses.scores is None else poses.scores[row]
        shown = visible(points[row], scores, style.kpt_thr, (w, h))
        faint = visible(points[row], scores, min(FAINT, style.kpt_thr), (w, h)) & ~shown
        if poses.scores is not None and not shown.any():
            continue  # a lamp taken for a person has no joint: no frame and no number for nobody (files keep it)
        number = None if poses.ids is None else int(poses.ids[row])
        width = _thickness(canvas, style, boxes[row])
        if style.boxes:
            _draw_box(canvas, boxes[row], id_colour(number), max(1, width // 2))
        _draw_person(canvas, points[row], shown, faint, width, style)
        label = _label(number, float(poses.box_scores[row]), style)
        if label:
            _draw_label(canvas, label, boxes[row], points[row][shown], id_colour(number), style)
    return canvas


def visible(
    points: npt.NDArray[np.floating], scores: npt.NDArray[np.floating] | None, thr: float, size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """(K,) which joints may be drawn: score at least `thr` (where there is one) and inside the picture of (W, H)."""
    inside = ((points >= -0.5) & (points <= np.array(size) - 0.5)).all(-1)  # NaN is nowhere
    return np.asarray(inside if scores is None else inside & (np.asarray(scores) >= thr))


def id_colour(number: int | None) -> Colour:
    """The colour of an id; white without one."""
    return WHITE if number is None else ID_BGR[number % len(ID_BGR)]


def _background(
    image: Image,
    points: npt.NDArray[np.float64],
    boxes: npt.NDArray[np.float64],
    hide: npt.NDArray[np.floating] | None,
    kind: Background,
) -> Image:
    if kind == "black":
        return np.zeros_like(image)
    canvas = image.copy()
    if kind == "blur-people":
        more = np.zeros((0, 4)) if hide is None else np.asarray(hide, np.float64).reshape(-1, 4)
        whole = [
            np.concatenate([np.fmin(np.fmin.reduce(p), b[:2]), np.fmax(np.fmax.reduce(p), b[2:])])
            for p, b in zip(points, boxes, strict=True)
        ]
        for box in [*whole, *more]:
            _blur(canvas, box)
    return canvas


def _blur(canvas: Image, box: npt.NDArray[np.float64]) -> None:
    """Make whoever is in the box unrecognisable: few cells, then smooth. The cells are what cannot be undone."""
    h, w = canvas.shape[:2]
    margin = 0.12 * np.tile(box[2:] - box[:2], 2) * [-1, -1, 1, 1]
    x0, y0, x1, y1 = np.round(box + margin).clip(0, [w, h, w, h]).astype(int)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    part = canvas[y0:y1, x0:x1]
    cell = max(x1 - x0, y1 - y0) / 14  # a head of a standing person is two cells
    few = cv2.resize(
        part, (max(1, round((x1 - x0) / cell)), max(1, round((y1 - y0) / cell))), interpolation=cv2.INTER_AREA
    )
    part[:] = cv2.resize(few, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)


def _mirrored(points: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    return np.stack([width - 1 - points[..., 0], points[..., 1]], -1)


def _thickness(canvas: Image, style: DrawStyle, box: npt.NDArray[np.float64] | None = None) -> int:
    """Px width of a limb: by the size of the picture, and of the person so that far people are not covered."""
    width: float = min(canvas.shape[:2]) / 240
    if box is not None:
        width = float(np.clip(np.sqrt((box[2:] - box[:2]).clip(0).prod()) / 60, width * 0.5, width * 1.8))
    return max(1, round(width * style.scale))


def edge_colour(a: int, b: int) -> Colour:
    """The colour of the line between two joints: that of their side, or the middle's where it joins both sides."""
    sides = {side(a), side(b)} - {"middle"}
    return SIDE_BGR[sides.pop() if len(sides) == 1 else "middle"]


def _draw_person(
    canvas: Image, points: npt.NDArray[np.float64], shown: Bools, faint: Bools, width: int, style: DrawStyle
) -> None:
    drawn = shown | faint
    edges = [(a, b) for a, b in EDGES if max(a, b) < len(points) and drawn[a] and drawn[b]] if style.skeleton else []
    sure = [(a, b) for a, b in edges if shown[a] and shown[b]]
    for a, b in (edge for edge in edges if edge not in sure):
        dashes(canvas, points[a], points[b], edge_colour(a, b), max(1, width // 2), width + 1.5)
    for a, b in sure:  # the dark rim of all limbs lies under all limbs
        line(canvas, points[a], points[b], DARK, width + max(2, width // 2))
    for a, b in sure:
        line(canvas, points[a], points[b], edge_colour(a, b), width)
    joints = np.flatnonzero(drawn).tolist()
    for k in joints if style.points else ():
        radius = width * (0.7 if k <= INDEX["right_ear"] else 1.0) + 0.6  # the face is small
        colour = SIDE_BGR[side(k)] if style.skeleton else WHITE
        if faint[k]:
            ring(canvas, points[k], colour, radius)
            continue
        dot(canvas, points[k], DARK, radius + 1)
        dot(canvas, points[k], colour, radius)
    if style.names:
        _draw_names(canvas, points, joints, width)


def _draw_names(canvas: Image, points: npt.NDArray[np.float64], joints: list[int], width: int) -> None:
    """Joint names, pointing away from the middle of the person; one that would cover another is left out."""
    size = float(np.clip(width * 4, 10, 22))
    taken: list[tuple[float, float, float]] = []
    middle = points[joints, 0].mean() if len(joints) else 0.0
    for k in sorted(joints, key=lambda k: (1 <= k <= INDEX["right_ear"], k)):  # eyes and ears last: they are crowded
        text = NAMES[k].replace("_", " ")
        wide, (x, y) = text_width(text, size), points[k]
        x0 = float(np.clip(x + 2 * width if x >= middle else x - 2 * width - wide, 0, canvas.shape[1] - wide))
        if all(abs(y - ty) > 0.9 * size or x0 + wide < tx0 or x0 > tx1 for tx0, tx1, ty in taken):
            taken.append((x0, x0 + wide, y))
            put_text(canvas, text, (x0, y), size, WHITE)


def _draw_box(canvas: Image, box: npt.NDArray[np.float64], colour: Colour, width: int) -> None:
    """A thin frame with heavy corners: it shows the extent and hides little."""
    cv2.rectangle(canvas, at(box[:2]), at(box[2:]), DARK, width + 2, cv2.LINE_AA, SHIFT)
    cv2.rectangle(canvas, at(box[:2]), at(box[2:]), colour, width, cv2.LINE_AA, SHIFT)
    arm = 0.12 * float((box[2:] - box[:2]).min())
    for x, sx in ((box[0], 1), (box[2], -1)):
        for y, sy in ((box[1], 1), (box[3], -1)):
            for end in ((x + sx * arm, y), (x, y + sy * arm)):
                line(canvas, (x, y), end, colour, width * 2 + 1)


def _label(number: int | None, score: float, style: DrawStyle) -> str:
    parts = [f"#{number}"] if style.ids and number is not None else []
    return " ".join([*parts, f"{score:.2f}"] if style.boxes else parts)


def _draw_label(
    canvas: Image,
    text: str,
    box: npt.NDArray[np.float64],
    joints: npt.NDArray[np.float64],
    colour: Colour,
    style: DrawStyle,
) -> None:
    """A chip in the id's colour on the upper edge of the box (or over the highest joint without a box)."""
    h, w = canvas.shape[:2]
    size = float(np.clip(min(h, w) / 40, 11, 36)) * style.scale
    wide, tall = text_width(text, size, bold=True) + size * 0.7, size * 1.3
    if style.boxes or not len(joints):
        x, y = float(box[0]), float(box[1]) - tall
    else:
        top = joints[np.argmin(joints[:, 1])]
        x, y = float(top[0]) - wide / 2, float(top[1]) - tall * 2
    x, y = float(np.clip(x, 0, max(0.0, w - 1 - wide))), float(np.clip(y, 0, max(0.0, h - 1 - tall)))
    corner0, corner1 = (round(x), round(y)), (round(x + wide), round(y + tall))
    cv2.rectangle(canvas, corner0, corner1, colour, -1)
    cv2.rectangle(canvas, corner0, corner1, DARK, 1)
    luminance = np.dot(colour, (0.114, 0.587, 0.299))
    put_text(
        canvas, text, (x + size * 0.35, y + tall / 2), size, DARK if luminance > 140 else WHITE, bold=True, rim=False
    )


def _draw_trails(canvas: Image, trails: Mapping[int, npt.NDArray[np.floating]], width: int) -> None:
    """Paths of head, hands and feet in the id's colour, thin and faint where they are old."""
    h, w = canvas.shape[:2]
    layer = canvas.copy()
    for number, path in trails.items():
        for k in (k for k in TRAIL_JOINTS if k < path.shape[1]):
            inside = visible(path[:, k], None, 0.0, (w, h))
            for i in range(1, len(path)):
                if inside[i - 1] and inside[i]:
                    age = i / (len(path) - 1)  # 0 old .. 1 now
                    line(layer, path[i - 1, k], path[i, k], id_colour(number), max(1, round(width * (0.3 + age))))
    cv2.addWeighted(layer, 0.65, canvas, 0.35, 0, dst=canvas)


def with_threshold(style: DrawStyle, change: float) -> DrawStyle:
    """The style with its drawing threshold moved by `change`, kept in 0..1."""
    return dataclasses.replace(style, kpt_thr=float(np.clip(round(style.kpt_thr + change, 2), 0, 1)))
