"""Network streams through PyAV: RTSP, MJPEG and video over HTTP, MPEG-TS over UDP or TCP.

FFmpeg's own messages quote the whole address, password included: its logging stays off, and of its errors only the
reason is passed on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import av
from av.error import ExitError, FFmpegError, InvalidDataError, ProtocolNotFoundError

from tfpose_rt import clock
from tfpose_rt.config import SourceOptions
from tfpose_rt.errors import InputError
from tfpose_rt.io.av_local import TAGS, exact
from tfpose_rt.io.capture import Grab
from tfpose_rt.io.live import LiveSource
from tfpose_rt.io.urls import SourceUrl, parse_url

log = logging.getLogger(__name__)
# A stream may not send FFmpeg elsewhere: no playlists, no local files, only what each scheme needs to reach its host.
FORMATS = (
    "mpjpeg,mjpeg,jpeg_pipe,mpegts,mpeg,rtsp,sdp,rtp,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,flv,live_flv,avi,ogg,"
    "h264,hevc"
)
PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp,tls,rtsps",
    "rtsps": "rtsps,rtsp,rtp,udp,tcp,tls",
    "http": "http,tcp",
    "https": "https,tls,tcp",
    "udp": "udp",
    "tcp": "tcp",
    "srt": "srt,udp",
    "rtmp": "rtmp,tcp",
}


class NetworkSource(LiveSource):
    """A stream at an address.

    Args:
        spec: the address; see `parse_url`.
        options: `credentials`, `reconnect`, `stall`, `open_timeout` and `rotate` apply.
    Raises: UsageError: not an address that can be opened. InputError: nothing there, refused, or no picture in time.
    """

    def __init__(self, spec: str, options: SourceOptions) -> None:
        url = parse_url(spec, options.credentials)
        if url.inline:
            log.warning("the password in the address stays in the shell's history: --credentials FILE avoids that")
        super().__init__(
            "url",
            url.masked,
            [lambda: StreamConnection(url, options)],
            options,
            scrub=url.scrub,
            fix="the address, the login and whether the other side is running",
        )


class StreamConnection:
    """One opened stream.

    Args:
        url: where.
        options: `open_timeout` and `stall` apply.
    Raises: InputError: FFmpeg cannot open it, or there is no video in it.
    """

    def __init__(self, url: SourceUrl, options: SourceOptions) -> None:
        self.errors = 0
        try:
            patience = (options.open_timeout, options.stall)
            self._container = av.open(url.real, timeout=patience, options=_ffmpeg(url), **TAGS)
        except ProtocolNotFoundError as error:
            raise InputError(
                f"{url.masked} did not open",
                why=f"this build of FFmpeg does not speak {url.scheme}",
                fix="rtsp://, http:// or udp://",
            ) from error
        except (FFmpegError, OSError, ValueError) as error:
            # The cause names the address: it is cut off, or a traceback would print the password.
            raise InputError(f"{url.masked} did not open", why=_reason(error, options.open_timeout)) from None
        if not self._container.streams.video:
            self._container.close()
            raise InputError(f"{url.masked} did not open", why="there is no video in it")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "SLICE"  # threads over frames would hold back as many frames as there are threads
        # Without "explode" half a JPEG comes out as a picture whose lower part is grey: made up, and never to be seen.
        self._stream.codec_context.options = {"err_detect": "explode", "flags": "low_delay"}
        rate = exact(self._stream.average_rate) or exact(self._stream.guessed_rate)
        self.fps = float(rate) if rate and 1 <= rate <= 1000 else None
        self.codec: str | None = str(self._stream.codec_context.codec.canonical_name)
        length = self._container.duration
        self.duration = length / 1e6 if length and url.scheme in ("http", "https") else None
        self.finite = self.duration is not None
        self.live = not self.finite
        self.detail: Mapping[str, Any] = {"backend": "ffmpeg", "format": self._container.format.name}

    def __iter__(self) -> Iterator[Grab]:
        """Pictures as they come; raises FFmpeg's error, or TimeoutError when nothing came for `stall` s."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except ExitError:
                raise TimeoutError("nothing came") from None
            arrived = clock.now()
            try:
                frames = packet.decode()
            except InvalidDataError:
                self.errors += 1
                continue
            for frame in frames:
                if frame.is_corrupt:  # patched up by the decoder: partly made up
                    self.errors += 1
                    continue
                yield Grab(arrived, _Pixels(frame), frame.time if self.finite else None)

    def close(self) -> None:
        """Hang up."""
        self._container.close()


class _Pixels:
    """Converts a decoded frame to BGR when, and only if, somebody wants to see it."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def __call__(self) -> Any:
        return self._frame.to_ndarray(format="bgr24")


def _ffmpeg(url: SourceUrl) -> dict[str, str]:
    """Options for as little delay as the protocol allows."""
    options = {
        "protocol_whitelist": PROTOCOLS[url.scheme],
        "format_whitelist": FORMATS,
        "fflags": "discardcorrupt",  # no "nobuffer": it throws away what was looked at, newest-wins makes up the delay
        "analyzeduration": "300000",  # us of the stream looked at before it is shown
    }
    if url.scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"  # over UDP a lost packet is a broken picture
    if url.scheme.startswith("http"):
        options |= {"reconnect": "0", "max_redirects": "0", "multiple_requests": "0"}
    if url.scheme == "udp":
        options |= {"overrun_nonfatal": "1", "buffer_size": "1048576"}
    return options


def _reason(error: BaseException, seconds: float) -> str:
    """FFmpeg's reason without the address it always adds."""
    if isinstance(error, ExitError):
        return f"no answer in {seconds:g} s"
    text = getattr(error, "strerror", None) or type(error).__name__
    return text[:1].lower() + text[1:]
