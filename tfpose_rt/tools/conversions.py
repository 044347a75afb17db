"""convert of one or many: which recordings are meant, the files that each makes, and all of them in turn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tfpose_rt.errors import InputError, TfposeError, UsageError
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.sinks import FORMATS, SINKS, check_outputs
from tfpose_rt.io.sources import expand, natural
from tfpose_rt.io.tables import meta_path
from tfpose_rt.tools.batch import Outcome
from tfpose_rt.tools.derived import DERIVED, ENDINGS, SummaryTable, formats_of
from tfpose_rt.tools.outputs import DEFAULT_FOLDER, Job, plan
from tfpose_rt.tools.reading import READ
from tfpose_rt.tools.recordings import convert, read_from

log = logging.getLogger(__name__)
OWN = {"angles": ".csv", "summary": ".csv", "mot": ".mot"}  # the suffix of each derived format's files
SUFFIXES = {**SINKS, ".mot": "mot"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be made of which recordings.

    Args:
        jobs: one a recording, in order.
        names: what tables that several recordings share call each of them.
        tables: the summaries that all of them share.
    """

    jobs: tuple[Job, ...]
    names: tuple[str, ...]
    tables: tuple[Path, ...] = ()


def recordings_of(specs: Sequence[str]) -> list[Path]:
    """The files that were meant: a folder stands for the recordings in it, a glob and a @LIST for the files they name.

    Of a recording that a folder holds in several formats the fullest is taken: JSONL, else Parquet, else CSV. A CSV
    file counts with its .meta.json beside it alone.

    Raises: InputError: a folder, glob or list names nothing.
    """
    out: list[Path] = []
    for spec in specs:
        path = Path(spec)
        out += _inside(path) if path.is_dir() else [Path(one) for one in expand([spec])]
    return list(dict.fromkeys(out))


def _inside(folder: Path) -> list[Path]:
    files = sorted((path for path in folder.iterdir() if path.is_file()), key=natural)
    fullest: dict[str, Path] = {}
    for suffix in (".jsonl", ".parquet", ".csv"):
        for path in files:
            if path.suffix.lower() == suffix and (suffix != ".csv" or meta_path(path).exists()):
                fullest.setdefault(path.stem, path)
    for path in files:
        final = Path(path.name.removesuffix(".part"))
        if path.suffix == ".part" and final.suffix.lower() in READ and final.stem not in fullest:
            log.warning("%s is unfinished and passed over; name it to convert it", path)
    if not fullest:
        raise InputError(f"no recordings in {folder}", why="no .jsonl, .parquet or .csv with its .meta.json is in it",
                         fix=f"tfpose-rt video makes them; look in {folder.resolve()}")  # fmt: skip
    return sorted(fullest.values(), key=natural)


def plan_conversion(
    recordings: Sequence[Path], out: Sequence[Path] = (), formats: Sequence[str] = (), *, shared: bool = False
) -> Plan:
    """The outputs of every recording, by the rules of `outputs.plan`, with the derived formats as well.

    Args:
        recordings: as given by `recordings_of`.
        out: files and folders; ./tfpose-out without any.
        formats: by name; where they say nothing the suffix of a file does, and a folder gets CSV.
        shared: whether a summary holds all of them, as `summary.csv` in a folder.
    Raises: UsageError: an unknown format, one that the suffix contradicts, or one file for several recordings.
    """
    formats = formats_of(formats)
    sources = [str(path).removesuffix(".part") for path in recordings]
    data: list[list[tuple[Path, str]]] = [[] for _ in sources]
    folders: dict[Path, None] = {}
    tables: list[Path] = []
    for path in out or [DEFAULT_FOLDER]:
        wanted = formats or _by_name(path)
        own = _file_of(path, wanted, len(sources))
        plain = [name for name in wanted if name in FORMATS]
        there = plan(sources, [path], plain) if plain or not wanted else []
        for place, job in enumerate(there):
            data[place] += job.data
            folders |= dict.fromkeys(job.folders)
        for name in (name for name in wanted if name in DERIVED):
            usual = plan(sources, [DEFAULT_FOLDER if own else path], ["csv"])
            if name == "summary" and shared:
                tables.append(path if own else path / "summary.csv")
            else:
                for place, job in enumerate(usual):
                    base = job.data[0][0]
                    data[place].append((path if own else base.with_name(base.stem + ENDINGS[name]), name))
            folders |= {} if own else dict.fromkeys(folder for job in usual for folder in job.folders)
    names = tuple(job.data[0][0].stem for job in plan(sources, [DEFAULT_FOLDER], ["csv"]))
    jobs = (Job(str(r), tuple(d), None, tuple(folders)) for r, d in zip(recordings, data, strict=True))
    return Plan(tuple(jobs), names, tuple(tables))


def _by_name(path: Path) -> list[str]:
    """The formats of an output where nothing names one: CSV in a folder; none where the suffix tells it to `plan`."""
    if path.is_dir() or (not path.suffix and str(path) != "-"):
        return ["csv"]
    return ["mot"] if path.suffix.lower() == ".mot" else []


def _file_of(path: Path, formats: Sequence[str], recordings: int) -> bool:
    """Whether `path` is a file of one derived format, or standard output for it, and not a folder.

    Raises: UsageError: several formats or recordings for it, or another suffix than the format has.
    """
    derived = next((name for name in formats if name in DERIVED), None)
    suffix = path.suffix.lower()
    if suffix == ".mot" and formats and formats != ["mot"] and not path.is_dir():
        raise UsageError(f"-o {path} with -f {','.join(formats)}", why=".mot is a suffix of mot", fix="-f mot")
    if derived is None or path.is_dir() or (not suffix and str(path) != "-"):
        return False
    if len(formats) > 1:
        raise UsageError(f"-o {path} for {len(formats)} formats", why="a file has one", fix="a folder")
    if recordings > 1 and derived != "summary":
        raise UsageError(f"-o {path} for {recordings} recordings", why="one file holds one of them", fix="a folder")
    if suffix in SUFFIXES and str(path) != "-" and suffix != OWN[derived]:
        fix = f"-o {path.with_suffix(OWN[derived])}"
        raise UsageError(f"-o {path} with -f {derived}", why=f"{suffix} is a suffix of {SUFFIXES[suffix]}", fix=fix)
    return True


def check(todo: Plan, *, overwrite: bool) -> None:
    """Refuse, before anything is read, what could not be written. Raises OutputError, UsageError."""
    inputs = [path for job in todo.jobs for path in read_from(Path(job.source))]
    everything = [path for job in todo.jobs for path in job.paths]
    check_outputs([*everything, *todo.tables], overwrite, inputs=inputs, aside=True)


def convert_all(
    todo: Plan, options: SinkOptions, told: Callable[[TfposeError], None], *, ids: Sequence[int] = (),
    overwrite: bool = False, strict: bool = False, smooth: str = "",
) -> tuple[list[Outcome], list[tuple[Path, int]]]:  # fmt: skip
    """Do every recording of a plan, one after the other; one that fails does not stop the others.

    Args:
        todo: checked by `check`.
        options: how to write.
        told: is given each error as it happens.
        ids: these people only, in every recording.
        overwrite: whether files may be replaced.
        strict: refuse recordings that were cut short or have gaps.
        smooth: how to smooth them first, as `smoothing.open_smoothed` takes it.
    Returns: how each recording ended; and the tables that they share, with their rows.
    Raises: OutputError: such a table cannot be written.
    """
    tables = [SummaryTable(path, options, overwrite=overwrite) for path in todo.tables]
    outcomes = []
    for job, name in zip(todo.jobs, todo.names, strict=True):
        try:
            made = convert(
                Path(job.source), job.data, options, ids=ids, overwrite=overwrite, strict=strict, smooth=smooth,
                name=name, also=[partial(table.sink, name) for table in tables],
            )  # fmt: skip
        except TfposeError as error:
            told(error)
            outcomes.append(Outcome(job=job, error=error))
        else:
            outcomes.append(Outcome(job=job, files=tuple(file for one in made for file in one.files)))
    return outcomes, [(file, len(table.rows)) for table in tables for file in table.write()]
