"""convert: recordings and tables into every file format, and back into a recording where the format holds enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tfpose_rt.errors import PartialError, UsageError
from tfpose_rt.io.parts import PartFile, closing_order, into_place, made
from tfpose_rt.io.sinks import FORMATS, Sink, SinkOptions, check_outputs, finals, in_the_way
from tfpose_rt.io.tables import meta_path
from tfpose_rt.stats import Stats, cut_short
from tfpose_rt.tools.derived import DERIVED, DerivedSink
from tfpose_rt.tools.reading import Source, tell_cut_short
from tfpose_rt.tools.smoothing import check_smoothing, open_smoothed


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of one output.

    Args:
        path: the name that was asked for.
        files: every file that was made for it, with its frames; none on standard output.
        frames: how many were read.
    """

    path: Path
    files: tuple[tuple[Path, int], ...]
    frames: int


def convert(
    path: Path,
    outputs: Sequence[tuple[Path, str]],
    options: SinkOptions | None = None,
    *,
    ids: Sequence[int] = (),
    overwrite: bool = False,
    strict: bool = False,
    smooth: str = "",
    name: str = "",
    also: Sequence[Callable[[Mapping[str, Any]], Sink]] = (),
) -> list[Converted]:
    """Write every output from one file of poses, in one pass; that file stays as it is.

    Args:
        path: what to read.
        outputs: path and format of each file, of `FORMATS` or `DERIVED`.
        options: how to write.
        ids: these people only; everybody where there are none.
        overwrite: whether files may be replaced.
        strict: refuse a recording that was cut short or has gaps.
        smooth: how to smooth it first, as `smoothing.open_smoothed` takes it.
        name: what tables of several recordings call this one; its stem where nothing is given.
        also: others that get the results and are closed with the rest; each is made of the header.
    Raises: InputError, OutputError, UsageError (nobody has one of the ids, too); PartialError with `strict`.
    """
    options = options or SinkOptions()
    chosen = options.field == "smooth" and not smooth
    for asked, flag in ((options.normalised, "--normalised"), (chosen, "--field smooth")):
        if asked and "jsonl" in (name for _, name in outputs):
            why = "a recording holds pixels, and smoothed points beside raw ones"
            raise UsageError(f"{flag} with JSONL", why=why, fix="another format")
    check_smoothing(path, options.field, smooth)
    inputs = read_from(path)
    check_outputs([p for p, _ in outputs], overwrite, inputs=inputs, aside=True)
    source = open_smoothed(path, smooth)
    with ExitStack() as stack:
        folders = {p: Path(stack.enter_context(_beside(p))) for p, _ in outputs if in_the_way(p, inputs)}
        files = [(folders[p] / p.name if p in folders else p, kind) for p, kind in outputs]
        name = name or Path(path.name.removesuffix(".part")).stem
        sinks = [make(source.header) for make in also]
        _fill(path, source, files, sinks, options, ids, name=name, overwrite=overwrite, strict=strict)
        for target, folder in folders.items():
            _move(folder, target, overwrite=overwrite)
    return [
        Converted(
            target, tuple((target.with_name(file.name), _frames(sink, file)) for file in sink.files), sink.written
        )
        for (target, _), sink in zip(outputs, sinks[len(also) :], strict=True)
    ]


def read_from(path: Path) -> list[Path]:
    """Every file that is read to read `path`."""
    if Path(path.name.removesuffix(".part")).suffix.lower() != ".csv":
        return [path]
    meta = meta_path(path.with_name(path.name.removesuffix(".part")))
    return [path, meta, PartFile.part(meta)]


def _beside(path: Path) -> TemporaryDirectory[str]:
    """A folder on the same disk for a file that is made from its own unfinished run, which stays until it is done."""
    return TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)


def _move(folder: Path, target: Path, *, overwrite: bool) -> None:
    """Give the files made for `target` their places, and remove those of persons who are no longer in it."""
    moved = [target.with_name(file.name) for file in folder.iterdir()]
    for final in moved:
        into_place(folder / final.name, final, overwrite=overwrite)
    if overwrite and target.suffix.lower() in (".trc", ".mot"):
        for stale in set(finals(target)) - {target, *moved}:
            stale.unlink()


def _fill(
    path: Path, source: Source, outputs: Sequence[tuple[Path, str]], sinks: list[Sink], options: SinkOptions,
    ids: Sequence[int], *, name: str, overwrite: bool, strict: bool,
) -> None:  # fmt: skip
    """Add a sink for every output, write and complete all; none stays behind half-written."""
    counted, known = Stats(), set[int]()
    try:
        for target, kind in outputs:
            if kind in DERIVED:
                sinks.append(DERIVED[kind](target, name, source.header, options, overwrite=overwrite))
            else:
                sinks.append(FORMATS[kind](target, source.header, options, overwrite=overwrite))
        for result in source.results:
            if strict and result.gap is not None:
                raise PartialError(f"{path.name} has gaps", why=f"{result.gap.reason} at {result.gap.t_start} s")
            if ids and result.poses is not None:
                poses = result.poses
                known.update([] if poses.ids is None else poses.ids.tolist())
                result = replace(result, poses=poses.take([]) if poses.ids is None else poses.select(ids))
            counted.count(result)
            for sink in sinks:
                sink.write(result)
        _require(ids, known, path.name)
        summary = _summary(path, source, counted, strict=strict)
        if ids:
            summary |= {"frames_with_people": counted.with_people, "persons": counted.persons, "ids": len(counted.ids)}
        for sink in closing_order(sinks):
            sink.close(summary | {"files": [file.name for file, _ in made(sinks)]})
    except BaseException:
        for sink in sinks:
            sink.discard()
        raise


def _frames(sink: Sink, file: Path) -> int:
    return sink.frames.get(file, sink.written) if isinstance(sink, DerivedSink) else sink.written


def _require(ids: Sequence[int], known: set[int], name: str) -> None:
    for number in ids:
        if number not in known:
            fix = f"--ids {','.join(map(str, sorted(known)))}" if known else "without --ids: there are none in it"
            raise UsageError(f"id {number} is not in {name}", why="nobody has it", fix=fix)


def _summary(path: Path, source: Source, counted: Stats, *, strict: bool) -> dict[str, Any]:
    """How the recording ended, as it says, or from what is in it; PartialError with `strict` unless it ended well."""
    told = source.summary
    if told is None:
        if strict:
            raise PartialError(f"{path.name} was cut short", why="it has no summary", fix="video --resume")
    elif strict and told.get("gaps"):  # tables hold the number alone
        raise PartialError(f"{path.name} has gaps", why=f"its summary counts {told['gaps']}")
    elif strict and told.get("complete") is False:
        fix = "video --resume" if told.get("ended") == "signal" else "video again"
        raise PartialError(f"{path.name} was cut short", why=f"it ended by {told.get('ended')}", fix=fix)
    tell_cut_short(path, told, counted.frames)
    return {k: v for k, v in (told or cut_short(counted)).items() if k != "type"}
