"""The labels a run began with, kept in its folder: whose they are (teacher.json), and themselves (labels.npz)."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfpose_rt import assets
from tfpose_rt.errors import InputError, OutputError, UsageError
from tfpose_rt.files import write_whole
from tfpose_rt.training.data import Sample

NOTE, LABELS = "teacher.json", "labels.npz"


def remember(folder: Path, teacher: str | None, share: float, *, resume: bool) -> None:
    """Hold a run to the labels it began with: teacher.json is written beside a new run, compared when it goes on.

    Args:
        folder: the run's; made where a teacher is named.
        teacher: name or file of the teacher's weights; None without one.
        share: weight of its labels at score 1.
        resume: the run goes on.
    Raises: UsageError: the run began with another teacher or share. OutputError: a new run would replace one.
    WeightsError: there is no such teacher.
    """
    note = folder / NOTE
    labels = None if teacher is None else {"share": share, "sha256": assets.sha256(assets.resolve(teacher))}
    if resume:
        before = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else None
        name = before.pop("name") if before else None  # a file may be called otherwise by now
        if before != labels:
            began = f"teacher {name} ({before['sha256']:.12}), share {before['share']}" if before else "no teacher"
            fix = f"--teacher {name} --teacher-share {before['share']}" if before else "without --teacher"
            raise UsageError("--resume with other labels", why=f"this run began with {began}", fix=fix)
    elif (folder / "run.json").exists():
        raise OutputError(f"{folder} holds a run", why="runs are never replaced", fix="--resume, or another --save-dir")
    elif labels is None:
        note.unlink(missing_ok=True)
    else:
        (folder / LABELS).unlink(missing_ok=True)  # of a beginning that never became a run
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"name": teacher, **labels}, indent=1), encoding="utf-8")


def keep(folder: Path, samples: Sequence[Sample]) -> None:
    """Write every person's labels into the run's folder, whole or not at all."""
    with io.BytesIO() as file:
        xy, weight = (np.array([getattr(s, name) for s in samples], np.float32) for name in ("xy", "weight"))
        np.savez_compressed(file, key=np.array([s.key for s in samples]), xy=xy, weight=weight)
        write_whole(folder / LABELS, file.getvalue())


def kept(folder: Path, samples: Sequence[Sample]) -> list[Sample]:
    """The people with the labels that `keep` wrote; who had none there is left out.

    Args:
        folder: the run's.
        samples: all people of the set, those without a labelled joint included.
    Raises: InputError: somebody is not in the set any more, or has other joints.
    """
    people = {sample.key: sample for sample in samples}
    with np.load(folder / LABELS) as stored:
        keys, xy, weight = stored["key"].tolist(), stored["xy"], stored["weight"]
    if gone := [key for key in keys if key not in people or people[key].xy.shape != xy.shape[1:]]:
        why = f"{len(gone):,} of {len(keys):,} people are gone from it or have other joints, {gone[0]} first"
        raise InputError(
            "the set is not the one this run began with", why=why, fix="the set it began with, or a new run"
        )
    return [replace(people[key], xy=xy[i], weight=weight[i]) for i, key in enumerate(keys)]
