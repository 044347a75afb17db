"""Encoding with PyAV: H.264 or VP9 with exact times, fragmented while it grows, one seekable file at the end."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError

from tfpose_rt.errors import OutputError
from tfpose_rt.io.av_sound import Sound
from tfpose_rt.records import Image

# No B-frames and a short look-ahead: what a killed run loses stays under a second, and a .part can be cut anywhere.
SETTINGS = {
    "libx264": {"preset": "veryfast", "crf": "20", "x264-params": "bframes=0:rc-lookahead=5:sync-lookahead=0"},
    "libvpx-vp9": {
        "deadline": "realtime",
        "cpu-used": "7",
        "crf": "31",
        "b:v": "0",
        "row-mt": "1",
        "lag-in-frames": "0",
    },
}
# One fragment a second; the index waits for the first one, so that sound may begin later than the pictures.
FRAGMENTS = {"movflags": "delay_moov+default_base_moof", "frag_duration": "1000000"}
CLUSTERS = {"cluster_time_limit": "1000"}
MAXIMUM_WAIT = {"max_interleave_delta": "1000000"}  # us: sound that has ended holds no picture back


class AvEncoder:
    """Encodes pictures of one size into `part`.

    Args:
        part: file to write.
        container: FFmpeg's name of its format.
        encoder: FFmpeg's name of the encoder.
        size: (W, H) of the pictures, px.
        rate: nominal pictures a second, for the header and the last picture's length.
        time_base: unit of the stamps, s.
        audio: a file whose sound is copied.
        audio_from: its container time at the first picture, s.
        keep: continue an unfinished `part` behind this many pictures.
    Raises: OutputError: the file or the encoder cannot be opened.
    """

    def __init__(
        self, part: Path, container: str, encoder: str, size: tuple[int, int], rate: Fraction, time_base: Fraction,
        *, audio: Path | None = None, audio_from: float = 0.0, keep: int = 0,
    ) -> None:  # fmt: skip
        self.written = 0
        self._time_base, self._last = time_base, -1
        self._held: Any = None  # the packet whose length is not known yet
        self._mp4 = container in ("mp4", "mov")
        self._step = max(round(1 / rate / time_base), 1)  # ticks a picture lasts unless the next one comes sooner
        self._container: Any = None
        self._sound: Sound | None = None
        old = earlier(part)
        options = dict(FRAGMENTS if self._mp4 else CLUSTERS) | MAXIMUM_WAIT | {"flush_packets": "1"}
        if self._mp4 and time_base.numerator == 1:
            options["video_track_timescale"] = str(time_base.denominator)
        try:
            if keep:
                part.replace(old)
            else:
                old.unlink(missing_ok=True)
            self._container = av.open(f"file:{part}", "w", format=container, options=options)
            self._video: Any = self._container.add_stream(encoder, rate=rate, options=dict(SETTINGS[encoder]))
            self._configure(size, rate)
            self._sound = Sound(audio, self._container, audio_from) if audio is not None else None
            self._container.start_encoding()
            if keep:
                self._continue(old, keep)
        except BaseException as error:
            self._give_up(part, old if keep else None)
            if isinstance(error, FFmpegError | OSError | ValueError):
                raise OutputError(f"cannot write {part.name}", why=str(error), fix="another --save-video") from error
            raise

    def _configure(self, size: tuple[int, int], rate: Fraction) -> None:
        stream = self._video
        stream.width, stream.height = size[0] + size[0] % 2, size[1] + size[1] % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = self._time_base
        context.gop_size = max(round(2 * rate), 1)
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709, said in the stream
        context.color_range = 1  # studio range
        stream.time_base = self._time_base

    def write(self, image: Image, seconds: float) -> None:
        """Add a picture (H, W, 3) uint8 BGR, `seconds` after the first one."""
        height, width = image.shape[:2]
        if width % 2 or height % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        self._last = max(round(seconds / self._time_base), self._last + 1)
        frame.pts, frame.time_base = self._last, self._time_base
        if self._sound is not None:
            self._sound.copy_until((self._last + self._step) * float(self._time_base))
        self._mux(self._video.encode(frame))
        self.written += 1

    def _mux(self, packets: list[Any]) -> None:
        """Write packets one late, each with its true length: fragments add lengths up instead of keeping stamps."""
        for packet in packets:
            held, self._held = self._held, packet
            if held is not None:
                held.duration = packet.dts - held.dts
                self._container.mux(held)

    def _mux_last(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.duration = self._step
            self._container.mux(held)

    def finish(self, part: Path, path: Path, *, all_sound: bool) -> int:
        """Flush the encoder; an MP4 is rewritten with its index in front. Returns frames that can be read back."""
        self._mux(self._video.encode(None))
        self._mux_last()
        if self._sound is not None:
            end = (self._last + self._step) * self._time_base
            self._sound.copy_until(None if all_sound else float(end))
            self._sound.close()
        self._container.close()
        if self._mp4:
            whole = part.with_name(part.name + ".whole")
            try:
                _rewrite(part, whole, "mov" if path.suffix.lower() == ".mov" else "mp4")
                whole.replace(part)
            finally:
                whole.unlink(missing_ok=True)
        return count_frames(part)

    def abort(self) -> None:
        """Close the file as it is, with the pictures still inside the encoder if the disk takes them."""
        with suppress(FFmpegError, OSError, ValueError):
            self._mux(self._video.encode(None))
            self._mux_last()
        with suppress(FFmpegError, OSError, ValueError):
            self._container.close()

    def _give_up(self, part: Path, old: Path | None) -> None:
        """Let go of a file that could not be begun; what an earlier run left takes its place again."""
        if self._container is not None:
            with suppress(FFmpegError, OSError, ValueError):
                self._container.close()
        if old is not None and old.exists():
            old.replace(part)

    def _continue(self, old: Path, keep: int) -> None:
        """Copy the first `keep` pictures of an earlier part, without encoding them again."""
        with av.open(f"file:{old}") as container:
            stream = container.streams.video[0]
            ours, theirs = self._video.codec_context.extradata, stream.codec_context.extradata
            if not all(nal in (theirs or b"") for nal in _parameter_sets(ours or b"")):
                raise OutputError(f"cannot continue {old.stem}", why="other settings made it", fix="--overwrite")
            # The muxer expects packets as the encoder makes them: start codes, not the lengths that files hold.
            h264 = stream.codec_context.name == "h264"
            plain = BitStreamFilterContext("h264_mp4toannexb", stream) if h264 else None
            for packet in container.demux(stream):
                if self.written == keep or packet.pts is None:
                    break
                for part in [packet] if plain is None else plain.filter(packet):
                    self._last = round((part.pts or 0) * part.time_base / self._time_base)
                    part.pts = part.dts = self._last
                    part.time_base, part.stream = self._time_base, self._video
                    if self._sound is not None:
                        self._sound.copy_until((self._last + self._step) * float(self._time_base))
                    self._mux([part])
                    self.written += 1
        if self.written != keep:
            raise OutputError(f"cannot continue {old.stem}", why=f"it lacks frame {self.written}", fix="--overwrite")
        old.unlink()


def earlier(part: Path) -> Path:
    """Where an unfinished file is while another one takes its pictures over."""
    return part.with_name(part.name + ".old")


def _parameter_sets(extradata: bytes) -> list[bytes]:
    """The H.264 parameter sets an encoder announces; none for codecs that announce nothing."""
    return [nal.strip(b"\0") for nal in extradata.split(b"\0\0\1") if nal and nal[0] & 31 in (7, 8)]


def has_encoder(name: str) -> bool:
    """Whether this FFmpeg can encode with `name`."""
    try:
        return bool(Codec(name, "w"))
    except UnknownCodecError:
        return False


def count_frames(path: Path) -> int:
    """Video packets that can be read from `path`: frames, for what this module writes. 0 if it cannot be opened."""
    count = 0
    try:
        with av.open(f"file:{path}") as container:
            for packet in container.demux(container.streams.video[0]):
                count += bool(packet.size)
    except (FFmpegError, OSError, IndexError):
        return count
    return count


def _rewrite(part: Path, whole: Path, format: str) -> None:
    """Copy every packet into one file with its index at the front."""
    with (
        av.open(f"file:{part}") as source,
        av.open(f"file:{whole}", "w", format=format, options={"movflags": "faststart"}) as target,
    ):
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams if s.type in ("video", "audio")}
        for packet in source.demux():
            if packet.dts is None or packet.stream.index not in streams:
                continue
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
