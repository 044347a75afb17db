"""The page and its streams, over real sockets on loopback: what is served, to whom, and what a bad client can do."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import logging
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from loopback import MjpegServer
from stage import StageEstimator
from test_session import no_threads_left, records, session

from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.io.synthetic import number_of, pattern
from tfpose_rt.live import serve as live_serve
from tfpose_rt.live.calls import Calls, RunEndedError
from tfpose_rt.live.guard import is_loopback, read_token
from tfpose_rt.live.hub import Hub
from tfpose_rt.live.serve import LiveServer, ServeOptions
from tfpose_rt.live.session import Session
from tfpose_rt.live.view import people
from tfpose_rt.records import Result

TOKEN = "t0ken-for-tests-0123456789"
CANARY = "canary-77aa-pw"


class Client:
    """One request at a time."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def health(self, **headers: str) -> dict[str, Any]:
        return dict(json.loads(self.ask("GET", "/health", **headers)[2]))

    @contextlib.contextmanager
    def stream(self, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        try:
            yield answer
        finally:
            answer.close()
            connection.close()


@contextlib.contextmanager
def served(
    folder: Path, spec: str = "synthetic:320x240@30", *, options: ServeOptions | None = None, **more: Any
) -> Iterator[tuple[Client, Session, LiveServer]]:
    live = session(folder, spec, on_result=lambda result: hub.publish(result), **more)
    hub = Hub(lambda result: people(live.view, result))
    server = LiveServer(live, hub, options or ServeOptions(port=0))
    server.start()
    run = threading.Thread(target=live.run)
    run.start()
    try:
        yield Client(server), live, server
    finally:
        live.call(lambda: live._obey(["quit"]))
        run.join(10)
        server.close()
        assert not run.is_alive()


def soon(happens: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.02)


def picture(answer: http.client.HTTPResponse) -> np.ndarray:
    """The next JPEG of a multipart stream."""
    assert answer.readline() == b"--frame\r\n"
    assert answer.readline() == b"Content-Type: image/jpeg\r\n"
    length = int(re.fullmatch(rb"Content-Length: (\d+)\r\n", answer.readline())[1])  # type: ignore[index]
    assert answer.readline() == b"\r\n"
    data = answer.read(length)
    assert answer.readline() == b"\r\n"
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_a_port_is_never_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has the option that Windows has, that one is set and the one that would share is not."""
    with live_serve.bind("127.0.0.1", 0) as taken, pytest.raises(OutputError, match="taken"):
        live_serve.bind("127.0.0.1", taken.getsockname()[1])
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_KEEPALIVE, raising=False)
    with live_serve.bind("127.0.0.1", 0) as server:
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not server.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_half_a_character_is_no_token(tmp_path: Path) -> None:
    with served(tmp_path, options=ServeOptions(port=0, token=TOKEN)) as (client, _, _):
        assert client.ask("POST", "/session", {"code": "\ud800"})[0] == 401
        assert client.ask("POST", "/session", {"code": TOKEN})[0] == 204


def test_a_picture_that_cannot_be_made_is_told_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    def render(result: Result) -> np.ndarray:
        if result.frame < 3:
            raise ValueError("no such colour")
        return np.zeros((24, 32, 3), np.uint8)

    async def first(hub: Hub) -> bytes:
        pictures = hub.pictures()
        waiting = asyncio.ensure_future(anext(pictures))
        frame = itertools.count()
        while not waiting.done():
            await asyncio.sleep(0.02)
            hub.publish(Result(frame=next(frame), image=np.zeros((24, 32, 3), np.uint8), poses=nobody))
        return waiting.result()

    nobody = StageEstimator(people=0).poses(
        [pattern(0, (32, 24))], StageEstimator(people=0).detect([pattern(0, (32, 24))])
    )[0]
    hub = Hub(render)
    try:
        jpeg = asyncio.run(asyncio.wait_for(first(hub), 30))
    finally:
        hub.close()
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (24, 32, 3)
    assert [m for m in caplog.messages if "could not be made" in m] == [caplog.messages[0]]
    assert "no such colour" in caplog.messages[0]


def test_page_figures_pictures_and_poses(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _, server):
        status, headers, page = client.ask("GET", "/")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"tfpose-rt" in page
        assert "script-src 'sha256-" in headers["content-security-policy"]
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers
        with client.stream("/stream.mjpg") as stream:
            assert stream.getheader("content-type") == "multipart/x-mixed-replace; boundary=frame"
            pictures = [picture(stream) for _ in range(5)]
        assert pictures[0].shape == (240, 320, 3)
        numbers = [number_of(p) for p in pictures]
        assert np.diff(numbers).min() >= 1
        clean = client.server._session.stream.source.info  # type: ignore[attr-defined]
        assert clean.size == (320, 240)
        orange = ((pictures[0][..., 2] > 180) & (pictures[0][..., 0] < 90)).sum()
        assert orange > 100  # skeletons are drawn
        with client.stream("/poses") as stream:
            assert stream.getheader("content-type") == "text/event-stream"
            events = b"".join(stream.readline() for _ in range(14)).decode().split("\n\n")
        frames = [json.loads(e.split("data: ")[1]) for e in events if "data: " in e]
        assert frames[0]["type"] == "frame"
        assert len(frames[0]["persons"]) == 2
        assert frames[0]["latency_ms"] >= 0
        assert [f["seq"] for f in frames] == sorted({f["seq"] for f in frames})
        time.sleep(0.3)
        told = client.health()
        assert told["state"] == "connected"
        assert told["people"] == 2
        assert told["fps"] > 10
        assert told["readers"] == 0
        assert told["may_record"] is False
        assert server.url == f"http://127.0.0.1:{server.port}/"
    assert no_threads_left()


def test_nothing_else_is_served(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _, _):
        for path in ("/page.html", "/../pyproject.toml", "/static/", "/docs", "//etc/passwd", "/record", "/session"):
            assert client.ask("GET", path)[0] in (404, 405), path
        assert client.ask("POST", "/stream.mjpg")[0] == 405
        assert client.ask("PUT", "/health")[0] == 405


def test_foreign_hosts_and_origins_are_refused(tmp_path: Path) -> None:
    with served(tmp_path, options=ServeOptions(port=0, record=True)) as (client, live, server):
        for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example", "8.8.8.8", ""):
            assert client.ask("GET", "/health", Host=host)[0] == 400, host
        for host in ("localhost", f"127.0.0.1:{server.port}", "[::1]:80"):
            assert client.ask("GET", "/health", Host=host)[0] == 200, host
        for origin in ("http://evil.example", "null", f"http://127.0.0.1:{server.port + 1}", "https://127.0.0.1"):
            assert client.ask("POST", "/record", {"on": True}, Origin=origin)[0] == 403, origin
        assert live.takes.recording is None


def test_recording_from_the_page(tmp_path: Path) -> None:
    with served(tmp_path, options=ServeOptions(port=0, record=True)) as (client, _, server):
        own = f"http://127.0.0.1:{server.port}"
        status, _, body = client.ask("POST", "/record", {"on": True}, Origin=own)
        told = json.loads(body)
        assert status == 200
        assert re.fullmatch(r"take_\d{8}T\d{6}Z\.mkv", told["recording"]["file"])
        time.sleep(0.7)
        assert client.health()["recording"]["seconds"] > 0.4
        assert json.loads(client.ask("POST", "/record", {"on": False}, Origin=own)[2])["recording"] is None
        for nonsense in (None, {}, {"on": "yes"}, {"on": True, "path": "x" * 5000}, [1]):
            assert client.ask("POST", "/record", nonsense)[0] == 400
    take = tmp_path / told["recording"]["file"]
    assert take.exists()
    assert records(take.with_suffix(".jsonl"))[-1]["frames"] > 5


def test_who_asks_for_a_take_when_the_run_is_over_is_told_so(tmp_path: Path) -> None:
    """A server error would mean that something broke; and nobody waits ten seconds for the answer."""
    with served(tmp_path, options=ServeOptions(port=0, record=True), max_frames=2) as (client, live, _):
        while live.stream.stats.wall < 30 and not live.stream.finished:
            time.sleep(0.05)
        time.sleep(0.2)
        began = time.monotonic()
        status, _, body = client.ask("POST", "/record", {"on": True})
        assert (status, body) == (503, b"the run is over\n")
        assert time.monotonic() - began < 5
    assert not list(tmp_path.iterdir())


def test_a_take_that_the_end_of_the_run_ends_at_once_was_begun(tmp_path: Path) -> None:
    with served(tmp_path, options=ServeOptions(port=0, record=True)) as (client, live, _):

        def last(begin: Any = live.toggle_recording) -> str | None:
            live._obey(["quit"])
            return begin()  # type: ignore[no-any-return]

        live.toggle_recording = last  # type: ignore[method-assign]
        status, _, body = client.ask("POST", "/record", {"on": True})
        assert status == 200
        assert json.loads(body)["recording"]["file"].startswith("take_")


def test_a_question_that_waits_when_the_run_ends_is_answered() -> None:
    calls = Calls()
    waits = calls.add(lambda: 1)
    left = calls.add(lambda: 2)
    left.cancel()
    calls.close()
    late = calls.add(lambda: 3)
    calls.serve()
    assert isinstance(waits.exception(0), RunEndedError)
    assert isinstance(late.exception(0), RunEndedError)
    assert left.cancelled()


def test_no_folder_no_recording(tmp_path: Path) -> None:
    with served(tmp_path) as (client, live, _):
        assert client.ask("POST", "/record", {"on": True})[0] == 403
        assert live.takes.recording is None
    assert not list(tmp_path.iterdir())


def test_a_token_opens_everything_and_nothing_opens_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with served(tmp_path, options=ServeOptions(port=0, token=TOKEN, record=True)) as (client, _, server):
        for path in ("/health", "/poses", "/stream.mjpg"):
            assert client.ask("GET", path)[0] == 401
            assert client.ask("GET", path + f"?token={TOKEN}")[0] == 401  # never in an address
            assert client.ask("GET", path, Authorization="Bearer " + TOKEN[:-1])[0] == 401
            assert client.ask("GET", path, Cookie="tfpose_session=x")[0] == 401
        assert client.ask("POST", "/record", {"on": True})[0] == 401
        assert client.health(Authorization=f"Bearer {TOKEN}")["people"] >= 0
        page = client.ask("GET", "/")
        assert page[0] == 200
        assert TOKEN not in page[2].decode()
        code = server.url.partition("#")[2]
        assert len(code) >= 22
        assert code != TOKEN
        status, headers, _ = client.ask("POST", "/session", {"code": code})
        cookie = headers["set-cookie"]
        assert status == 204
        assert {"httponly", "samesite=strict", "path=/"} <= {p.strip().lower() for p in cookie.split(";")}
        assert client.health(Cookie=cookie.split(";")[0])["people"] >= 0
        assert client.ask("POST", "/session", {"code": code})[0] == 401  # once
        assert client.ask("POST", "/session", {"code": TOKEN})[0] == 204  # typed by hand
        assert client.ask("POST", "/session", {"code": ""})[0] == 401
        assert client.ask("POST", "/session", {"code": TOKEN}, Origin="http://evil.example")[0] == 403
        assert "#" not in server.url  # the link is used up
    assert TOKEN not in "".join(caplog.messages)


def test_tokens_are_asked_for_where_others_can_reach(tmp_path: Path) -> None:
    assert read_token("auto", "127.0.0.1") is None
    assert read_token("auto", "localhost") is read_token("auto", "::1") is None
    made = read_token("auto", "0.0.0.0")
    assert made is not None
    assert len(made) >= 32
    assert made != read_token("auto", "192.168.1.9")
    assert read_token("env", "127.0.0.1", {"TFPOSE_SERVE_TOKEN": TOKEN}) == TOKEN
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    assert read_token(str(file), "0.0.0.0") == TOKEN
    file.chmod(0o640)
    with pytest.raises(UsageError, match="others"):
        read_token(str(file), "0.0.0.0")
    for choice, environ, told in (
        ("env", {}, "nothing is in it"),
        ("env", {"TFPOSE_SERVE_TOKEN": "short"}, "shorter than 22"),
        (TOKEN, {}, "no file of that name"),
    ):
        with pytest.raises(UsageError, match=told) as caught:
            read_token(choice, "0.0.0.0", environ)
        assert TOKEN not in str(caught.value)  # typed by mistake, it is not repeated
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.org")


def test_slow_clients_harm_nobody_and_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One viewer reads nothing at all, one reads slowly; the run and a good viewer do not notice."""
    monkeypatch.setattr(live_serve, "PATIENCE", 2.5)
    options = ServeOptions(port=0, max_clients=4)
    with served(tmp_path, "synthetic:1280x720@30", options=options) as (client, live, server):
        dead = socket.create_connection(("127.0.0.1", server.port))
        dead.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        dead.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with client.stream("/stream.mjpg") as good, client.stream("/stream.mjpg") as slow:
            start, seen, seldom, readers = time.monotonic(), [], [], 3
            while len(seen) <= 40 or (readers == 3 and time.monotonic() - start < 20):
                seen.append(number_of(picture(good)))
                if len(seen) % 8 == 1:
                    seldom.append(number_of(picture(slow)))
                    readers = client.health()["readers"]
            assert np.diff(seen).min() >= 1
            assert np.diff(seldom).min() >= 1
            newest = live._last.seq  # type: ignore[union-attr]
            assert newest - seen[-1] < 30
            assert live.metrics.percentiles()[0] < 300
            assert readers == 2  # the dead one has lost its place
        dead.close()


def test_there_is_a_limit_to_streams(tmp_path: Path) -> None:
    with (
        served(tmp_path, options=ServeOptions(port=0, max_clients=2)) as (client, _, _),
        client.stream("/poses") as one,
        client.stream("/stream.mjpg") as two,
    ):
        one.readline()
        picture(two)
        status, headers, _ = client.ask("GET", "/poses")
        assert (status, headers["retry-after"]) == (503, "5")


def test_without_video_there_are_poses_alone(tmp_path: Path) -> None:
    with served(tmp_path, options=ServeOptions(port=0, video=False)) as (client, _, _):
        assert client.ask("GET", "/stream.mjpg")[0] == 404
        assert client.health()["video"] is False


def test_a_taken_port_is_said_at_once(tmp_path: Path) -> None:
    with served(tmp_path) as (_, live, server):
        with pytest.raises(OutputError, match=r"the port is taken.*--port 0"):
            LiveServer(live, server._hub, ServeOptions(port=server.port))
        with pytest.raises(OutputError):
            LiveServer(live, server._hub, ServeOptions(host="203.0.113.7", port=0))


def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _, server):
        with socket.create_connection(("127.0.0.1", server.port), 5) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000 + b"\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 431")
        assert client.ask("GET", "/health")[0] == 200


def test_the_cameras_password_is_nowhere_to_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with MjpegServer(login=f"admin:{CANARY}") as camera:
        url = camera.url.replace("//", f"//admin:{CANARY}@")
        options = ServeOptions(port=0, record=True)
        with served(tmp_path, url, options=options, outs=[(tmp_path / "a.jsonl", None)]) as (client, live, _):
            client.ask("POST", "/record", {"on": True})
            with client.stream("/poses") as stream:
                seen = b"".join(stream.readline() for _ in range(6))
            for change, state in ((camera.stop, "reconnecting"), (camera.start, "connected")):
                change()
                soon(lambda state=state: live.stream.source.state.startswith(state))  # type: ignore[attr-defined]
            seen += client.ask("GET", "/")[2] + client.ask("GET", "/health")[2]
            assert b"***@127.0.0.1" in seen
            client.ask("POST", "/record", {"on": False})
    assert CANARY.encode() not in seen
    for path in tmp_path.iterdir():
        assert CANARY.encode() not in path.read_bytes(), path
    assert len(list(tmp_path.iterdir())) == 3
    assert CANARY not in "".join(caplog.messages)


def until(page: Any, script: str, seconds: float = 20) -> None:
    """Wait until a script is true; from outside, since the page's policy forbids evaluating strings inside."""
    end = time.monotonic() + seconds
    while not page.evaluate(script):
        assert time.monotonic() < end, script
        page.wait_for_timeout(100)


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="needs Chromium (apt-get install chromium)")
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """The link logs in, the picture moves, the button records, figures are shown, nothing is reported as an error."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip
    options = ServeOptions(port=0, token=TOKEN, record=True)
    (tmp_path / "takes").mkdir()
    with (
        served(tmp_path / "takes", "synthetic:640x480@30", options=options) as (_, live, server),
        api.sync_playwright() as play,
    ):
        browser = play.chromium.launch(executable_path=chromium(), args=quiet)
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(server.url, wait_until="commit")
        until(page, "document.getElementById('state').textContent === 'live'")
        assert page.evaluate("location.hash") == ""  # the code does not stay in the address
        until(page, "document.getElementById('picture').naturalWidth === 640")
        page.click("#record")
        page.wait_for_selector("#red:visible", timeout=10_000)
        assert live.takes.recording is not None
        page.wait_for_timeout(800)
        shot = cv2.imdecode(np.frombuffer(page.screenshot(path=str(tmp_path / "page.png")), np.uint8), 1)
        assert (np.ptp(shot.astype(int), axis=2) > 40).mean() > 0.1  # a colourful picture is on the page
        assert "camera" in page.inner_text("#figures")
        page.click("#record")
        page.wait_for_selector("#red", state="hidden", timeout=10_000)
        assert errors == []
        other = browser.new_context().new_page()  # somebody else with the used link
        other.goto(server.url, wait_until="commit")
        other.wait_for_selector("#login:visible", timeout=20_000)
        other.fill("#token", "wrong")
        other.click("#login button")
        until(other, "document.getElementById('news').textContent.includes('not the token')")
        other.screenshot(path=str(tmp_path / "login.png"))
        other.fill("#token", TOKEN)
        other.click("#login button")
        until(other, "document.getElementById('state').textContent === 'live'")
        browser.close()
    assert sorted(p.suffix for p in (tmp_path / "takes").iterdir()) == [".jsonl", ".mkv"]


def test_options_are_frozen() -> None:
    assert replace(ServeOptions(), port=1).port == 1
    with pytest.raises(AttributeError):
        ServeOptions().port = 2  # type: ignore[misc]
