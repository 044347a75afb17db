"""Ctrl-C, SIGTERM and Windows' Ctrl-Break: what they mean, and how they are held back while work is half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Windows has no SIGTERM that one program could send to another: Ctrl-Break is what a console's programs are told.
BREAK: signal.Signals | None = getattr(signal, "SIGBREAK", None)
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([] if BREAK is None else [BREAK]))


def exit_code(number: int) -> int:
    """What a program that a signal has ended ends with: 130 for Ctrl-C, 143 for SIGTERM and Ctrl-Break."""
    return 128 + (signal.SIGTERM if number == BREAK else number)


@contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Signals are noted meanwhile; the function given lets one do what it would have done, where that does no harm.

    Does nothing on other threads than the main one, which alone hears of signals.
    """
    came: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    before = {n: handler for n in SIGNALS if main and callable(handler := signal.getsignal(n))}

    def heed() -> None:
        if came:
            before[signal.Signals(came[0])](came[0], None)

    for number in before:
        signal.signal(number, lambda n, _: came.append(n))
    try:
        yield heed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
