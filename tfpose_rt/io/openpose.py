"""OpenPose JSON: a folder with one file for each frame, empty frames included, as OpenPose's own writer names them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.io.chosen import chosen, decimals
from tfpose_rt.io.parts import PartFile, SinkOptions, folder_into_place, unwritable
from tfpose_rt.io.record_json import SCORES
from tfpose_rt.records import Poses, Result
from tfpose_rt.skeleton import INDEX, NAMES

BODY = ("right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist")
LEGS = ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle")
FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
FEET = ("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel")
LAYOUTS: dict[str, tuple[str, ...]] = {
    "coco17": NAMES,
    "coco18": ("nose", "neck", *BODY, *LEGS, *FACE),
    "body25": ("nose", "neck", *BODY, "mid_hip", *LEGS, *FACE, *FEET),
}
MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}
REST = ("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d",
        "pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d")  # fmt: skip
OURS = re.compile(r".*_\d{12}_keypoints\.json|.*_\d{6}\.json|layout\.(json|txt)")


class OpenPoseSink:
    """Writes a file for each frame into `<name>.part/`, which gets its name when complete.

    In these files alone a point below `kpt_thr` is 0,0,0, since their readers expect it; `layout.json` in the folder
    (`layout.txt` under Pose2Sim's naming) says so and names the points.

    Args:
        path: the folder.
        header: the header record; files are named after its source.
        options: `openpose_layout`, `openpose_naming`, `kpt_thr`, `field`, `normalised` and `resume` apply.
        overwrite: whether a finished folder's pose files may be replaced.
    Raises: OutputError: the folder cannot be made or written. UsageError: unknown layout or naming.
    """

    sums_up = False

    def __init__(
        self, path: Path, header: Mapping[str, Any], options: SinkOptions | None = None, *, overwrite: bool = False
    ) -> None:
        self._options = options = options or SinkOptions()
        self.path, self.files, self.written, self._overwrite = path, [path], 0, overwrite
        self._part = PartFile.part(path)
        self._stem = _stem(header.get("source", {}), path)
        known_layout(options.openpose_layout)
        if options.openpose_naming not in ("openpose", "pose2sim"):
            raise UsageError(f"naming {options.openpose_naming!r}", why="unknown", fix="openpose, pose2sim")
        try:
            self._part.mkdir(exist_ok=True)
            for file in self._part.iterdir():
                if OURS.fullmatch(file.name):
                    self._keep_or_remove(file)
            values = "x / W, y / H, confidence" if options.normalised else "x px, y px, confidence"
            layout = {"layout": options.openpose_layout, "points": LAYOUTS[options.openpose_layout], "values": values,
                      "below_threshold": [0, 0, 0], "threshold": options.kpt_thr, "header": header}  # fmt: skip
            # Pose2Sim counts every .json as a frame
            name = "layout.json" if options.openpose_naming == "openpose" else "layout.txt"
            (self._part / name).write_text(json.dumps(layout, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise unwritable(path, error) from error

    def _keep_or_remove(self, file: Path) -> None:
        number = re.search(r"_(\d{6,12})(_keypoints)?\.json$", file.name)
        resume = self._options.resume
        if resume is not None and number is not None and int(number[1]) <= resume.last:
            self.written += 1
        else:
            file.unlink()

    def write(self, result: Result) -> None:
        """Add one frame; gaps and events have no file."""
        if result.poses is None:
            return
        about = document(chosen(result.poses, self._options), self._options)
        number = (
            f"{result.frame:012d}_keypoints" if self._options.openpose_naming == "openpose" else f"{result.frame:06d}"
        )
        text = json.dumps(about, separators=(",", ":"))
        try:
            (self._part / f"{self._stem}_{number}.json").write_text(text, encoding="utf-8")
        except FileNotFoundError as error:
            raise OutputError(f"{self._part.name} was removed while it was written", why="something deleted it",
                              fix="run again") from error  # fmt: skip
        except OSError as error:
            raise unwritable(self.path, error) from error
        self.written += 1

    def close(self, summary: Mapping[str, Any]) -> None:
        """Give the folder its name; in one that exists, this source's pose files are replaced and others left alone."""
        number = r"\d{12}_keypoints" if self._options.openpose_naming == "openpose" else r"\d{6}"
        ours = re.compile(rf"{re.escape(self._stem)}_{number}\.json")
        try:
            for file in self.path.iterdir() if self._overwrite and self.path.exists() else ():
                if ours.fullmatch(file.name):
                    file.unlink()
        except OSError as error:
            raise unwritable(self.path, error) from error
        folder_into_place(self._part, self.path, overwrite=self._overwrite)

    def abort(self) -> None:
        """Leave the `.part` folder."""

    def discard(self) -> None:
        """Remove the `.part` folder."""
        with suppress(OSError):
            for file in self._part.iterdir():
                if OURS.fullmatch(file.name):
                    file.unlink()
            self._part.rmdir()

    @classmethod
    def last_frame(cls, path: Path) -> int | None:
        """The highest frame number in an unfinished folder whose file is complete."""
        found = []
        for file in PartFile.part(path).iterdir():
            number = re.search(r"_(\d{6,12})(_keypoints)?\.json$", file.name)
            if number and file.read_bytes().endswith(b"]}"):
                found.append(int(number[1]))
        return max(found, default=None)


def known_layout(name: str) -> str:
    """The name of a layout. Raises UsageError: there is none of that name."""
    if name not in LAYOUTS:
        raise UsageError(f"layout {name!r}", why="unknown", fix=", ".join(LAYOUTS))
    return name


def document(poses: Poses, options: SinkOptions) -> dict[str, Any]:
    """The file of one frame, fields and order as OpenPose writes them; `person_id` is [-1] without ids.

    Args:
        poses: as `chosen` gives them.
        options: `openpose_layout`, `kpt_thr` and `normalised` apply.
    """
    people = []
    for i in range(len(poses)):
        scores = np.ones(len(NAMES)) if poses.scores is None else np.asarray(poses.scores[i], np.float64)
        points = _points(np.asarray(poses.xy[i], np.float64), scores, options)
        person: dict[str, Any] = {"person_id": [-1 if poses.ids is None else int(poses.ids[i])]}
        person["pose_keypoints_2d"] = points
        people.append(person | {name: [] for name in REST})
    return {"version": 1.3, "people": people}


def _points(xy: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], options: SinkOptions) -> list[float]:
    out: list[float] = []
    places = decimals(options)
    for name in LAYOUTS[options.openpose_layout]:
        parts = [INDEX[n] for n in MIDDLES.get(name, (name,)) if n in INDEX]
        score = min((float(scores[k]) for k in parts), default=0.0)
        there = bool(parts) and score >= options.kpt_thr and bool(np.isfinite(xy[parts]).all())
        x, y = xy[parts].mean(0).tolist() if there else (0.0, 0.0)
        out += [round(x, places), round(y, places), round(score, SCORES)] if there else [0, 0, 0]
    return out


def _stem(source: Mapping[str, Any], path: Path) -> str:
    """What files are called: after their source, whose own words count for less where it is no file."""
    reduced = plain_name if source.get("kind") in ("camera", "url") else safe_name
    return reduced(Path(str(source.get("name") or path.name)).stem)


def safe_name(name: str) -> str:
    """The user's own name reduced to letters, digits, dot, dash and underscore; letters of any script stay."""
    return re.sub(r"[^\w.-]", "_", name) or "poses"


def plain_name(name: str) -> str:
    """A name that a camera or an address brings, reduced to A-Z, a-z, 0-9, dot, dash and underscore."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name) or "poses"
