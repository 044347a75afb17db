"""Questions from other threads, answered on the thread of the run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Calls:
    """Functions that wait for their turn; any thread may add one, one thread serves them."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()

    def add(self, function: Callable[[], Any]) -> Future[Any]:
        """Have a function run at the next turn; what it returns or raises comes with the future."""
        answer: Future[Any] = Future()
        self._waiting.append((function, answer))
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
