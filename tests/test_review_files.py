"""Files made of recordings with nulls in them, what a failed file leaves behind, and lists of sources."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.io.coco import coco_sink
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.sources import expand
from tfpose_rt.io.spool import SpoolSink
from tfpose_rt.records import Poses, Result, frozen

HEADER = {"type": "header", "schema": "tfpose-rt/1", "size": [320, 240], "source": {"name": "a"}, "fps": {}}


def person(**changes: Any) -> Poses:
    """One person with a joint that has no place, one without a score and one without an error."""
    xy, scores, errors = np.full((1, 17, 2), 50.0), np.full((1, 17), 0.9), np.full((1, 17), 1.0)
    xy[0, 3], scores[0, 4], errors[0, 5] = np.nan, np.nan, np.nan
    poses = Poses(
        xy=frozen(xy), scores=frozen(scores), errors=frozen(errors), boxes=frozen([[10, 10, 90, 90]]),
        box_scores=frozen([0.9]), ids=frozen([0], np.int64), size=(320, 240),
    )  # fmt: skip
    return replace(poses, **changes)


def no_json(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


@pytest.mark.parametrize("errors", [True, False])
def test_what_is_not_known_is_zero_in_coco_files_which_stay_json(tmp_path: Path, errors: bool) -> None:
    sink = coco_sink(tmp_path / "a.json", HEADER)
    sink.write(Result(poses=person() if errors else person(errors=None)))
    sink.close({})
    (told,) = json.loads((tmp_path / "a.json").read_text(), parse_constant=no_json)
    points = np.array(told["keypoints"]).reshape(17, 3)
    assert points[[3, 4]].tolist() == [[0, 0, 0]] * 2
    assert points[5].tolist() == [50, 50, 0.9]
    assert 0.7 < told["score"] < 0.9


def test_a_file_that_cannot_be_made_leaves_its_recording_alone(tmp_path: Path) -> None:
    sink = coco_sink(tmp_path / "a.json", HEADER, SinkOptions(field="smooth"))
    sink.write(Result(poses=person()))
    with pytest.raises(UsageError, match="no smoothed points"):
        sink.close({})
    assert [file.name for file in tmp_path.iterdir()] == ["a.json.part"]
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_made_is_not_taken_away_again(tmp_path: Path) -> None:
    def build(path: Path, *_: Any) -> Any:
        path.with_name("a.new").write_text("made")
        return [(path.with_name("a.new"), path)]

    sink = SpoolSink(tmp_path / "a", HEADER, None, build, overwrite=False, files=[tmp_path / "a"])
    sink.close({})
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_a_list_that_names_itself_is_told_and_one_named_twice_is_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.txt").write_text("a.mp4\n@two.txt\n@two.txt\n")
    Path("two.txt").write_text("b.mp4\n")
    assert expand(["@one.txt"]) == ["a.mp4", "b.mp4", "b.mp4"]
    Path("two.txt").write_text("@one.txt\n")
    with pytest.raises(InputError, match=r"the list one.txt names itself"):
        expand(["@one.txt"])
