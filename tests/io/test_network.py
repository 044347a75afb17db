"""Network sources against real servers on loopback that stall, drop, change size, lie and come back."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import in_latin_1
from loopback import MjpegServer, Sender, free_port, h264, made_up

from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.io.network import NetworkSource
from tfpose_rt.io.synthetic import number_of, pattern
from tfpose_rt.records import Frame, Gap, Segment

QUICK = SourceOptions(stall=0.5, open_timeout=3.0)
CANARY = "canary-51f0-pw"
Item = Frame | Gap | Segment


@contextlib.contextmanager
def opened(url: str, options: SourceOptions = QUICK) -> Iterator[NetworkSource]:
    source = NetworkSource(url, options)
    try:
        yield source
    finally:
        source.close()


def read(items: Iterator[Item], count: int) -> list[Item]:
    """Items until `count` frames have come."""
    out: list[Item] = []
    frames = 0
    for item in items:
        out.append(item)
        frames += isinstance(item, Frame)
        if frames == count:
            break
    return out


def test_mjpeg_frames_are_those_that_were_sent_with_rising_capture_times() -> None:
    with MjpegServer() as server, opened(server.url) as source:
        frames = [f for f in read(iter(source), 30) if isinstance(f, Frame)]
        assert len(frames) == 30
        assert source.info.size == (320, 240)
        assert source.info.live
        assert source.info.codec == "mjpeg"
        numbers = [number_of(f.image) for f in frames]
        assert np.diff(numbers).min() >= 1
        assert [f.seq for f in frames] == [n - numbers[0] for n in numbers]  # the counter names the picture
        assert len(numbers) - 1 + sum(f.skipped for f in frames) == numbers[-1] - numbers[0]
        assert frames[0].pts == 0
        assert np.diff([f.pts for f in frames]).min() > 0
        span = (frames[-1].t_capture or 0) - (frames[0].t_capture or 0)
        assert frames[-1].pts == pytest.approx(span, abs=1e-4)  # real time, not a count
        assert span > 0.8 * (numbers[-1] - numbers[0]) / 30
        assert time.monotonic() - (frames[-1].t_capture or 0) < 0.2
        assert not frames[0].image.flags.writeable


def test_a_slow_reader_gets_the_newest_frame_and_the_count_of_the_others() -> None:
    with MjpegServer() as server, opened(server.url) as source:
        items = iter(source)
        seen = []
        for _ in range(6):
            frame = next(items)
            assert isinstance(frame, Frame)
            seen.append((frame, time.monotonic() - (frame.t_capture or 0), server.sent[-1] - number_of(frame.image)))
            time.sleep(0.3)
        later = seen[1:]
        assert max(age for _, age, _ in later) < 0.6  # a queue would be 1.3 s behind by now
        assert max(behind for _, _, behind in later) <= 5
        assert all(4 <= frame.skipped <= 14 for frame, _, _ in later)
        for (a, _, _), (b, _, _) in zip(seen, later, strict=False):
            assert b.seq - a.seq - 1 == b.skipped
        assert source.captured - source.passed_over >= 6


def test_the_first_frame_is_the_newest_however_long_the_model_took_to_load() -> None:
    with MjpegServer() as server, opened(server.url) as source:
        time.sleep(1.0)
        frame = next(iter(source))
        assert isinstance(frame, Frame)
        assert time.monotonic() - (frame.t_capture or 0) < 0.15
        assert server.sent[-1] - number_of(frame.image) <= 3
        assert (frame.seq, frame.skipped, frame.pts, frame.index) == (0, 0, 0.0, 0)
        assert source.captured <= 3
        assert source.passed_over <= 2


def test_a_pulled_cable_is_one_gap_and_no_made_up_frame() -> None:
    with MjpegServer() as server, opened(server.url) as source:
        items = iter(source)
        read(items, 10)
        server.stop()
        threading.Timer(0.8, server.start).start()
        after = read(items, 10)
        gaps = [i for i in after if isinstance(i, Gap)]
        assert len(gaps) == 1
        gap = gaps[0]
        frames = [i for i in after if isinstance(i, Frame)]
        resumed = frames[[f.pts >= gap.t_end for f in frames].index(True)]
        assert gap.reason == "disconnected"
        assert gap.attempts >= 1
        assert 0.7 < gap.t_end - gap.t_start < 3
        assert gap.seq_to == resumed.seq
        assert gap.seq_from < resumed.seq
        assert gap.t_end == pytest.approx(resumed.pts, abs=1e-3)
        assert len(frames) == 10
        assert made_up([f.image for f in frames], server.sent) == []
        assert source.ended == "source_lost"  # the answer if it ended now; `limit` once closed


def test_silence_is_a_stall_and_ends_when_pictures_come_again() -> None:
    with MjpegServer() as server, opened(server.url) as source:
        items = iter(source)
        read(items, 5)
        server.mode = "stall"
        threading.Timer(1.2, lambda: setattr(server, "mode", "run")).start()
        start = time.monotonic()
        after = read(items, 10)
        gap = next(i for i in after if isinstance(i, Gap))
        assert gap.reason == "stalled"
        assert 1.0 < gap.t_end - gap.t_start < 2.5
        assert time.monotonic() - start < 4
        assert made_up([i.image for i in after if isinstance(i, Frame)], server.sent) == []
        assert len([i for i in after if isinstance(i, Frame)]) == 10


def test_another_size_is_announced_before_the_first_such_frame() -> None:
    with MjpegServer() as server, opened(server.url) as source:
        items = iter(source)
        read(items, 5)
        server.size = (400, 300)
        after = read(items, 10)
        place = next(i for i, item in enumerate(after) if isinstance(item, Segment))
        assert after[place] == Segment(size=(400, 300), fps=25.0)
        sizes = [i.image.shape[:2] for i in after if isinstance(i, Frame)]
        assert set(sizes[:place]) <= {(240, 320)}
        assert set(sizes[place:]) == {(300, 400)}


def test_half_a_picture_is_counted_and_not_shown() -> None:
    with MjpegServer() as server, opened(server.url, SourceOptions(stall=5, open_timeout=3)) as source:
        items = iter(source)
        read(items, 5)
        server.mode = "cut"
        threading.Timer(0.5, lambda: setattr(server, "mode", "run")).start()
        frames = [i for i in read(items, 20) if isinstance(i, Frame)]
        assert len(frames) == 20
        assert made_up([f.image for f in frames], server.sent) == []
        assert source.decode_errors >= 5


def test_what_is_made_up_is_noticed() -> None:
    """The measure that these tests take is one: a black picture, an old one, half of one, one that nobody sent."""
    size, sent = (320, 240), range(10)
    true = [pattern(number, size) for number in (0, 3, 4, 9)]
    torn = true[3].copy()
    torn[120:] = 128
    assert made_up(true, sent) == []
    assert made_up([*true[:2], np.zeros_like(true[0]), *true[2:]], sent) == [2]
    assert made_up([true[0], true[1], true[1]], sent) == [2]
    assert made_up([*true[:3], torn], sent) == [3]
    assert made_up([true[1], pattern(12, size)], sent) == [1]
    assert made_up([np.zeros_like(true[0])], sent) == [0]


def test_giving_up_ends_the_run_with_an_open_gap() -> None:
    with MjpegServer() as server, opened(server.url, SourceOptions(stall=0.5, open_timeout=1, reconnect=1)) as source:
        items = iter(source)
        read(items, 3)
        server.stop()
        rest = list(items)
        assert isinstance(rest[-1], Gap)
        assert (rest[-1].seq_to, rest[-1].attempts) == (None, 1)
        assert source.ended == "source_lost"


def test_no_reconnection_when_none_is_asked_for() -> None:
    with MjpegServer() as server, opened(server.url, SourceOptions(stall=0.5, reconnect=0)) as source:
        items = iter(source)
        read(items, 3)
        server.stop()
        start = time.monotonic()
        rest = list(items)
        assert [i.attempts for i in rest if isinstance(i, Gap)] == [0]
        assert time.monotonic() - start < 1.5


def test_closing_ends_the_reader_and_the_thread() -> None:
    for mode in ("run", "stall"):
        with MjpegServer() as server:
            source = NetworkSource(server.url, QUICK)
            items = iter(source)
            read(items, 3)
            server.mode = mode
            threading.Timer(0.2, source.close).start()
            start = time.monotonic()
            list(items)
            assert time.monotonic() - start < 1.5
            assert source.ended == "limit"
            source.close()
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and any(t.name.startswith("capture") for t in threading.enumerate()):
            time.sleep(0.05)
        assert not [t for t in threading.enumerate() if t.name.startswith("capture")], mode


def test_nobody_there_is_an_input_error_at_once() -> None:
    with pytest.raises(InputError, match="connection refused") as caught:
        NetworkSource(f"http://admin:{CANARY}@127.0.0.1:{free_port()}/x", QUICK)
    assert CANARY not in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        start = time.monotonic()
        with pytest.raises(InputError, match=r"no answer|no picture"):
            NetworkSource(f"http://127.0.0.1:{deaf.getsockname()[1]}/x", SourceOptions(open_timeout=0.7))
        assert time.monotonic() - start < 2


def test_slow_opening_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(InputError):
        NetworkSource(f"http://127.0.0.1:{deaf.getsockname()[1]}/x", SourceOptions(open_timeout=2.4))
    assert any("still waiting" in m for m in caplog.messages)


def test_the_password_opens_the_camera_and_appears_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with MjpegServer(login=f"admin:{CANARY}") as server:
        url = server.url.replace("//", f"//admin:{CANARY}@")
        with opened(url) as source:
            read(iter(source), 3)
            assert source.info.name == server.url.replace("//", "//***@")
            assert CANARY not in repr(source.info)
        with pytest.raises(InputError) as caught:
            NetworkSource(url.replace(CANARY, CANARY + "x"), QUICK)
        assert CANARY not in str(caught.value)
        shown = "".join(str(e) + repr(e) for e in (caught.value, caught.value.__cause__, caught.value.__context__))
        assert CANARY not in shown
    assert CANARY not in "".join(caplog.messages)


def test_a_stream_cannot_send_the_program_elsewhere(tmp_path: Path) -> None:
    """Neither a redirect nor a playlist reaches another place: the user named one host."""
    secret = tmp_path / "secret.ts"
    secret.write_bytes(b"G" * 188)
    with MjpegServer() as other, MjpegServer() as server:
        server.redirect = other.url
        with pytest.raises(InputError):
            NetworkSource(server.url, QUICK)
        server.redirect = None
        server.body = "application/vnd.apple.mpegurl", f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n{other.url}\n".encode()
        with pytest.raises(InputError):
            NetworkSource(server.url, QUICK)
        assert other.requests == []


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    with MjpegServer() as server:
        server.body = "text/html", b"<html>camera settings</html>" * 100
        with pytest.raises(InputError, match=r"invalid data|no video"):
            NetworkSource(server.url, QUICK)


def test_mpeg_ts_over_udp() -> None:
    port = free_port(socket.SOCK_DGRAM)
    sender = Sender(f"udp://127.0.0.1:{port}?pkt_size=1316")
    try:
        with opened(f"udp://127.0.0.1:{port}") as source:
            frames = [i for i in read(iter(source), 30) if isinstance(i, Frame)]
            numbers = [number_of(f.image) for f in frames]
            assert source.info.codec == "h264"
            assert np.diff(numbers).min() >= 1
            sender.end()
    finally:
        sender.end()


def test_mpeg_ts_over_tcp_comes_back_after_a_restart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve(seconds: float) -> None:
            client, _ = server.accept()
            with client:
                pipe = _Pipe(client)
                for _ in h264(pipe, seconds):
                    if pipe.broken:
                        break

        def serve_twice() -> None:
            serve(1.0)  # 30 pictures: fewer than are read, wherever in the stream reading begins
            serve(4.0)

        thread = threading.Thread(target=serve_twice, daemon=True)
        thread.start()
        with opened(f"tcp://127.0.0.1:{port}") as source:
            items = read(iter(source), 45)
            assert [i.reason for i in items if isinstance(i, Gap)] == ["disconnected"]
            assert len([i for i in items if isinstance(i, Frame)]) == 45
        thread.join(5)


class _Pipe:
    """What PyAV needs of a file that cannot seek."""

    def __init__(self, client: socket.socket) -> None:
        self._client, self.broken = client, False

    def write(self, data: bytes) -> int:
        try:
            self._client.sendall(data)
        except OSError:
            self.broken = True
        return len(data)


def test_a_recording_read_over_http_loses_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    for _ in h264(str(path), 2.0, format="mp4", live=False):
        pass
    with MjpegServer() as server:
        server.body = "video/mp4", in_latin_1(path)
        with opened(server.url) as source:
            frames = []
            for item in source:
                assert isinstance(item, Frame)
                frames.append(item)
                time.sleep(0.005)
            assert not source.info.live
            assert source.info.duration == pytest.approx(2.0, abs=0.05)
            assert [number_of(f.image) for f in frames] == list(range(60))
            np.testing.assert_allclose([f.pts for f in frames], np.arange(60) / 30, atol=1e-5)
            assert source.ended == "eof"
            assert frames[0].t_capture is None


def test_rotation_is_applied_when_asked_for() -> None:
    with MjpegServer() as server, opened(server.url, SourceOptions(rotate="90")) as source:
        frame = next(iter(source))
        assert isinstance(frame, Frame)
        assert source.info.size == (240, 320)
        assert frame.image.shape == (320, 240, 3)
        assert number_of(np.rot90(frame.image)) in server.sent


@pytest.mark.parametrize("url", ["srt://127.0.0.1:9000", "http://", "gopher://host/x"])
def test_addresses_that_cannot_be_opened(url: str) -> None:
    with pytest.raises((InputError, UsageError)):
        NetworkSource(url, QUICK)
