"""Every error a user can meet, and the exit code each one ends a command with.

    TfposeError            1  something failed while running
      UsageError           2  the request itself makes no sense
      InputError           3  the source cannot be opened or decoded
      OutputError          4  a result cannot be written
      WeightsError         5  weights are missing, damaged or of another shape
      DeviceError          6  the device or kernel asked for cannot be used
      PartialError         7  valid files were written, but the source ended early

A message says what happened; `why` says the cause; `fix` says what to do next.
"""

from __future__ import annotations


class TfposeError(Exception):
    """Something failed; printed as one line, without a traceback.

    Args:
        what: what happened, in a few words.
        why: the cause, as far as it is known.
        fix: the next step: a command, a flag or a file to look at.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.fix = what, why, fix

    def __str__(self) -> str:
        """One line: what: why; try: fix."""
        return self.what + (f": {self.why}" if self.why else "") + (f"; try: {self.fix}" if self.fix else "")


class UsageError(TfposeError):
    """The request itself makes no sense."""

    exit_code = 2


class InputError(TfposeError):
    """The source is missing, unreadable, undecodable, or holds no frame."""

    exit_code = 3


class OutputError(TfposeError):
    """A result cannot be written: it exists, the disk is full, no permission, no encoder."""

    exit_code = 4


class WeightsError(TfposeError):
    """Weights are absent, damaged, of another shape, or not safetensors."""

    exit_code = 5


class DeviceError(TfposeError):
    """The device or kernel that was asked for cannot be used here."""

    exit_code = 6


class PartialError(TfposeError):
    """Valid files were written, but the source ended before its end."""

    exit_code = 7


def line_of(error: Exception, number: int = 0) -> str:
    """One line of what an error of another library says, short enough for a message of one line.

    Args:
        error: of any kind.
        number: of the lines that say something, counted as Python counts; the nearest where there are fewer.
    Returns: at most 160 characters; the error's kind where it says nothing.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[max(min(number, len(lines) - 1), -len(lines))][:160]
