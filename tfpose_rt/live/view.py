"""What the live picture shows: the style the keys change, and the picture made of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from tfpose_rt.caption import banner
from tfpose_rt.draw import Background, DrawStyle, draw, with_threshold
from tfpose_rt.live.metrics import RED, Metrics
from tfpose_rt.live.trails import Trails
from tfpose_rt.live.window import help_sheet, notice, readable, recording_mark
from tfpose_rt.records import Image, Result

BACKGROUNDS: tuple[Background, ...] = ("frame", "black", "blur-people")
FLAGS = ("boxes", "ids", "skeleton", "points", "names", "mirror")


@dataclass(slots=True)
class View:
    """State of the picture; one owner.

    Args:
        style: what is drawn.
        metrics: 0 off, 1 short, 2 full.
        trails: whether trails are drawn.
        help: whether the help sheet lies over everything.
        message: a line of news and until when (s, monotonic) it is shown.
    """

    style: DrawStyle = field(default_factory=DrawStyle)
    metrics: int = 1
    trails: bool = False
    help: bool = False
    message: tuple[str, float] = ("", 0.0)
    history: Trails = field(default_factory=Trails)

    @property
    def hides_people(self) -> bool:
        """Whether people are to be unrecognisable: on the screen, the page, in takes and snapshots alike."""
        return self.style.background == "blur-people"

    def press(self, word: str) -> str | None:
        """Obey a key that changes the picture alone; the news about it, None when the key means something else."""
        if word in FLAGS:
            self.style = dataclasses.replace(self.style, **{word: not getattr(self.style, word)})  # type: ignore[arg-type]
            return f"{word} {'on' if getattr(self.style, word) else 'off'}"
        if word == "background":
            place = (BACKGROUNDS.index(self.style.background) + 1) % len(BACKGROUNDS)
            self.style = dataclasses.replace(self.style, background=BACKGROUNDS[place])
            return f"background: {self.style.background}"
        if word in ("more", "less"):
            self.style = with_threshold(self.style, 0.05 if word == "more" else -0.05)
            self.history.thr = self.style.kpt_thr
            return f"joints under score {self.style.kpt_thr:.2f} are hollow (drawing only)"
        if word == "metrics":
            self.metrics = (self.metrics + 1) % 3
        elif word == "trails":
            self.trails = not self.trails
            return f"trails {'on' if self.trails else 'off'}"
        elif word == "help":
            self.help = not self.help
        else:
            return None
        return ""


def people(view: View, result: Result) -> Image:
    """The frame with its people drawn as the view says."""
    assert result.image is not None
    assert result.poses is not None
    trails = view.history.paths() if view.trails else None
    return draw(result.image, result.poses, view.style, trails=trails, hide=result.cover)


def dressed(
    picture: Image,
    view: View,
    metrics: Metrics,
    now: float,
    *,
    take: tuple[Path, float, str] | None = None,
    state: str = "",
) -> Image:
    """The picture with figures, recording mark, news and help laid over it.

    Args:
        picture: from `people`.
        view: what is wanted.
        metrics: the figures.
        now: s, monotonic.
        take: file, seconds and note of a running take.
        state: of the source, shown when it is not "connected".
    """
    picture = readable(picture)
    if view.metrics:
        picture = banner(picture, metrics.full() if view.metrics == 2 else [metrics.short()])
    if take is not None:
        picture = recording_mark(picture, take[0].name, take[1], take[2])
    if state:
        picture = notice(picture, state, RED)
    elif view.message[1] > now and view.message[0]:
        picture = notice(picture, view.message[0])
    return help_sheet(picture) if view.help else picture
