"""plot: figures of a recording over its own time, for papers and for doubts.

A line is drawn through known points alone: it stops where a person is not seen, a joint is under the threshold or
frames are missing, and the place is shaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from tfpose_rt.errors import UsageError
from tfpose_rt.skeleton import EDGES, INDEX, NAMES, side
from tfpose_rt.tools.motion import ANGLES, TRUNK, Array, Motion, ids_of, joints_of, sure
from tfpose_rt.tools.plot_table import angle_of, mostly_known, speed_of, steps, x_of, y_of
from tfpose_rt.tools.smoothing import described
from tfpose_rt.tools.timeline import (
    ABSENT,
    MISSING,
    SIDES,
    View,
    finish,
    over_time,
    shade,
    spans,
    tidy,
    title_of,
)
from tfpose_rt.training.plots import COLOURS, blank
from tfpose_rt.wording import plural

SUFFIXES = (".png", ".svg", ".pdf")
MOST = 6  # people drawn unless they were named
MOMENTS = 7  # skeletons beside the paths
NAMED = 6  # joints that still get a colour each: tones of their side's
TONES = {
    "left": ("#E69F00", "#D55E00", "#8C510A"),
    "right": ("#0072B2", "#56B4E9", "#009E73"),
    "middle": ("#444444",),
}


def plot(
    motion: Motion,
    what: str = "xy",
    *,
    ids: str = "all",
    joints: str = "all",
    threshold: float = 0.3,
    field: str = "raw",
) -> Any:
    """Draw one figure of a recording.

    Args:
        motion: the recording, read with the same `field`.
        what: a key of `DRAWINGS`.
        ids: `all` (the longest seen where they are many), or numbers with commas.
        joints: `all`, or names with commas.
        threshold: joint score under which a point counts as unknown.
        field: raw or smooth, for the caption.
    Returns: a matplotlib figure.
    Raises: UsageError: no such figure, joint or id. InputError: nobody to draw. TfposeError: matplotlib is missing.
    """
    view = view_of(motion, what, ids=ids, joints=joints, threshold=threshold, field=field, most=MOST)
    return DRAWINGS[what](view)


def view_of(
    motion: Motion, what: str, *, ids: str, joints: str, threshold: float, field: str, most: int | None = None
) -> View:
    """Who and which joints are asked for; as in `plot`, with at most so many people unless they were named."""
    if what not in DRAWINGS:
        raise UsageError(f"--what {what}", why="no such figure", fix=", ".join(DRAWINGS))
    chosen = joints_of(joints, ANGLES if what == "angles" else NAMES)
    everybody = () if what == "timing" else ids_of(ids, motion)
    people = [motion.people[i] for i in everybody]
    points = described(motion.header.get("smooth")) if field == "smooth" else "raw points"
    note = "" if what == "timing" else f"{points}; joints scored under {threshold:g} count as unknown"
    if most and ids in ("", "all") and len(people) > most and what != "gaps":
        longest = sorted(people, key=lambda p: -int(p.seen.sum()))[:most]
        note += f"; {most} of {len(people)} people, those seen longest"
        people = sorted(longest, key=lambda p: p.id)
    return View(motion, people, chosen, threshold, note)


def check_suffix(path: Path) -> None:
    """Raises: UsageError: no figure has that suffix."""
    if path.suffix.lower() not in SUFFIXES:
        why = f"no figure is saved as {path.suffix}" if path.suffix else "it has no suffix"
        raise UsageError(f"-o {path}", why=why, fix=f"{path.stem}.png, .svg or .pdf")


def draw_xy(view: View) -> Any:
    """X and y of each joint over time."""
    columns = [("x", partial(x_of, view)), ("y", partial(y_of, view))]
    made, grid = over_time(view, columns, unit="px", spread=lambda p, n: p.errors[:, INDEX[n]])
    for axes in grid[:, 1::2].flat:
        axes.invert_yaxis()
    told = not all(np.isnan(person.errors).all() for person in view.people)
    fitted = view.motion.header.get("error_kind") == "calibrated"
    means = "within which half of such joints lie" if fitted else "not fitted: wider where it is less sure"
    band = f"band: the joint's own error, {means}" if told else ""
    turned = "y counts downwards, its axes are turned so that up is up"
    return finish(made, view, "joint positions", grid.flat, turned, band)


def draw_speed(view: View) -> Any:
    """Speed of each joint over time."""
    made, grid = over_time(view, [("", partial(speed_of, view))], unit="px/s")
    for axes in grid.flat:
        axes.set_ylim(bottom=0)
    return finish(made, view, "joint speeds in the image plane", grid.flat, "px a second, by the frames' own times")


def draw_angles(view: View) -> Any:
    """Angle at each joint, and of the trunk, over time."""
    made, grid = over_time(view, [("", partial(angle_of, view))], unit="image-plane °")
    for axes in grid.flat:
        axes.set_ylim(0, 185)
        axes.set_yticks([0, 45, 90, 135, 180])
    note = "image-plane degrees: the angle as seen in the picture, not the joint's angle in space; 180 = stretched"
    trunk = "trunk: hips to shoulders against the picture's vertical, 0 = upright" if TRUNK in view.joints else ""
    return finish(made, view, "joint angles in the image plane", grid.flat, note, trunk)


def draw_traj(view: View) -> Any:
    """Paths in the picture, a panel a person, and skeletons at a few moments; the same extent in all panels."""
    known = [sure(person, view.threshold) for person in view.people]
    numbers = [INDEX[name] for name in view.joints]
    low, high = _extent(known, view.motion.size)
    columns = min(len(view.people), 3 if high[0] - low[0] < high[1] - low[1] else 2)
    rows, wide = -(-len(view.people) // columns), 8.0 if columns == 1 else 6.0
    tall = float(np.clip(wide * (high[1] - low[1]) / (high[0] - low[0]), 1.5, 9))
    made = blank(wide * columns + 0.5, (tall + 0.5) * rows + 1.0)
    grid = made.subplots(rows, columns, squeeze=False)
    few = len(numbers) <= NAMED
    tones = {name: cycle(colours) for name, colours in TONES.items()}
    paint = {
        k: (next(tones[side(k)]), NAMES[k].replace("_", " ")) if few else (SIDES[side(k)], side(k)) for k in numbers
    }
    for axes, person, xy in zip(grid.flat, view.people, known, strict=False):
        _strobe(axes, xy)
        for k, (colour, name) in paint.items():
            axes.plot(*xy[:, k].T, color=colour, lw=1.6 if few else 0.9, alpha=0.9, label=name)
            there = np.flatnonzero(~np.isnan(xy[:, k, 0]))
            for row, inside in ((0, "white"), (-1, colour)) if len(there) else ():
                axes.plot(*xy[there[row], k], "o", color=colour, markersize=4, markerfacecolor=inside)
        shown = f"{person.seen.sum()} of {plural(int(view.motion.there.sum()), 'frame')}"
        axes.set_title(f"{title_of(person)}, seen in {shown}", fontsize=10)
        axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal", xlabel="x, px", ylabel="y, px")
        tidy(axes)
    for axes in grid.flat[len(view.people) :]:
        axes.set_visible(False)
    note = "ring: first known point, dot: last; skeletons from early (light) to late (dark)"
    return finish(made, view, "paths of the joints in the picture", grid.flat[: len(view.people)], note)


def _extent(points: Sequence[Array], size: tuple[int, int]) -> tuple[Array, Array]:
    """Low and high corner, px, of all known points with a margin; the whole picture where there are none."""
    every = np.concatenate([xy.reshape(-1, 2) for xy in points])
    every = every[~np.isnan(every).any(-1)]
    if not len(every):
        return np.zeros(2), np.array(size, float)
    margin = 0.06 * max(float(np.ptp(every, axis=0).max()), 20.0)
    return every.min(0) - margin, every.max(0) + margin


def _strobe(axes: Any, xy: Array) -> None:
    """Skeletons at evenly spread moments, later ones darker."""
    rows = np.flatnonzero(~np.isnan(xy[..., 0]).all(-1))
    for i, row in enumerate(rows[np.linspace(0, len(rows) - 1, min(MOMENTS, len(rows))).round().astype(int)]):
        grey = str(round(0.85 - 0.5 * i / max(MOMENTS - 1, 1), 3))
        for a, b in EDGES:
            axes.plot(*xy[row, [a, b]].T, color=grey, lw=1.4, zorder=1, solid_capstyle="round")


def draw_score(view: View) -> Any:
    """Score of each joint over time, as a picture with a row a joint."""
    numbers = [INDEX[name] for name in view.joints]
    made = blank(9, max(0.19 * len(numbers) + 0.5, 1.2) * len(view.people) + 1.4)
    grid = made.subplots(len(view.people), 1, sharex=True, squeeze=False)[:, 0]
    for axes, person in zip(grid, view.people, strict=True):
        shade(axes, spans(view.motion.there & ~person.seen, view.edges), ABSENT, "not seen")
        cells = np.ma.masked_invalid(person.scores[:, numbers].T)
        mesh = axes.pcolormesh(view.edges, np.arange(len(numbers) + 1), cells, cmap="viridis", vmin=0, vmax=1)
        mesh.set_rasterized(True)
        shade(axes, spans(~view.motion.there, view.edges), MISSING, "frames missing")
        axes.set_yticks(np.arange(len(numbers)) + 0.5, [NAMES[k].replace("_", " ") for k in numbers], fontsize=7)
        axes.invert_yaxis()
        axes.set_title(title_of(person), fontsize=10, loc="left")
        axes.set_xlim(view.edges[0], view.edges[-1])
        axes.tick_params(labelsize=7.5)
    grid[-1].set_xlabel("time, s", fontsize=9)
    bar = made.colorbar(mesh, ax=list(grid), shrink=min(1.0, 3.0 / (made.get_figheight() - 1.4)), aspect=22, pad=0.01)
    bar.ax.axhline(view.threshold, color="white", lw=2)
    bar.set_label("score", fontsize=8)  # beside one joint there is no room for a sentence
    return finish(made, view, "scores of the joints", grid, f"white line in the scale: {view.threshold:g}")


def draw_gaps(view: View) -> Any:
    """Who is known when: a lane a person, or a lane a joint where there is one person."""
    motion, one = view.motion, len(view.people) == 1
    groups = [[name] for name in view.joints] if one else [list(view.joints)]
    lanes = [(person, names) for person in view.people for names in groups]
    made = blank(9, 0.26 * len(lanes) + 1.8)
    axes = made.subplots()
    for row, (person, names) in enumerate(lanes):
        away = motion.there & ~person.seen
        if away.any():
            axes.broken_barh(spans(away, view.edges), (row - 0.36, 0.72), color=ABSENT, lw=0, label="not seen")
        known = mostly_known(view, person, names)
        colour = SIDES[side(INDEX[names[0]])] if one else COLOURS[row % len(COLOURS)]
        axes.broken_barh(spans(person.seen & known, view.edges), (row - 0.36, 0.72), color=colour, lw=0)
        axes.broken_barh(spans(person.seen & ~known, view.edges), (row - 0.36, 0.72), color=colour, alpha=0.35, lw=0)
        share = known[motion.there].mean()
        axes.text(1.01, row, f"{share:.0%}", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    shade(axes, spans(~motion.there, view.edges), MISSING, "frames missing")
    for a, b, reason in motion.holes if len(motion.holes) <= 8 else ():
        axes.text((a + b) / 2, -0.55, reason, ha="center", va="bottom", fontsize=7)
    axes.set_yticks(range(len(lanes)), [n[0].replace("_", " ") if one else title_of(p) for p, n in lanes], fontsize=8)
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_xlim(view.edges[0], view.edges[-1])
    axes.set_xlabel("time, s", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    what = "the joint" if one else "at least half of the joints"
    level = f"scored {view.threshold:g} or more"
    note = f"full colour: {what} {level}, at the right in how many of the frames; pale: seen, but scored less"
    title = f"gaps of {title_of(view.people[0])}" if one else "who is seen when"
    return finish(made, view, title, [axes], note)


def draw_timing(view: View) -> Any:
    """Time from frame to frame, and of live recordings the latency and what was passed over."""
    motion = view.motion
    parts = [("from the frame before, ms", steps(motion))]
    if not np.isnan(motion.latency).all():
        parts.append(("latency, ms", motion.latency))
    if motion.skipped.any():
        parts.append(("frames passed over", np.where(motion.there, motion.skipped, np.nan)))
    made = blank(9, 2.4 * len(parts) + 1.2)
    grid = made.subplots(len(parts), 2, sharex="col", sharey="row", squeeze=False, width_ratios=[6, 1])
    for (axes, beside), (name, values) in zip(grid, parts, strict=True):
        shade(axes, [(a, b - a) for a, b, _ in motion.holes], MISSING, "frames missing")
        axes.plot(motion.pts, values, ".", color="#0072B2", markersize=3, rasterized=len(values) > 20000)
        good = values[~np.isnan(values)]
        if len(good):
            top = good.max() * 1.15 + 1e-9
            beside.hist(good, bins=np.linspace(0, top, 41), orientation="horizontal", color="#0072B2")
            middle, late = np.percentile(good, [50, 95])
            axes.set_title(f"median {middle:.4g}, p95 {late:.4g}, max {good.max():.4g}", fontsize=9, loc="right")
            axes.set_ylim(0, top)
        axes.set_ylabel(name, fontsize=9)
        tidy(axes)
        tidy(beside)
    nominal = (motion.header.get("fps") or {}).get("nominal")
    if nominal:
        grid[0, 0].axhline(1e3 / nominal, color="#D55E00", lw=1, ls="--", label=f"nominal {nominal:g} fps")
    grid[-1, 0].set_xlabel("time, s", fontsize=9)
    grid[-1, 1].set_xlabel("frames", fontsize=9)
    rate = "variable" if (motion.header.get("fps") or {}).get("variable") else "constant"
    return finish(
        made, view, "time stamps of the frames", grid[:, 0], f"{plural(int(motion.there.sum()), 'frame')}, {rate} rate"
    )


DRAWINGS: Mapping[str, Callable[[View], Any]] = {
    "xy": draw_xy, "traj": draw_traj, "speed": draw_speed, "angles": draw_angles, "score": draw_score,
    "gaps": draw_gaps, "timing": draw_timing,
}  # fmt: skip
