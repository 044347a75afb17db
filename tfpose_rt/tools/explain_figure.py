"""The figure of `explain`: box, crop and refinement; where the picture is looked at; which joints listen to which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from tfpose_rt.crop import apply, invert
from tfpose_rt.skeleton import EDGES, NAMES, side
from tfpose_rt.tools.explain import Array, Explained
from tfpose_rt.tools.timeline import SIDES
from tfpose_rt.training.plots import blank

HEAT = "RdYlBu_r"  # red high, blue low
RIM, WAY, WITNESS = "#222222", "#FF00E0", "#39FF14"
LINKS = 30  # strongest q2q links on the body, when all joints are shown
WIDE = 16.0  # in
LABELS = [name.replace("_", " ") for name in NAMES]


def draw(seen: Explained, joint: int | None = None, layers: Sequence[int] = (-1,)) -> Any:
    """Draw everything that was recorded.

    Args:
        seen: one person.
        joint: the one to look at; all when None.
        layers: those whose attention is shown, from 0.
    Returns: a matplotlib figure: the refinement; a row of levels for each layer; a row of q2q for each layer.
    Raises: TfposeError: matplotlib is missing.
    """
    layers = [range(len(seen.looks))[layer] for layer in layers]
    tall = seen.crop.shape[0] / seen.crop.shape[1]
    heights = [_first_row(seen)[1], *([4.1 * tall / 1.333 + 0.4] * len(layers)), *([5.0] * len(layers))]
    made = blank(WIDE, sum(heights) + 0.9)
    what = "all joints" if joint is None else LABELS[joint]
    made.suptitle(f"{seen.title}: {what}, model {seen.model}", fontsize=14, fontweight="bold")
    parts = made.subfigures(len(heights), 1, height_ratios=heights, hspace=0.02)
    refinement(parts[0], seen, joint)
    chosen = slice(None) if joint is None else joint
    top = max(float(seen.looks[layer].weights[chosen].max()) for layer in layers)  # one scale for all layers
    for part, layer in zip(parts[1:], layers, strict=False):
        sampling(part, seen, joint, layer, top)
        (_moves if layer == layers[0] else _shares)(part.axes[len(seen.shapes)], seen, joint, layer)
    for part, layer in zip(parts[1 + len(layers) :], layers, strict=True):
        listening(part, seen, joint, layer)
    return made


def _first_row(seen: Explained) -> tuple[list[float], float]:
    """Width ratios of the picture and the crops, and the height of their row, in."""
    crop = seen.crop.shape[1] / seen.crop.shape[0]
    ratios = [seen.image.shape[1] / seen.image.shape[0], *([crop] * (len(seen.looks) + 1))]
    return ratios, (WIDE - 0.6) / sum(ratios) * 0.93 + 0.95


# ---- pictures under points


def backdrop(axes: Any, seen: Explained, *, faint: bool = False) -> None:
    """The crop, or a faint grey one, with pixel (0, 0) at its centre, and no ticks."""
    if faint:
        axes.imshow(cv2.cvtColor(seen.crop, cv2.COLOR_BGR2GRAY), cmap="gray", alpha=0.45, vmin=0, vmax=255)
    else:
        axes.imshow(cv2.cvtColor(seen.crop, cv2.COLOR_BGR2RGB))
    axes.set_xticks([])
    axes.set_yticks([])


def _body(axes: Any, xy: Array, *, colour: str | None = None, lw: float = 1.6, strong: int | None = None) -> None:
    """A skeleton of points (K, 2), in the colours of the sides or in one; one joint may be marked."""
    for a, b in EDGES:
        of = {side(a), side(b)} - {"middle"}
        tone = colour or (SIDES[of.pop()] if len(of) == 1 else "white")
        axes.plot(*xy[[a, b]].T, color=RIM, lw=lw + 1.2, solid_capstyle="round", zorder=2)
        axes.plot(*xy[[a, b]].T, color=tone, lw=lw, solid_capstyle="round", zorder=3)
    tones = [colour or SIDES[side(k)].replace("#444444", "#FFFFFF") for k in range(len(xy))]
    axes.scatter(*xy.T, s=14, c=tones, edgecolors=RIM, linewidths=0.7, zorder=4)
    if strong is not None:
        axes.plot(*xy[strong], "o", markersize=11, markerfacecolor="none", markeredgecolor="red", zorder=5, mew=1.8)


# ---- 1: from the picture to the answer


def refinement(part: Any, seen: Explained, joint: int | None) -> None:
    """The picture with its boxes, and the crop with the points of the start and of each layer."""
    part.suptitle("From the picture to the crop; the start y⁰, and the points after each decoder layer", fontsize=11)
    axes = part.subplots(1, len(seen.path) + 1, width_ratios=_first_row(seen)[0])
    _picture(axes[0], seen)
    for d, (one, xy) in enumerate(zip(axes[1:], seen.path, strict=True)):
        backdrop(one, seen)
        _body(one, xy, strong=joint)
        if d == 0:
            one.set_title("start y⁰", fontsize=9)
            continue
        for before, after in zip(seen.path[d - 1], xy, strict=True):
            one.plot(*np.stack((before, after)).T, color=WAY, lw=1.6, zorder=6)
        _witnesses(one, seen, d - 1, joint)
        moves = seen.moves[d - 1]
        text = f"mean move {moves.mean():.2f} px" if joint is None else f"moved {moves[joint]:.2f} px"
        one.set_title(f"layer {d}: {text}", fontsize=9)
    for one in axes[1:]:
        one.set(xlim=(-0.5, seen.crop.shape[1] - 0.5), ylim=(seen.crop.shape[0] - 0.5, -0.5))
    maps = "" if seen.looks[-1].witness is None else "\ngreen: where the maps say,\nlarger where it counts more"
    axes[-1].set_xlabel(f"magenta: the way from the guess before{maps}", fontsize=8)


def _witnesses(axes: Any, seen: Explained, layer: int, joint: int | None) -> None:
    """Where the witness's maps showed the joints when a layer had guessed, larger the more of the way was gone."""
    look = seen.looks[layer]
    if look.witness is None or look.share is None:
        return
    chosen = slice(None) if joint is None else [joint]
    at, share = seen.in_crop(look.witness[chosen]), look.share[chosen]
    axes.scatter(*at.T, s=4 + 40 * share, marker="D", facecolors="none", edgecolors=WITNESS, linewidths=1.1, zorder=7)


def _picture(axes: Any, seen: Explained) -> None:
    """The picture, everybody's box, and the part of it that becomes the crop."""
    axes.imshow(cv2.cvtColor(seen.image, cv2.COLOR_BGR2RGB))
    for i, (x0, y0, x1, y1) in enumerate(seen.boxes.tolist()):
        mine = i == seen.number
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
        axes.plot(*corners.T, color="#FFD400" if mine else "white", lw=2.2 if mine else 1.0)
        label = f"{i}: {seen.box_scores[i]:.2f}"
        axes.annotate(
            label, (x0, y0), (1, 1.5), textcoords="offset points", fontsize=8, va="bottom", color="black",
            bbox={"facecolor": "#FFD400" if mine else "white", "edgecolor": "none", "pad": 1.2},
        )  # fmt: skip
    w, h = seen.crop.shape[1::-1]
    edge = np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1], [0, 0]], np.float64)
    axes.plot(*apply(invert(seen.to_crop), edge).T, color="#FFD400", lw=1.4, ls="--")
    tall, wide = seen.image.shape[:2]
    axes.set(xlim=(-0.5, wide - 0.5), ylim=(tall - 0.5, -0.5), xticks=[], yticks=[])
    axes.set_title("boxes, scores; dashed: the crop", fontsize=9)


# ---- 2: where the picture is looked at


def sampling(part: Any, seen: Explained, joint: int | None, layer: int, top: float) -> None:
    """The sampling points of one layer on each level, coloured by weight up to `top`; one more axes is left empty."""
    from matplotlib.colors import PowerNorm  # most weights are small: a root tells them apart

    look, levels = seen.looks[layer], len(seen.shapes)
    count, heads, points = len(look.places), look.places.shape[1], look.places.shape[3]
    whose = "all joints" if joint is None else f"the {LABELS[joint]}"
    what = f"p2q sampling points, {heads} heads x {points} points a level, around the guess before (+)"
    part.suptitle(f"Layer {layer + 1} looks for {whose}: {what}", fontsize=11)
    axes = part.subplots(1, levels + 1, width_ratios=[1] * levels + [1.25])
    chosen = list(range(count)) if joint is None else [joint]
    dots = None
    for level, ((h, w), one) in enumerate(zip(seen.shapes, axes, strict=False)):
        backdrop(one, seen, faint=True)
        _cells(one, (w, h), seen.crop.shape[1::-1])
        _body(one, seen.path[layer], colour="0.75", lw=0.8)
        at = seen.in_crop(look.places[chosen, :, level]).reshape(-1, 2)
        weight = look.weights[chosen, :, level].ravel()
        order = np.argsort(weight)
        dots = one.scatter(
            *at[order].T, c=weight[order], s=12 if joint is None else 34, cmap=HEAT, norm=PowerNorm(0.5, 0, top),
            alpha=0.35 + 0.65 * np.sqrt(weight[order] / top), edgecolors=RIM, linewidths=0.4, zorder=6,
        )  # fmt: skip
        one.plot(*seen.path[layer][chosen].T, "+", color="black", markersize=9 if joint is not None else 5, zorder=7)
        share = look.weights[chosen, :, level].sum(-1).mean()
        stride = seen.crop.shape[1] // w
        one.set_title(f"stride {stride} ({w} x {h}): {share:.0%} of the weight", fontsize=9)
        margin = 0.06 * seen.crop.shape[0]
        one.set(xlim=(-margin, seen.crop.shape[1] + margin), ylim=(seen.crop.shape[0] + margin, -margin))
    bar = part.colorbar(dots, ax=list(axes[:levels]), shrink=0.75, aspect=28, pad=0.01)
    bar.set_label("weight (1 in all a head)", fontsize=8)


def _cells(axes: Any, count: tuple[int, int], size: tuple[int, int]) -> None:
    """The borders of a level's pixels on the crop: `count` of them across and down `size` px."""
    x, y = (np.linspace(-0.5, side - 0.5, n + 1) for side, n in zip(size, count, strict=True))
    axes.vlines(x, y[0], y[-1], color="0.55", lw=0.35, alpha=0.6, zorder=1)
    axes.hlines(y, x[0], x[-1], color="0.55", lw=0.35, alpha=0.6, zorder=1)


def _shares(axes: Any, seen: Explained, joint: int | None, layer: int) -> None:
    """How one layer's weight is shared among the levels, a bar a joint."""
    share = seen.looks[layer].weights.sum(-1).mean(1)  # (K, L)
    for level, (_, w) in enumerate(seen.shapes):
        left = share[:, :level].sum(1)
        tone = str(0.35 + 0.5 * level / max(len(seen.shapes) - 1, 1))
        axes.barh(range(len(share)), share[:, level], left=left, color=tone, label=f"stride {seen.crop.shape[1] // w}")
    axes.set_yticks(range(len(share)), LABELS, fontsize=8)
    axes.set(xlim=(0, 1), ylim=(len(share) - 0.5, -0.5))
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title(f"layer {layer + 1}: weight by level, mean of the heads", fontsize=9)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=len(seen.shapes), frameon=False, fontsize=8)
    _mark(axes, joint)


def _moves(axes: Any, seen: Explained, joint: int | None, layer: int) -> None:
    """How far each layer moved each joint, as numbers on colours."""
    moves = seen.moves.T  # (K, N_D)
    axes.imshow(np.log1p(moves), cmap="Greens", aspect="auto", vmax=np.log1p(moves.max()) * 1.25 + 1e-9)
    for k, d in np.ndindex(*moves.shape):
        axes.text(d, k, f"{moves[k, d]:.2f}", ha="center", va="center", fontsize=7.5)
    axes.set_xticks(range(moves.shape[1]), [f"layer {d + 1}" for d in range(moves.shape[1])], fontsize=8)
    axes.set_yticks(range(len(moves)), LABELS, fontsize=8)
    axes.set_title("moves, px of the picture", fontsize=9)
    _mark(axes, joint)


def _mark(axes: Any, joint: int | None) -> None:
    if joint is not None:
        label = axes.get_yticklabels()[joint]
        label.set_color("red")
        label.set_fontweight("bold")


# ---- 3: which joints listen to which


def listening(part: Any, seen: Explained, joint: int | None, layer: int) -> None:
    """Self-attention of the keypoint queries, mean of the heads: as a matrix, and on the body."""
    attention = seen.looks[layer].q2q
    if attention is None:
        part.text(0.5, 0.5, "this model has no q2q attention", ha="center")
        return
    mean = attention.mean(0)
    part.suptitle(
        f"Layer {layer + 1}, q2q: how much each joint (row) listens to each other (column), mean of the heads",
        fontsize=11,
    )
    matrix, one, strongest = part.subplots(1, 3, width_ratios=[1.35, 0.8, 1.0])
    top = max(float(mean.max()), 2 / len(mean))  # all alike is the middle of the scale
    shown = matrix.imshow(mean, cmap=HEAT, vmin=0, vmax=top)
    matrix.set_xticks(range(len(mean)), LABELS, rotation=90, fontsize=8)
    matrix.set_yticks(range(len(mean)), LABELS, fontsize=8)
    _mark(matrix, joint)
    part.colorbar(shown, ax=matrix, shrink=0.8, aspect=25, pad=0.02).set_label(
        "attention (a row sums to 1)", fontsize=8
    )
    _links(one, seen, joint, layer, top if joint is None else max(float(mean[joint].max()), 2 / len(mean)))
    _ranking(strongest, joint, mean)


def links(mean: Array, joint: int | None) -> list[tuple[int, int, float]]:
    """The links worth drawing as (listener, heard, attention), weakest first: all of one joint, or the strongest."""
    pairs = [(a, b, float(mean[a, b])) for a, b in np.ndindex(*mean.shape) if a != b and joint in (None, a)]
    return sorted(pairs, key=lambda pair: pair[2])[-(LINKS if joint is None else len(pairs)) :]


def _links(axes: Any, seen: Explained, joint: int | None, layer: int, top: float) -> None:
    """Arrows between joints on the body, coloured by attention up to `top`."""
    import matplotlib

    attention = seen.looks[layer].q2q
    assert attention is not None
    xy, heat = seen.path[layer], matplotlib.colormaps[HEAT]
    backdrop(axes, seen, faint=True)
    for a, b, weight in links(attention.mean(0), joint):
        share = weight / top
        axes.annotate(
            "", xy[a], xy[b], zorder=3 + share,
            arrowprops={"arrowstyle": "-|>", "color": heat(share), "lw": 0.5 + 2.2 * share, "mutation_scale": 9,
                        "connectionstyle": "arc3,rad=0.12", "shrinkA": 2, "shrinkB": 3},
        )  # fmt: skip
    tones = [SIDES[side(k)].replace("#444444", "#FFFFFF") for k in range(len(xy))]
    axes.scatter(*xy.T, s=26, c=tones, edgecolors=RIM, linewidths=0.8, zorder=5)
    if joint is not None:
        axes.plot(*xy[joint], "o", markersize=12, markerfacecolor="none", markeredgecolor="red", mew=1.8, zorder=6)
    axes.set(xlim=(-0.5, seen.crop.shape[1] - 0.5), ylim=(seen.crop.shape[0] - 0.5, -0.5))
    what = f"{LINKS} strongest links" if joint is None else f"what the {LABELS[joint]} hears"
    axes.set_title(f"{what}; arrows point to the listener", fontsize=9)


def _ranking(axes: Any, joint: int | None, mean: Array) -> None:
    """Bars: what one joint listens to, or how much each joint is listened to by the others."""
    if joint is None:
        value = (mean.sum(0) - np.diag(mean)) / (len(mean) - 1)
        title = "how much the others listen to each joint, mean"
    else:
        value, title = mean[joint], f"what the {LABELS[joint]} listens to"
    axes.barh(range(len(value)), value, color=[SIDES[side(k)] for k in range(len(value))])
    axes.axvline(1 / len(value), color="0.4", lw=1, ls=":")
    axes.set_yticks(range(len(value)), LABELS, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(f"{title} (dotted: all alike)", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    _mark(axes, joint)
