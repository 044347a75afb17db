"""What travels between the stages: frozen records of numpy arrays. No torch, no cv2.

Coordinates are pixels of the upright frame, x right, y down; (0, 0) is the CENTRE of the top-left pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
BoxFrom = Literal["detector", "tracker", "full"]


def frozen(array: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """A read-only copy, so that a record never changes behind its reader's back."""
    copy = np.array(array, dtype)
    copy.flags.writeable = False
    return copy


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """What a source says of itself once it is open."""

    kind: Literal["file", "camera", "url", "synthetic", "stdin", "images", "pairs"]
    name: str  # basename or masked URL, never a full path or a password
    size: tuple[int, int]  # W, H after rotation, px
    fps: float | None = None  # nominal
    variable: bool = False
    frames: int | None = None  # the container's count: a hint only
    duration: float | None = None  # s
    rotation: int = 0  # degrees applied, clockwise: 0, 90, 180, 270
    codec: str | None = None
    live: bool = False
    sha256: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)  # backend, fourcc, ... for people to read


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One decoded picture and its true time."""

    index: int  # decode order in the source, from 0
    pts: float  # s from the source's first frame, strictly increasing
    image: Image  # (H, W, 3) uint8, BGR
    seq: int = 0  # capture counter (live)
    skipped: int = 0  # captured but passed over since the last frame handed on (live)
    t_capture: float | None = None  # s, of `clock.now`, right after the grab (live)
    pts_fixed: bool = False  # the container's time was missing, repeated or went backwards


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Frames that should have been there and were not."""

    reason: Literal["disconnected", "stalled", "decode_error", "paused", "disk_slow"]
    t_start: float
    t_end: float
    seq_from: int
    seq_to: int | None = None
    attempts: int = 0
    detail: str = ""  # credentials masked


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The source came back with another size or rate; later frames use it."""

    size: tuple[int, int]
    fps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something the user did: ids_reset, record_start, record_stop, snapshot, device_changed."""

    kind: str
    t: float
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Detections:
    """People found in one frame: boxes (N, 4) x0, y0, x1, y1 px; scores (N,) in 0..1."""

    boxes: Float
    scores: Float

    def __len__(self) -> int:
        """The number of people."""
        return len(self.boxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Poses:
    """All people of one frame. N = 0 is ordinary.

    Args:
        xy: (N, K, 2) float32, px of the frame; may lie outside it.
        scores: (N, K) float32 in 0..1, or None where the model gives none.
        boxes: (N, 4) float32 x0, y0, x1, y1 px.
        box_scores: (N,) float32 in 0..1.
        ids: (N,) int64 >= 0, never reused within a stream; None when tracking is off.
        frame: index of the frame in its source; live, among the frames looked at.
        pts: s from the source's first frame.
        size: (W, H) of the frame, px.
        box_from: N times "detector", "tracker" or "full".
        new: (N,) bool, first sight of this id.
        xy_smooth: (N, K, 2) float32, only when smoothing is on; `xy` stays raw.
        errors: (N, K) float32 px, how far `xy` is expected to be from the true place: half of the joints lie within;
            None where the model does not say.
        swapped: (N, 2) bool, whether left and right of the arms, of the legs, are the other way round than the model
            named them in this frame (`skeleton.LIMBS`); None where the model's own names are kept.
        unit: of `xy`, `xy_smooth` and `boxes`: "px", or "share" of the picture's sides as `normalised` gives them.
    """

    xy: Float
    scores: Float | None
    boxes: Float
    box_scores: Float
    ids: npt.NDArray[np.int64] | None = None
    frame: int = 0
    pts: float = 0.0
    size: tuple[int, int] = (0, 0)
    box_from: Sequence[BoxFrom] = ()
    new: npt.NDArray[np.bool_] | None = None
    xy_smooth: Float | None = None
    errors: Float | None = None
    swapped: npt.NDArray[np.bool_] | None = None
    unit: Literal["px", "share"] = "px"

    def __len__(self) -> int:
        """The number of people."""
        return len(self.xy)

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | Sequence[int]) -> Poses:
        """The people of those rows, numbers in their order or a mask (N,)."""
        chosen = np.arange(len(self))[np.asarray(rows) if len(rows) else np.zeros(0, np.int64)]
        each = ("xy", "scores", "boxes", "box_scores", "ids", "new", "xy_smooth", "errors", "swapped")
        arrays = {name: getattr(self, name) for name in each}
        kept: dict[str, Any] = {n: frozen(a[chosen], a.dtype) for n, a in arrays.items() if a is not None}
        return replace(self, box_from=tuple(self.box_from[i] for i in chosen) if self.box_from else (), **kept)

    def select(self, ids: Iterable[int]) -> Poses:
        """The people with those ids, as far as they are in this frame, in the order of their rows.

        Raises: ValueError: tracking was off, so that nobody has an id.
        """
        if self.ids is None:
            if len(self):
                raise ValueError("nobody has an id: tracking was off, or this is no stream")
            return self
        return self.take(np.isin(self.ids, np.array(list(ids), np.int64)))

    def normalised(self) -> Poses:
        """Places and boxes as shares of the picture, (x + 0.5) / W and (y + 0.5) / H: 0..1 from edge to edge.

        `errors` are left out: a distance has no unit where x and y are counted in different ones.

        Raises: ValueError: they are shares already, or the picture's size is not known.
        """
        side = np.array(self.size, np.float32)
        if self.unit != "px" or not side.all():
            raise ValueError("these are shares already" if side.all() else "the size of the picture is not known")
        smooth = None if self.xy_smooth is None else frozen((self.xy_smooth + 0.5) / side)
        xy, boxes = frozen((self.xy + 0.5) / side), frozen((self.boxes + 0.5) / np.tile(side, 2))
        return replace(self, xy=xy, xy_smooth=smooth, boxes=boxes, errors=None, unit="share")

    def draw(self, image: Image, **style: Any) -> Image:
        """These people on a copy of their picture.

        Args:
            image: (H, W, 3) uint8 BGR, of `size`; not changed.
            style: fields of `tfpose_rt.draw.DrawStyle`, such as `kpt_thr=0.5` or `boxes=False`.
        Returns: (H, W, 3) uint8 BGR, a new image.
        Raises: ValueError: a picture of another size or kind, or poses in shares. TypeError: no such field.
        """
        from tfpose_rt.io import handover

        return handover.drawn(self, image, **style)

    def to_dict(self, *, full_precision: bool = False) -> dict[str, Any]:
        """The frame record of a JSONL recording, of numbers, lists and None; see docs/formats.md.

        Args:
            full_precision: all digits instead of 2 decimals of pixels, 4 of scores and 6 of seconds.
        Raises: ValueError: poses in shares; records hold pixels.
        """
        from tfpose_rt.io import handover

        return handover.frame_record(self, full_precision=full_precision)

    def to_openpose(self, *, layout: str = "coco18", kpt_thr: float = 0.3) -> dict[str, Any]:
        """What an OpenPose JSON file of this frame holds: `version` and `people`; shares where these are.

        Args:
            layout: coco18, body25 or coco17.
            kpt_thr: joints with a lower score are 0, 0, 0, as readers of such files expect.
        Raises: UsageError: no such layout.
        """
        from tfpose_rt.io import handover

        return handover.openpose_frame(self, layout=layout, kpt_thr=kpt_thr)

    def to_supervision(self, *, kpt_thr: float = 0.3) -> Any:
        """These people as `supervision.KeyPoints`, of supervision before or after its change of names in 0.29.

        Its `data` has `xyxy`, `class_name` and, with tracking, `tracker_id`; `class_id` is 0. Its edge annotator counts
        joints from 1: `edges=[(a + 1, b + 1) for a, b in tfpose_rt.skeleton.EDGES]`.

        Args:
            kpt_thr: joints with a lower score are not `visible`, where its KeyPoints know that.
        Raises: UsageError: supervision is not installed.
        """
        from tfpose_rt.io import handover

        return handover.key_points(self, kpt_thr=kpt_thr)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One processed frame (or, in a live stream, one gap): what `stream()` yields."""

    frame: int = 0
    pts: float = 0.0
    image: Image | None = None  # None when this is a gap
    poses: Poses | None = None
    seq: int = 0
    skipped: int = 0
    pts_fixed: bool = False
    t_capture: float | None = None
    video_frame: int | None = None  # its number in a video saved beside the recording that it was read from
    latency_ms: float | None = None  # live: from capture until it was handed on, or until it was on the screen
    timings: Mapping[str, float] = field(default_factory=dict)  # stage -> s
    gap: Gap | None = None
    segment: Segment | None = None
    event: Event | None = None
    hidden: Float | None = None  # (M, 4) px, people out of sight and what was taken for nobody: privacy covers both
    searched: bool = False  # the whole picture was looked through: `poses` and `hidden` are everybody in it

    @property
    def cover(self) -> Float:
        """(M, 4) px: what has to be blurred beside `poses`; all of a picture that was not looked through."""
        if self.searched and self.hidden is not None:
            return self.hidden
        h, w = (0, 0) if self.image is None else self.image.shape[:2]
        return frozen([[-0.5, -0.5, w - 0.5, h - 0.5]])
