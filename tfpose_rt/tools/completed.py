"""What the finished files of a job say of themselves: whose they are, what made them, and whether they are whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tfpose_rt import assets
from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.errors import OutputError, TfposeError, UsageError
from tfpose_rt.io.files import file_hash
from tfpose_rt.io.parquet import about_parquet
from tfpose_rt.io.parts import PartFile
from tfpose_rt.io.sinks import finals, is_there
from tfpose_rt.io.tables import meta_path
from tfpose_rt.tools.outputs import Job

TYPED = {  # what decides which records a run makes and stands in a header as it was typed, with what holds untyped
    **{name: getattr(RunConfig(), name) for name in ("det_size", "max_people", "flip_test")},
    **{name: getattr(SourceOptions(), name) for name in ("stride", "fps", "rotate")},
    **dict.fromkeys(("start", "end", "frames", "roi")),
}
CHOSEN = {  # the same of what else a header says of it, which only a model can repeat
    name: getattr(RunConfig(), name)
    for name in ("weights", "detector", "conf", "iou", "det_every", "track", "track_buffer", "sides", "smooth")
}
TAIL = 1 << 16  # bytes in which the last line of a recording begins


def finished(job: Job) -> bool:
    """Whether the files of a job are all there under their final names, whatever is in them."""
    paths = [path for path in job.paths if str(path) != "-"]
    if not paths or any(PartFile.part(path).exists() for path in paths):
        return False
    return all(map(is_there, paths))


def ended_early(job: Job) -> dict[str, Any] | None:
    """The summary in the files of a finished job, where one says that it does not hold the whole source.

    None, too, where no file holds a summary: COCO, OpenPose and TRC files have none.
    """
    return next((told for _, told in _about(job) if told is not None and told.get("complete") is False), None)


def interrupted(job: Job) -> bool:
    """Whether the files of a job say that Ctrl-C ended it."""
    return (ended_early(job) or {}).get("ended") == "signal"


def differences(told: Mapping[str, Any], typed: Mapping[str, Any], usual: Mapping[str, Any] = TYPED) -> list[str]:
    """The flags whose values differ between two runs' typed arguments, as a message names them."""
    found = []
    for name, otherwise in usual.items():
        old, new = (args[name] if args.get(name) not in (None, "") else otherwise for args in (told, typed))
        if str(old) != str(new) and _plain(name, old) != _plain(name, new):
            found.append(f"--{name.replace('_', '-')} ({'none' if old is None else old}, now {new})")
    return found


def refuse_interrupted(job: Job) -> None:
    """Raises: OutputError: the job's files are there, and Ctrl-C completed them: they may be gone on with."""
    if finished(job) and interrupted(job):
        fix = "--resume goes on, --overwrite begins again"
        raise OutputError(f"{_first(job)} exists", why="a run was interrupted there", fix=fix)


def _plain(name: str, value: Any) -> str:
    """A value as another spelling of it would be told: 0:10 is 10, and a name of weights the name of its file."""
    text = str(value)
    with suppress(ValueError, TfposeError):
        if name in ("start", "end"):
            return f"{sum(float(part) * 60.0**place for place, part in enumerate(reversed(text.split(':')))):g}"
        if name in ("weights", "detector"):
            return assets.resolve(text).stem
    return text


def require_own(job: Job, args: Mapping[str, Any], *, strict: bool) -> list[str]:
    """Refuse to take files for those of a job that are another source's, or with `strict` of other settings.

    Two sources' files may bear one name: walk.mp4 of two folders, or names that differ in signs files cannot have.

    Args:
        job: its files are all there.
        args: what the user typed, as a header keeps it.
        strict: whether other settings are refused, too.
    Returns: the settings that differ.
    Raises: OutputError: another source's. UsageError: other settings made them.
    """
    header: Mapping[str, Any] = next((header for header, _ in _about(job) if header), {})
    told, source, path = header.get("args") or {}, header.get("source") or {}, Path(job.source)
    known = source.get("sha256")
    ways = {told.get("hash") == "full", False}  # a photograph's was of its ends, whatever was asked for
    if known and path.is_file() and known not in {file_hash(path, whole=whole) for whole in ways}:
        why = f"it holds the people of another file named {source.get('name')}"
        raise OutputError(f"{_first(job)} exists", why=why, fix="another -o, or --overwrite")
    differ = differences(told, args, {**TYPED, **CHOSEN}) if header else []
    if differ and strict:
        why = f"what is there was made with other settings: {'; '.join(differ)}"
        raise UsageError(f"cannot resume {job.name}", why=why, fix="the options it was made with, or --overwrite")
    return differ


def require_all(job: Job, told: Mapping[str, Any]) -> None:
    """Refuse to go on with some of the files of a run alone: the others would stay cut short for good.

    Args:
        job: what is to be done.
        told: the summary of what is there.
    Raises: UsageError: a file of that run lies beside those of the job and would be left behind.
    """
    ours = {file.name for path in job.paths for file in finals(path)}
    folders = {path.parent for path in job.paths}
    left = [name for name in told.get("files") or () if name not in ours and any((f / name).exists() for f in folders)]
    if left:
        why = f"{' and '.join(left)} would stay cut short"
        raise UsageError(f"cannot resume {job.name}", why=why, fix="the outputs it began with, or --overwrite")


def _first(job: Job) -> Path:
    return next(path for path in job.paths if str(path) != "-")


def _about(job: Job) -> Iterator[tuple[Mapping[str, Any] | None, dict[str, Any] | None]]:
    """Header and summary of each file that holds them."""
    for path, name in job.data:
        header: Any = None
        told: Any = None
        with suppress(OSError, ValueError, AttributeError, TfposeError):
            if name == "jsonl" and str(path) != "-":
                header, told = _ends(path)
            elif name in ("csv", "parquet"):
                beside = name == "csv"
                about = json.loads(meta_path(path).read_text(encoding="utf-8")) if beside else about_parquet(path)
                header, told = about.get("header"), about.get("summary")
        if isinstance(header, Mapping) or isinstance(told, dict):
            yield header if isinstance(header, Mapping) else None, told if isinstance(told, dict) else None


def _ends(path: Path) -> tuple[Any, Any]:
    """The header of a recording and its summary; None where its last line is none."""
    record: Any = {}
    with path.open("rb") as file:
        header = json.loads(file.readline())
        file.seek(max(path.stat().st_size - TAIL, 0))
        with suppress(ValueError):
            record = json.loads((file.read().splitlines() or [b"{}"])[-1])
    return header, record if record.get("type") == "summary" else None
