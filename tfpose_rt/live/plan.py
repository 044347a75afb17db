"""What a live run is asked to do, and what it needs of a screen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tfpose_rt.draw import DrawStyle
from tfpose_rt.live.takes import What
from tfpose_rt.records import Image


class Screen(Protocol):
    """What a session shows pictures on; see `Window`."""

    def show(self, image: Image) -> list[str]:
        """Show a picture; the words of the keys pressed."""
        ...

    def poll(self) -> list[str]:
        """Look at the keys alone."""
        ...

    def toggle_fullscreen(self) -> None:
        """Full screen and back."""
        ...

    def close(self) -> None:
        """Take it away."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a live run writes and when it ends.

    Args:
        header: the header record of recordings.
        outs: data files, with a format or None for the suffix's.
        record: video recorded from the first frame on, or None.
        record_what: overlay, clean or both.
        folder: where takes and snapshots go.
        style: what is drawn.
        duration: s after which the run ends, or None.
        max_frames: processed frames after which it ends, or None.
        overwrite: whether existing files may be replaced.
        csv_layout: wide or long.
    """

    header: Mapping[str, Any]
    outs: Sequence[tuple[Path, str | None]] = ()
    record: Path | None = None
    record_what: What = "overlay"
    folder: Path = Path()
    style: DrawStyle = dataclasses.field(default_factory=DrawStyle)
    duration: float | None = None
    max_frames: int | None = None
    overwrite: bool = False
    csv_layout: str = "wide"
