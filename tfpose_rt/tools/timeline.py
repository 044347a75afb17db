"""What the figures over time share: who is drawn, lines that stop where nothing is known, and shades that say why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt

from tfpose_rt.skeleton import INDEX, side
from tfpose_rt.tools.motion import Array, Motion, Person, runs
from tfpose_rt.training.plots import blank

Mask = npt.NDArray[np.bool_]
SIDES = {"left": "#E69F00", "right": "#0072B2", "middle": "#444444"}  # the person's own, as in overlays
MISSING, ABSENT = "0.70", "0.90"  # greys: frames are missing; the person is not seen
UNKNOWN = "#CC79A7"  # nothing in these axes is known, though the person is seen
ORDER = ("left", "right", "middle", "left unknown", "right unknown", "unknown", "not seen", "frames missing")


@dataclass(frozen=True, slots=True)
class View:
    """What is to be drawn: who, which joints, from which score on."""

    motion: Motion
    people: Sequence[Person]
    joints: Sequence[str]
    threshold: float
    note: str  # what the reader has to know of the numbers

    @property
    def edges(self) -> Array:
        """(T + 1,) s, when each row begins, and when the last one ends."""
        pts = self.motion.pts
        return np.append(pts, pts[-1] + (np.median(np.diff(pts)) if len(pts) > 1 else 0.04))


def title_of(person: Person) -> str:
    """What to call somebody in a figure."""
    return "the person" if person.id < 0 else f"id {person.id}"


def spans(mask: Mask, edges: Array) -> list[tuple[float, float]]:
    """Each stretch of True rows as (begin, length) in s: from the row's beginning to the next row's."""
    return [(float(edges[r.start]), float(edges[r.stop] - edges[r.start])) for r in runs(mask)]


def between(mask: Mask, pts: Array) -> list[tuple[float, float]]:
    """Each stretch of True rows as (begin, length) in s: from the last row before it to the first row after it."""
    out = []
    for part in runs(mask):
        begin, end = pts[max(part.start - 1, 0)], pts[min(part.stop, len(pts) - 1)]
        out.append((float(begin), float(end - begin)))
    return out


def shade(axes: Any, where: Sequence[tuple[float, float]], colour: str, name: str, alpha: float = 1.0) -> None:
    """Shade stretches of time over the whole height of the axes, behind everything."""
    if where:
        across = axes.get_xaxis_transform()
        axes.broken_barh(where, (0, 1), transform=across, color=colour, alpha=alpha, lw=0, zorder=0, label=name)


def shade_unknown(axes: Any, view: View, person: Person, lines: Sequence[tuple[str, Array]]) -> None:
    """Shade what keeps the lines apart: missing frames, the person out of sight, and each line's unknown points.

    Args:
        axes: over time.
        view: what is drawn.
        person: whose lines they are.
        lines: side and values (T,) of each.
    """
    motion = view.motion
    shade(axes, between(motion.there & ~person.seen, motion.pts), ABSENT, "not seen")
    lows = [person.seen & np.isnan(values) for _, values in lines]
    nothing = np.logical_and.reduce(lows)
    for (name, _), low in zip(lines, lows, strict=True):
        shade(axes, between(low & ~nothing, motion.pts), SIDES[name], f"{name} unknown", alpha=0.18)
    shade(axes, between(nothing, motion.pts), UNKNOWN, "unknown", alpha=0.3)
    shade(axes, [(a, b - a) for a, b, _ in motion.holes], MISSING, "frames missing")


def line(axes: Any, pts: Array, values: Array, colour: str, name: str) -> None:
    """A line through known values (T,), broken at NaN; a known value without known neighbours is a dot."""
    alone = [r.start for r in runs(~np.isnan(values)) if r.stop - r.start == 1]
    axes.plot(pts, values, color=colour, lw=1.1, label=name)
    if alone:  # whole and over the axis, where it is the first frame or the last
        axes.plot(pts[alone], values[alone], ".", color=colour, markersize=4, clip_on=False, zorder=3)


def band(axes: Any, pts: Array, values: Array, half: Array, colour: str) -> None:
    """A pale band of `half` (T,) on either side of values (T,), behind the lines."""
    known = ~(np.isnan(values) | np.isnan(half))
    if known.any():
        low, high = values - half, values + half
        axes.fill_between(pts, low, high, where=known, color=colour, alpha=0.2, lw=0, zorder=1)


def tidy(axes: Any) -> None:
    """Light grid, no box."""
    axes.grid(color="0.88", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def finish(made: Any, view: View, title: str, axes: Sequence[Any], *more: str) -> Any:
    """Title, caption and one legend for all axes."""
    header = view.motion.header
    wide, tall = made.get_size_inches()
    handles: dict[str, Any] = {}
    for one in axes:
        for handle, name in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    handles = {name: handles[name] for name in sorted(handles, key=lambda n: ORDER.index(n) if n in ORDER else -1)}
    source = (header.get("source") or {}).get("name") or view.motion.name
    # the layout keeps room for a second line, where the legend stands
    made.suptitle(f"{source}: {title}" + "\n" * bool(handles), fontsize=12, fontweight="bold", linespacing=1.7)
    if handles:
        made.legend(
            handles.values(), handles.keys(), loc="upper center", bbox_to_anchor=(0.5, 1 - 0.26 / tall),
            ncols=len(handles), frameon=False, fontsize=8.5, handlelength=1.4, columnspacing=1.4,
        )  # fmt: skip
    model = (header.get("model") or {}).get("name") or "?"
    facts = [*more, view.note, f"model {model}, {header.get('score_kind', 'raw')} scores"]
    made.supxlabel(fill("; ".join(filter(None, facts)), round(15 * wide)), fontsize=8, color="0.35")
    return made


def grouped(joints: Sequence[str]) -> dict[str, list[str]]:
    """Joints by their name without the side, so that left and right share axes."""
    groups: dict[str, list[str]] = {}
    for name in joints:
        groups.setdefault(name.partition("_")[2] or name, []).append(name)
    return groups


Series = Callable[[Person, str], Array]


def over_time(
    view: View, columns: Sequence[tuple[str, Series]], *, unit: str, spread: Series | None = None
) -> tuple[Any, Any]:
    """A grid of small axes over time: a row for each pair of joints, and for each person every column's series.

    Args:
        view: what to draw.
        columns: title and values (T,) of a joint of a person.
        unit: of the values.
        spread: half of the height (T,) of a band around every line; none where it is NaN.
    Returns: the figure and its axes (rows, people x columns).
    """
    groups = grouped(view.joints)
    wide = len(view.people) * len(columns)
    each = 8.0 if wide == 1 else 4.6 if wide <= 4 else 3.4
    made = blank(each * wide + 0.6, 1.25 * len(groups) + 1.5)
    grid = made.subplots(len(groups), wide, sharex=True, sharey="row" if len(columns) == 1 else False, squeeze=False)
    for row, (joint, names) in enumerate(groups.items()):
        for place, (person, (heading, series)) in enumerate((p, c) for p in view.people for c in columns):
            axes = grid[row, place]
            lines = [(side(INDEX[name]) if name in INDEX else "middle", series(person, name)) for name in names]
            shade_unknown(axes, view, person, lines)
            for name, (label, values) in zip(names, lines, strict=True):
                if spread is not None:
                    band(axes, view.motion.pts, values, spread(person, name), SIDES[label])
                line(axes, view.motion.pts, values, SIDES[label], label)
            tidy(axes)
            if row == 0:
                axes.set_title(", ".join(filter(None, (title_of(person), heading))), fontsize=10)
            if place == 0:
                axes.set_ylabel(f"{joint}\n{unit}", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("time, s", fontsize=9)
        begin, end = view.motion.pts[[0, -1]]
        axes.set_xlim(begin - 0.5 * (begin == end), end + 0.5 * (begin == end))  # a lone frame in the middle
    return made, grid
