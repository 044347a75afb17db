"""Formats that can only be written once the end is known: results wait in a recording, `<name>.part`, until then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tfpose_rt.errors import OutputError
from tfpose_rt.io.jsonl import JsonlSink, Recording
from tfpose_rt.io.parts import PartFile, SinkOptions, into_place, unwritable
from tfpose_rt.records import Result

Made = list[tuple[Path, Path]]  # file just written, name it is to have
Build = Callable[[Path, Callable[[], Iterator[Result]], Mapping[str, Any], SinkOptions], Made]


class SpoolSink:
    """Writes a JSONL recording while running and turns it into the wanted format on `close`.

    Memory stays flat however long the run is, and what a killed run leaves can be read, converted and resumed.

    Args:
        path: final name.
        header: the header record.
        options: of the format.
        overwrite: whether finished files may be replaced.
        build: makes the files; called with `path`, a function that gives the results from the start, the header and
            summary as one mapping (keys `header`, `summary`), and the options.
        files: the names that its files will have, as far as they are known before the end.
        sums_up: whether they hold the summary.
        family: every file there is that an earlier run may have made for `path`; with `overwrite`, those that this run
            did not make are removed once its own are in place.
    """

    def __init__(
        self, path: Path, header: Mapping[str, Any], options: SinkOptions | None, build: Build, *, overwrite: bool,
        files: Iterable[Path], sums_up: bool = False, family: Callable[[Path], list[Path]] = lambda path: [],
    ) -> None:  # fmt: skip
        self.path, self._options, self._build, self._overwrite = path, options or SinkOptions(), build, overwrite
        self._header, self._family, self.files, self.sums_up = header, family, list(files), sums_up
        self._spool = JsonlSink(path, header, self._options)

    @property
    def written(self) -> int:
        """Frames written so far."""
        return self._spool.written

    def write(self, result: Result) -> None:
        """Add one result."""
        self._spool.write(result)

    def close(self, summary: Mapping[str, Any]) -> None:
        """Make the files, give them their names, and remove the recording."""
        self._spool.seal(summary)
        part, made = PartFile.part(self.path), []
        try:
            about = {"header": self._header, "summary": summary}
            made = self._build(self.path, lambda: iter(Recording(part)), about, self._options)
            for new, final in made:
                into_place(new, final, overwrite=self._overwrite)
            self.files = [final for _, final in made]
            if self._overwrite:
                for stale in set(self._family(self.path)) - {final for _, final in made}:
                    stale.unlink()
        except OSError as error:
            raise unwritable(self.path, error) from error
        finally:
            for new in {*(new for new, _ in made), *map(new_name, self.files)}:  # those too that were but begun
                new.unlink(missing_ok=True)
        try:
            part.unlink()
        except OSError as error:
            raise OutputError(f"cannot remove {part.name}", why=str(error), fix="remove it by hand") from error

    def abort(self) -> None:
        """Leave the recording, `<name>.part`."""
        self._spool.abort()

    def discard(self) -> None:
        """Remove the recording."""
        self._spool.discard()


def new_name(path: Path) -> Path:
    """The name under which a complete file is written before it takes its own."""
    return path.with_name(path.name + ".new")
