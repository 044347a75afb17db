"""Numbers in sentences: one frame, two frames; rates with the digits that say something."""

from __future__ import annotations


def plural(count: int, one: str, many: str = "") -> str:
    """A number with its noun: "1 frame", "2 frames".

    Args:
        count: of them.
        one: the noun for one.
        many: for any other number; `one` with an s when left out.
    """
    return f"{count} {one if count == 1 else many or one + 's'}"


def rate(fps: float) -> str:
    """A rate with one decimal, below 1 with two digits: "28.4", "0.43", "0.021"; "0" for nothing."""
    return f"{fps:.1f}" if fps >= 1 else f"{fps:.2g}"
