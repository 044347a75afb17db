"""From what the user typed after -o, -f, --save-video and --save-images to the files that each source makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from glob import has_magic
from itertools import count
from pathlib import Path

from tfpose_rt.errors import OutputError, UsageError
from tfpose_rt.io.openpose import LAYOUTS, plain_name, safe_name
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.sinks import SINKS, VIDEO_SUFFIXES, format_of
from tfpose_rt.io.sources import IMAGE_SUFFIXES
from tfpose_rt.io.stills import STILLS
from tfpose_rt.io.urls import mask
from tfpose_rt.shell import make_folder

DEFAULT_FOLDER = Path("tfpose-out")
CODECS = ("auto", "h264", "vp9", "mp4v")
ENDINGS = {
    "jsonl": ".jsonl",
    "csv": ".csv",
    "parquet": ".parquet",
    "coco": ".json",
    "openpose": "_openpose",
    "trc": ".trc",
}


@dataclass(frozen=True, slots=True)
class Job:
    """One source and what is made of it."""

    source: str
    data: tuple[tuple[Path, str], ...]  # path and format of each data file
    video: Path | None = None
    folders: tuple[Path, ...] = ()  # to be made where they do not exist
    stills: Path | None = None  # overlay pictures: a file, or a folder of this job's alone

    @property
    def name(self) -> str:
        """The source as people may see it: an address without its secrets."""
        return mask(self.source)

    @property
    def drawn(self) -> list[Path]:
        """The outputs that are overlays."""
        return [path for path in (self.video, self.stills) if path is not None]

    @property
    def paths(self) -> list[Path]:
        """Every output."""
        return [path for path, _ in self.data] + self.drawn


def plan(
    sources: Sequence[str],
    out: Sequence[Path] = (),
    formats: Sequence[str] = (),
    save_video: Path | None = None,
    save_images: Path | None = None,
) -> list[Job]:
    """The outputs of every source.

    A path with a known suffix is a file, and then there may be one source only; any other path is a folder, in which
    files are named after their source. Without `out` the folder is ./tfpose-out.

    Raises: UsageError: unknown format, a suffix that no format has, or one file for several sources.
    """
    formats = [name.strip().lower() for name in formats if name.strip()]
    for name in formats:
        format_of(Path("x"), name)
    stems = _stems(sources)
    jobs = []
    for source, stem in zip(sources, stems, strict=True):
        named = [*(out or [DEFAULT_FOLDER])]
        data = tuple(item for path in named for item in _data(path, formats, stem, len(sources)))
        video = None if save_video is None else _video(save_video, stem, len(sources))
        stills = None if save_images is None else _stills(save_images, source, stem, len(sources))
        job = Job(source, data, video, stills=stills)
        wanted = {path.parent for path in job.paths if str(path) != "-"}
        into = tuple(folder for folder in [*named, save_video, save_images] if folder is not None and folder in wanted)
        jobs.append(replace(job, folders=into))
    return jobs


def check_words(jobs: Sequence[Job], sink: SinkOptions) -> None:
    """Refuse words that no format knows, whether or not a file of that format is made.

    Raises: UsageError: an unknown codec or layout, or a codec that the container of a video cannot hold.
    """
    for flag, word, known in (
        ("--codec", sink.codec, CODECS),
        ("--csv-layout", sink.csv_layout, ("wide", "long")),
        ("--openpose-layout", sink.openpose_layout, tuple(LAYOUTS)),
    ):
        if word not in known:
            raise UsageError(f"{flag} {word}", why="unknown", fix=f"{flag} {', '.join(known)}")
    if sink.codec not in ("auto", "vp9"):
        for video in (job.video for job in jobs if job.video is not None and job.video.suffix.lower() == ".webm"):
            raise UsageError(f"--codec {sink.codec} for {video}", why="WebM holds VP9", fix="--codec vp9, or .mp4")


@contextmanager
def folders(jobs: Sequence[Job]) -> Iterator[None]:
    """The folders that outputs are put into, made for the time of a run; what stays empty is removed again.

    Only folders that were named as such are made, and their parents must exist.

    Raises: OutputError: one cannot be made.
    """
    made: list[Path] = []
    try:
        for folder in dict.fromkeys(folder for job in jobs for folder in job.folders):
            made += _made(folder)
        yield
    finally:
        for folder in made:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def _made(folder: Path) -> list[Path]:
    if folder.exists():
        return []
    try:
        folder.mkdir()
    except OSError as error:
        why = f"no folder {folder.parent}" if isinstance(error, FileNotFoundError) else error.strerror or ""
        raise OutputError(f"cannot make the folder {folder}", why=why, fix=make_folder(folder)) from error
    return [folder]


def _data(path: Path, formats: Sequence[str], stem: str, sources: int) -> list[tuple[Path, str]]:
    if str(path) == "-":
        if sources > 1:
            raise UsageError("-o -", why=f"standard output takes one source, not {sources}", fix="a folder")
        if formats and list(formats) != ["jsonl"]:
            why = f"standard output is JSONL, not {', '.join(formats)}"
            raise UsageError("-o -", why=why, fix="-o FILE, or a folder")
        return [(path, "jsonl")]
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        raise UsageError(f"-o {path}", why="-o is for data", fix=f"--save-video {path}")
    if suffix in STILLS and not path.is_dir():
        raise UsageError(f"-o {path}", why="-o is for data", fix=f"--save-images {path}")
    file = not path.is_dir() and ((suffix in SINKS and suffix != "") or (len(formats) == 1 and suffix != ""))
    if file:
        if sources > 1:
            raise UsageError(f"-o {path} for {sources} sources", why="one file holds one source", fix="a folder")
        if len(formats) > 1:
            raise UsageError(f"-o {path} for {len(formats)} formats", why="a file has one", fix="a folder")
        return [(path, format_of(path, formats[0] if formats else None))]
    if suffix and not path.is_dir():
        known = ", ".join(s for s in SINKS if s)
        raise UsageError(f"-o {path}", why=f"no format has {suffix}", fix=f"{known}; or mkdir {path}, for a folder")
    return [(path / (stem + ENDINGS[name]), name) for name in (formats or ["jsonl"])]


def _video(path: Path, stem: str, sources: int) -> Path:
    if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
        if sources > 1:
            raise UsageError(f"--save-video {path} for {sources} sources", why="one file each", fix="a folder")
        return path
    if path.suffix and not path.is_dir():
        fix = f"--save-images {path}" if path.suffix.lower() in STILLS else ".mp4, .mkv or .webm"
        raise UsageError(f"--save-video {path}", why=f"no video has suffix {path.suffix}", fix=fix)
    return path / f"{stem}.mp4"


def _stills(path: Path, source: str, stem: str, sources: int) -> Path:
    """A photograph's overlay is a file, those of anything else are in a folder of their own."""
    photograph = Path(source).suffix.lower() in IMAGE_SUFFIXES and "://" not in source and not Path(source).is_dir()
    photograph = photograph and (Path(source).exists() or not has_magic(source))
    if path.suffix and not path.is_dir():
        if path.suffix.lower() not in STILLS:
            raise UsageError(f"--save-images {path}", why=f"not written as {path.suffix}", fix=f"{', '.join(STILLS)}")
        if sources > 1 or not photograph:
            what = f"{sources} sources" if sources > 1 else Path(source).name
            raise UsageError(f"--save-images {path} for {what}", why="one file holds one picture", fix="a folder")
        return path
    if not photograph:
        return path / f"{stem}_frames"
    suffix = Path(source).suffix
    return path / (stem + (suffix if suffix.lower() in STILLS else STILLS[0]))


def _stems(sources: Sequence[str]) -> list[str]:
    """A file name for each source, all different, on disks that ignore case too.

    Sources of the same name get their folder's name in front where that tells them apart, then their suffix, and at
    last a number.
    """
    stems = [_stem(source) for source in sources]
    for more in (_with_folder, _with_suffix):
        groups: dict[str, list[int]] = {}
        for place, stem in enumerate(stems):
            groups.setdefault(stem.casefold(), []).append(place)
        for places in groups.values():
            longer = [more(sources[place], stems[place]) for place in places]
            if len({name.casefold() for name in longer}) > 1:
                for place, name in zip(places, longer, strict=True):
                    stems[place] = name
    taken: set[str] = set()
    # Who bears the name already keeps it: it is to stay the same when others come into the folder.
    for place in sorted(range(len(stems)), key=lambda place: stems[place] != Path(sources[place]).stem):
        stem = stems[place]
        numbered = (stem if n == 1 else f"{stem}_{n}" for n in count(1))
        stems[place] = next(name for name in numbered if name.casefold() not in taken)
        taken.add(stems[place].casefold())
    return stems


def _with_folder(source: str, stem: str) -> str:
    return f"{safe_name(Path(source).absolute().parent.name)}_{stem}"


def _with_suffix(source: str, stem: str) -> str:
    suffix = Path(source).suffix
    return f"{stem}_{safe_name(suffix[1:])}" if suffix else stem


def _stem(source: str) -> str:
    if source == "-":
        return "stdin"
    if "://" in source:
        return plain_name(source.split("://", 1)[1].split("@")[-1].split("?")[0].strip("/"))
    if source.startswith("camera:"):
        return plain_name(source)
    name = Path(source).absolute()
    return safe_name(name.name if name.is_dir() else name.stem.strip("*") or name.parent.name)
