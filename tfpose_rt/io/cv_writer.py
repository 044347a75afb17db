"""The second way to a video: OpenCV's MPEG-4, where FFmpeg has no H.264 encoder. Constant rate, no sound."""

from __future__ import annotations

from pathlib import Path

from tfpose_rt.errors import OutputError
from tfpose_rt.io.parts import Places
from tfpose_rt.records import Image


class CvEncoder:
    """Encodes pictures of one size into an MP4, each at the nearest place of a constant rate.

    Args:
        part: where the result is to be.
        size: (W, H), px.
        rate: pictures a second.
    Raises: OutputError: OpenCV cannot open it.
    """

    def __init__(self, part: Path, size: tuple[int, int], rate: float) -> None:
        import cv2

        self.written = 0
        self._places, self._size = Places(rate), size
        self._last: Image | None = None  # what is shown until the next one comes
        self._file = part.with_name(part.name + ".mp4")  # OpenCV picks the container by the suffix
        part.touch()
        self._writer = cv2.VideoWriter(str(self._file), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
        if not self._writer.isOpened():
            raise OutputError(f"cannot write {part.name}", why="OpenCV has no mp4v encoder", fix="pip install av")

    def write(self, image: Image, seconds: float) -> None:
        """Add a picture, shown until the next one; it is left out where the one before it has its place."""
        if (image.shape[1], image.shape[0]) != self._size:
            raise OutputError("cannot add a frame to the video", why="its size differs", fix="one size for a video")
        place = self._places.of(seconds)
        if place is None:
            return
        for _ in range(place - self.written):
            self._writer.write(image if self._last is None else self._last)
        self._writer.write(image)
        self._last, self.written = image, place + 1

    def finish(self, part: Path, path: Path, *, all_sound: bool) -> int:
        """Complete the file and read it back."""
        import cv2

        self._writer.release()
        count, capture = 0, cv2.VideoCapture(str(self._file))
        while capture.grab():
            count += 1
        capture.release()
        self._file.replace(part)
        return count

    def abort(self) -> None:
        """Leave what there is."""
        self._writer.release()
        if self._file.exists():
            self._file.replace(self._file.with_suffix(""))
