"""The sound of a source file, copied beside the pictures of a saved video; re-encoded only where it must be."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from tfpose_rt.io.av_local import open_local

log = logging.getLogger(__name__)
FITS = {  # codecs that players expect in these containers; anything else becomes the first one
    "mp4": ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac"),
    "webm": ("opus", "vorbis"),
}
ENCODER = {"aac": "aac", "opus": "libopus"}


class Sound:
    """Every audio stream of a file, moved so that time 0 is the first picture written.

    Args:
        path: the source file.
        target: the output container, not yet started.
        start: container time of the source at the first picture, s; earlier sound is left out.
    """

    def __init__(self, path: Path, target: Any, start: float) -> None:
        self._target, self._start = target, start
        self._source = open_local(path)
        self._out: dict[int, Any] = {}
        self._encoders: dict[int, Any] = {}  # stream index -> resampler, where the codec does not fit
        fits = FITS.get(target.format.name)
        for stream in self._source.streams.audio:
            with suppress(FFmpegError, ValueError):  # a stream without a decoder stays behind
                if fits is None or stream.codec_context.codec.canonical_name in fits:
                    self._out[stream.index] = target.add_stream_from_template(stream)
                else:
                    self._add_encoder(stream, fits[0])
        self._packets = self._read()
        self._next: tuple[float, Any] | None = next(self._packets, None)

    def _add_encoder(self, stream: Any, codec: str) -> None:
        context = stream.codec_context
        rate = 48_000 if codec == "opus" else context.rate
        out = self._target.add_stream(ENCODER[codec], rate=rate, layout="mono" if context.channels == 1 else "stereo")
        out.codec_context.time_base = out.time_base = Fraction(1, rate)
        self._out[stream.index] = out
        self._encoders[stream.index] = av.AudioResampler(
            format=out.codec_context.format, layout=out.codec_context.layout, rate=rate, frame_size=out.frame_size
        )
        log.info("sound is re-encoded as %s: the container does not take %s", codec, context.name)

    def _read(self) -> Iterator[tuple[float, Any]]:
        """Seconds after the first picture, and packet, of everything worth copying."""
        streams = [s for s in self._source.streams.audio if s.index in self._out]
        if not streams:
            return
        for stream in self._source.streams.video:
            stream.discard = av.stream.Discard.all  # its packets are not even read where the container allows that
        packets = self._source.demux(*streams)
        while True:
            try:
                packet = next(packets, None)
            except (FFmpegError, OSError):
                return  # damaged from here on; the pictures decide how the run ends
            if packet is None:
                return
            if packet.pts is None or packet.dts is None:
                continue
            seconds = float(packet.pts * packet.time_base) - self._start
            if seconds >= 0:
                yield seconds, packet

    def copy_until(self, seconds: float | None) -> None:
        """Write the sound that starts before `seconds` after the first picture; None: all that is left."""
        while self._next is not None and (seconds is None or self._next[0] < seconds):
            packet = self._next[1]
            self._write(packet)
            self._next = next(self._packets, None)

    def _write(self, packet: Any) -> None:
        index, out = packet.stream.index, self._out[packet.stream.index]
        resampler = self._encoders.get(index)
        if resampler is None:
            shift = round(self._start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = out
            self._target.mux(packet)
            return
        with suppress(FFmpegError):  # one damaged packet of sound is no reason to lose the pictures
            for frame in packet.decode():
                if frame.pts is not None:
                    frame.pts -= round(self._start / frame.time_base)
                for part in resampler.resample(frame):
                    self._mux(out.encode(part))

    def _mux(self, packets: list[Any]) -> None:
        """Write encoded sound; MP4 would move the pictures to make room for an AAC encoder's lead-in."""
        webm = self._target.format.name == "webm"
        self._target.mux([p for p in packets if webm or p.pts is None or p.pts >= 0])

    def close(self) -> None:
        """Flush the encoders and release the source."""
        for index, resampler in self._encoders.items():
            out = self._out[index]
            for part in resampler.resample(None):
                self._mux(out.encode(part))
            self._mux(out.encode(None))
        self._source.close()
