"""The page's streams when many come at once, and when the server is gone."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")
sys.path.insert(0, str(Path(__file__).parent / "live"))

from test_serve import served, soon

from tfpose_rt.live.hub import _Reader
from tfpose_rt.live.serve import ServeOptions


@pytest.mark.parametrize("path", ["/poses", "/stream.mjpg"])
def test_the_limit_to_streams_holds_for_those_who_come_at_once(tmp_path: Path, path: str) -> None:
    with served(tmp_path, options=ServeOptions(port=0, max_clients=2)) as (client, _, server):
        clients = [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(8)]
        for one in clients:
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        codes = sorted(one.recv(4096).split()[1] for one in clients)
        assert codes == [b"200"] * 2 + [b"503"] * 6
        for one in clients:
            one.close()
        soon(lambda: server.streams == 0)  # their places are free again
        with client.stream(path) as again:
            assert again.status == 200


def test_a_loop_that_closes_at_that_moment_ends_no_run() -> None:
    class Closing:
        def is_closed(self) -> bool:
            return False

        def call_soon_threadsafe(self, _: object) -> None:
            raise RuntimeError("Event loop is closed")

    _Reader(Closing()).wake()  # type: ignore[arg-type]
