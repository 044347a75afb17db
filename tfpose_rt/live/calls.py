"""Questions from other threads, answered on the thread of the run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class RunEndedError(Exception):
    """The run has ended: nobody answers any more."""


class Calls:
    """Functions that wait for their turn; any thread may add one, one thread serves them."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._lock, self._closed = threading.Lock(), False

    def add(self, function: Callable[[], Any]) -> Future[Any]:
        """Have a function run at the next turn; what it returns or raises, or RunEndedError, comes with the future."""
        answer: Future[Any] = Future()
        with self._lock:
            if not self._closed:
                self._waiting.append((function, answer))
                return answer
        answer.set_exception(RunEndedError())
        return answer

    def serve(self) -> None:
        """Run what waits, in order; what was cancelled meanwhile is left out."""
        while self._waiting:
            function, answer = self._waiting.popleft()
            if not answer.set_running_or_notify_cancel():
                continue  # whoever asked has stopped waiting
            try:
                answer.set_result(function())
            except Exception as error:  # noqa: BLE001 - for whoever asked
                answer.set_exception(error)

    def close(self) -> None:
        """Refuse what waits and whatever comes: there will be no other turn."""
        with self._lock:
            self._closed = True
        while self._waiting:
            _, answer = self._waiting.popleft()
            if answer.set_running_or_notify_cancel():
                answer.set_exception(RunEndedError())
