"""tfpose-rt: real-time multi-person pose from video, on your own machine.

Nothing heavy is imported here: torch, OpenCV and ultralytics load when the first estimator is made.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":  # or some cameras take minutes to open, opencv/opencv#17687; OpenCV reads it as it loads
    os.environ.setdefault("OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS", "0")

if TYPE_CHECKING:
    from tfpose_rt.config import RunConfig
    from tfpose_rt.errors import (
        DeviceError,
        InputError,
        OutputError,
        PartialError,
        TfposeError,
        UsageError,
        WeightsError,
    )
    from tfpose_rt.estimator import PoseEstimator
    from tfpose_rt.io.jsonl import read_results
    from tfpose_rt.io.sources import open_source
    from tfpose_rt.pipeline import Stream
    from tfpose_rt.records import Poses, Result

__all__ = [
    "DeviceError",
    "InputError",
    "OutputError",
    "PartialError",
    "PoseEstimator",
    "Poses",
    "Result",
    "RunConfig",
    "TfposeError",
    "UsageError",
    "WeightsError",
    "open_source",
    "read_results",
    "stream",
]

_HOMES = {
    "PoseEstimator": "tfpose_rt.estimator",
    "Poses": "tfpose_rt.records",
    "Result": "tfpose_rt.records",
    "RunConfig": "tfpose_rt.config",
    "open_source": "tfpose_rt.io.sources",
    "read_results": "tfpose_rt.io.jsonl",
}


def stream(source: Any, **options: Any) -> Stream:
    """Iterate over the poses of a file, a camera or a URL: `PoseEstimator(...).stream(source, ...)`.

    Args:
        source: a path, a camera's number, a URL, or (image, seconds) pairs; image (H, W, 3) uint8 BGR.
        options: fields of `RunConfig`, such as `det_every=4`, and of `SourceOptions`, such as `start=12.5`.
    Returns: an iterator over `Result`, and a context manager: closing it frees camera and threads.
    Raises: InputError, WeightsError, DeviceError, UsageError: what was asked for cannot be had.
    """
    import dataclasses

    from tfpose_rt.config import SourceOptions
    from tfpose_rt.estimator import PoseEstimator

    reading = {
        field.name: options.pop(field.name) for field in dataclasses.fields(SourceOptions) if field.name in options
    }
    return PoseEstimator(**options).stream(source, **reading)


def __getattr__(name: str) -> Any:
    if name in __all__:
        import importlib

        return getattr(importlib.import_module(_HOMES.get(name, "tfpose_rt.errors")), name)
    raise AttributeError(f"module 'tfpose_rt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
