"""Answers that are no answers: each is one line, not a traceback."""

from __future__ import annotations

import socket
import threading

import pytest

from tfpose_rt.download import fetch
from tfpose_rt.errors import WeightsError

CUT = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nthree"


@pytest.mark.parametrize("answer", [b"hello\r\n\r\n", b"", CUT])
def test_a_server_that_speaks_no_http_or_hangs_up_is_told_in_one_line(answer: bytes) -> None:
    def serve() -> None:
        with listening, listening.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(answer)

    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(WeightsError, match="cannot fetch") as told:
        fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/weights", "0" * 64)
    thread.join(10)
    assert told.value.why
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1/two words", "http://[::1/weights", "http://127.0.0.1:port/"])
def test_an_address_that_is_none_is_told_in_one_line(address: str) -> None:
    with pytest.raises(WeightsError, match="cannot fetch"):
        fetch(address, "0" * 64)
