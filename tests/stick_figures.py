"""People of straight limbs, built from the leans of their segments: the angles that they must have are known."""

import numpy as np

from tfpose_rt.skeleton import INDEX

LENGTH = {"trunk": 150, "thigh": 120, "shank": 110, "upper_arm": 90, "forearm": 80}  # px
CHAIN = (("hip", "thigh", "knee"), ("knee", "shank", "ankle"), ("shoulder", "upper_arm", "elbow"),
         ("elbow", "forearm", "wrist"))  # fmt: skip  # from the upper end down


def along(lean, length):
    """From the lower end to the upper one: 0 is up, 90 to the right of the picture (y points down)."""
    turn = np.radians(lean)
    return length * np.array([np.sin(turn), -np.cos(turn)])


def figure(left, right=None, *, hips=(400.0, 300.0)):
    """The joints (17, 2) px of somebody whose segments lean so (degrees); both sides alike unless told otherwise.

    The head lies on the shoulders. Both sides share the trunk of `left`; they are 12 px apart.
    """
    xy = np.full((17, 2), np.nan)
    for side, leans, aside in (("left", left, 6), ("right", right or left, -6)):
        xy[INDEX[f"{side}_hip"]] = hips[0] + aside, hips[1]
        xy[INDEX[f"{side}_shoulder"]] = xy[INDEX[f"{side}_hip"]] + along(left["trunk"], LENGTH["trunk"])
        for upper, segment, lower in CHAIN:
            below = xy[INDEX[f"{side}_{upper}"]] - along(leans[segment], LENGTH[segment])
            xy[INDEX[f"{side}_{lower}"]] = below
    xy[:5] = xy[INDEX["left_shoulder"]]
    return xy


def expected(left, right=None):
    """Every angle of that figure by its name: differences of leans, and the leans themselves."""
    out = {"trunk": left["trunk"]}
    for side, leans in (("left", left), ("right", right or left)):
        out |= {f"{side}_{segment}": leans[segment] for segment in ("thigh", "shank", "upper_arm", "forearm")}
        bends = {"knee": leans["thigh"] - leans["shank"], "hip": left["trunk"] - leans["thigh"],
                 "elbow": leans["upper_arm"] - leans["forearm"]}  # fmt: skip
        out |= {f"{side}_{joint}": 180 - _least(bend) for joint, bend in bends.items()}
        out[f"{side}_shoulder"] = _least(leans["upper_arm"] - left["trunk"])
    return out


def _least(turn):
    """A difference of directions as 0..180."""
    return abs((turn + 180) % 360 - 180)
