"""--log-file: everything a run says, and all that -vv would tell, with times and without secrets, added to a file."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

from tfpose_rt.errors import OutputError

LOGGER = logging.getLogger("tfpose_rt")
TOKEN = re.compile(r"(--token[ =])\S+")  # a file; but who knows what was typed
STAMP = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")  # how a log begins


class Journal(logging.FileHandler):
    """A file that lines are added to; one that is there must be a log of ours.

    Raises: OutputError: it is another file, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("ab+") as file:
                file.seek(0)
                begin = file.read(64)
            if begin and not STAMP.match(begin):
                raise OutputError(f"{path} is no log", why="lines are added to logs alone", fix="another --log-file")
            super().__init__(path, encoding="utf-8")
        except OSError as error:
            why = "no such folder" if not path.parent.is_dir() else str(error.strerror).lower()
            raise OutputError(f"cannot write --log-file {path}", why=why, fix="another --log-file") from error
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))

    def format(self, record: logging.LogRecord) -> str:
        """One line, with a traceback below it where there is one; addresses without their secrets."""
        from tfpose_rt.io.urls import mask_text

        return mask_text(super().format(record))


def open_journal(path: Path | None) -> None:
    """Add all that is told from now on to a file, and what was typed as its first line; None: no file any more."""
    for handler in _journals():
        LOGGER.removeHandler(handler)
        handler.close()
    if path is None:
        return
    LOGGER.addHandler(Journal(path))
    note(TOKEN.sub(r"\1***", " ".join(["tfpose-rt", *sys.argv[1:]])))


def note(text: str, level: int = logging.INFO) -> None:
    """Add a line to the file, if there is one."""
    for handler in _journals():
        if text.strip():
            handler.handle(
                logging.makeLogRecord({"msg": text, "levelno": level, "levelname": logging.getLevelName(level)})
            )


def _journals() -> list[Journal]:
    return [handler for handler in LOGGER.handlers if isinstance(handler, Journal)]
