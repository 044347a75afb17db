"""video -f angles,mot,summary: tables that are made of each recording once it is complete, beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tfpose_rt.errors import TfposeError, UsageError
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.sinks import check_outputs, is_there
from tfpose_rt.tools.batch import How, Outcome, there
from tfpose_rt.tools.conversions import Plan, convert_all, plan_conversion
from tfpose_rt.tools.derived import DERIVED, formats_of
from tfpose_rt.tools.outputs import Job

READABLE = ("jsonl", "parquet", "csv")  # recordings, the fullest first


def split(formats: Sequence[str], out: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Formats that are written frame by frame, and those that are made of a recording.

    A recording is made, too, where nothing asks for one that can be read again.

    Raises: UsageError: no such format; `out` names a file where a folder has to hold both.
    """
    names = formats_of(formats)
    tables = [name for name in names if name in DERIVED]
    written = [name for name in names if name not in DERIVED]
    if tables:
        for path in out:
            if str(path) == "-" or (path.suffix and not path.is_dir()):
                why = f"{tables[0]} is made of a recording, and a folder holds both"
                raise UsageError(f"-o {path} with -f {tables[0]}", why=why, fix="-o FOLDER")
        if not set(written) & set(READABLE):
            written.append("jsonl")
    return written, tables


def plan_tables(jobs: Sequence[Job], formats: Sequence[str], *, track: bool) -> Plan:
    """The tables of every job, in each folder that holds its recording; of several jobs a summary holds all.

    Args:
        jobs: planned with the formats that `split` gave.
        formats: the others that it gave.
        track: whether people have ids.
    Raises: UsageError: mot without ids.
    """
    if "mot" in formats and not track:
        raise UsageError("-f mot with --no-track", why="a file holds one person, told by the id", fix="--track")
    if not formats:
        return Plan((), ())
    homes = list(dict.fromkeys(path.parent for job in jobs for path, _ in job.data))
    return plan_conversion([_recording(job) for job in jobs], homes, formats, shared=len(jobs) > 1)


def _recording(job: Job) -> Path:
    return min((item for item in job.data if item[1] in READABLE), key=lambda item: READABLE.index(item[1]))[0]


def check_tables(jobs: Sequence[Job], tables: Plan, how: How) -> None:
    """Refuse, before the model loads, what could not be written.

    Tables may be there whose recording is there and counts, and a summary of several if one of them does.

    Raises: OutputError, UsageError.
    """
    counted = [there(job, how) for job in jobs]
    fresh = [path for one, kept in zip(tables.jobs, counted, strict=False) if not kept for path in one.paths]
    check_outputs([*fresh, *(() if any(counted) else tables.tables)], how.overwrite)


def make_tables(
    outcomes: Sequence[Outcome], tables: Plan, how: How, options: SinkOptions, told: Callable[[TfposeError], None]
) -> tuple[list[Outcome], list[tuple[Path, int]]]:
    """Make the tables of every recording that there is.

    What was skipped because it is there gets the tables that it lacks. A table that cannot be made is told, and becomes
    its outcome's error; the recording stays.

    Returns: the outcomes with the new files; and the summaries of several recordings, with their rows.
    """
    plans = {job.source: (job, name) for job, name in zip(tables.jobs, tables.names, strict=True)}
    whole = all(outcome.skipped for outcome in outcomes) and all(path.exists() for path in tables.tables)
    shared = () if whole else tables.tables
    todo, places = [], []
    for place, outcome in enumerate(outcomes):
        found = plans.get(str(_recording(outcome.job))) if plans and outcome.error is None else None
        if found is None:
            continue
        job, name = found
        missing = tuple(item for item in job.data if not (outcome.skipped and is_there(item[0])))
        if missing or shared:
            todo.append((replace(job, data=missing), name))
            places.append(place)
    plan = Plan(tuple(job for job, _ in todo), tuple(name for _, name in todo), shared)
    if not all(job.source.lower().endswith(".jsonl") for job in plan.jobs):
        options = replace(options, field="raw")  # a table holds the points that were asked for, and no others
    made, rows = convert_all(plan, options, told, overwrite=how.overwrite or how.resume or how.skip_existing)
    done = list(outcomes)
    for place, one in zip(places, made, strict=True):
        done[place] = replace(done[place], files=(*done[place].files, *one.files), error=one.error)
    return done, rows
