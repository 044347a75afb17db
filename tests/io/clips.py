"""Clips made on the spot: any codec, rate, rotation, sound and size, with each frame's number painted into it."""

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tfpose_rt.io.synthetic import pattern

EVEN = tuple(range(24))  # stamps of a constant rate, in frames
UNEVEN = (0, 1, 2, 5, 6, 7, 8, 12, 13, 20, 21, 22)


def make(
    path, *, codec="libx264", size=(176, 144), rate=Fraction(25), stamps=EVEN, rotation=0, sounds=(), pix_fmt="yuv420p",
    offset=0, options=None, paint=pattern, ticks=100,
):  # fmt: skip
    """Write a clip that looks upright once `rotation` (degrees clockwise) is applied; returns its times in s."""
    width, height = size
    stored = (height, width) if rotation in (90, 270) else size
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=rate, options=options or {})
        video.width, video.height, video.pix_fmt = *stored, pix_fmt
        time_base = 1 / (rate * ticks)
        video.codec_context.time_base = video.time_base = time_base
        if rotation:
            video.set_display_rotation(-rotation)
        tracks = [out.add_stream(name, rate=48000, layout="mono") for name in sounds]
        out.start_encoding()
        for track in tracks:
            tone(out, track, float(max(stamps) / rate))
        for number, stamp in enumerate(stamps):
            image = np.ascontiguousarray(np.rot90(paint(number, size), rotation // 90))
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = stamp * ticks + offset, time_base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return [float(Fraction(stamp - stamps[0]) / rate) for stamp in stamps]


_MADE = {}


def small(path, frames, **how):
    """A clip of 144x96 px and so many frames at `path`; encoded once however often it is asked for."""
    key = path.suffix, frames, *sorted(how.items())
    if key not in _MADE:
        with tempfile.TemporaryDirectory() as folder:
            first = Path(folder) / path.name
            make(first, size=(144, 96), stamps=tuple(range(frames)), **how)
            _MADE[key] = first.read_bytes()
    path.write_bytes(_MADE[key])
    return str(path)


def tone(out, track, seconds):
    size = track.codec_context.frame_size or 1024
    for start in range(0, int(seconds * 48000), size):
        wave = np.sin(np.arange(start, start + size) * 0.06).astype(np.float32)[None] * 0.3
        frame = av.AudioFrame.from_ndarray(wave, format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        resampler = av.AudioResampler(format=track.codec_context.format, layout="mono", rate=48000)
        for part in resampler.resample(frame):
            out.mux(track.encode(part))
    out.mux(track.encode(None))


def times(path):
    """Times of every frame as PyAV decodes them, in s of the container."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [float(f.pts * f.time_base) for f in container.decode(stream)]


def streams(path):
    """(type, codec) of every stream."""
    with av.open(str(path)) as container:
        return [(s.type, s.codec_context.codec.canonical_name) for s in container.streams]


def in_latin_1(path):
    """The bytes of a clip whose tags, those that FFmpeg adds, are no UTF-8: old cameras and recorders write such."""
    data = path.read_bytes()
    assert b"Lavf" in data
    return data.replace(b"Lavf", b"Lav\xe9").replace(b"Lavc", b"Lav\xe8")
