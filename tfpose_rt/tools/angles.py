"""The angles of a person in the picture, in degrees, and how far each is expected to be off.

Joints (`CORNERS`) are 0..180 between two limbs, 180 stretched: without feet, which way a person faces is not known, so
they have no sign. Segments lean against the picture's vertical, from their lower end as the body stands to the upper
one: 0 where that is straight above, positive to the right of the picture, 180 upside down.
"""

from __future__ import annotations

import numpy as np

from tfpose_rt.skeleton import INDEX
from tfpose_rt.tools.motion import CORNERS, TRUNK, Array, angles

# The joints at the lower end and at the upper end; of two, the point half-way.
SEGMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    TRUNK: (("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")),
    **{
        f"{side}_{segment}": ((f"{side}_{lower}",), (f"{side}_{upper}",))
        for segment, lower, upper in (
            ("thigh", "knee", "hip"), ("shank", "ankle", "knee"), ("upper_arm", "elbow", "shoulder"),
            ("forearm", "wrist", "elbow"),
        )
        for side in ("left", "right")
    },
}  # fmt: skip
TABLE = (*CORNERS, *SEGMENTS)  # in the order of their columns

# Half of what is spread normally lies within 0.674 standard deviations, in the plane half within 1.177 of its radius.
HALF = 0.6744898 / 1.1774100
NOTHING = 90.0  # half of all directions lie within it: no more can be said of points that coincide


def degrees(xy: Array, name: str) -> Array:
    """One angle of `TABLE` (T,) from points (T, K, 2) px; NaN where a joint is unknown or two coincide."""
    if name not in SEGMENTS:
        return angles(xy, name)
    lower, upper = (_middle(xy, ends) for ends in SEGMENTS[name])
    x, y = (upper - lower).T
    return np.asarray(np.where((x == 0) & (y == 0), np.nan, np.degrees(np.arctan2(x, -y))))


def degrees_error(xy: Array, errors: Array, name: str) -> Array:
    """How far an angle of `TABLE` is expected to be off (T,), at most 90: half of such angles lie within.

    To first order, with joints that err independently and alike in every direction: a point that is e px off turns a
    line to another one L px away by e / L.

    Args:
        xy: (T, K, 2) px.
        errors: (T, K) px, within which half of such points lie.
        name: of the angle.
    Returns: degrees; NaN where the angle or one of the errors is unknown.
    """
    if name in SEGMENTS:
        lower, upper = (_middle(xy, ends) for ends in SEGMENTS[name])
        squares = sum(
            ((errors[:, INDEX[joint]] / len(ends)) ** 2 for ends in SEGMENTS[name] for joint in ends),
            np.zeros(len(xy)),
        )  # fmt: skip
        turned = np.sqrt(squares), np.linalg.norm(upper - lower, axis=-1)
    else:
        one, other = (xy[:, INDEX[end]] - xy[:, INDEX[name]] for end in CORNERS[name])
        a, b, c = (np.linalg.norm(line, axis=-1) for line in (one, other, one - other))
        mine, first, second = (errors[:, INDEX[joint]] for joint in (name, *CORNERS[name]))
        turned = np.sqrt((first * b) ** 2 + (second * a) ** 2 + (mine * c) ** 2), a * b
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.minimum(np.degrees(HALF * turned[0] / turned[1]), NOTHING)
    return np.asarray(np.where(np.isnan(degrees(xy, name)), np.nan, out))


def unwrapped(values: Array) -> Array:
    """Directions (T,), degrees, counted on across 180 so that they lie around their mean: 179 and -179 are 2 apart."""
    known = np.radians(values[~np.isnan(values)])
    centre = np.degrees(np.arctan2(np.sin(known).sum(), np.cos(known).sum())) if len(known) else 0.0
    return np.asarray(centre + (values - centre + 180) % 360 - 180)


def _middle(xy: Array, joints: tuple[str, ...]) -> Array:
    return np.asarray(xy[:, [INDEX[joint] for joint in joints]].mean(1))
