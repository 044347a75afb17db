"""The kernel's source string: the very text that NVRTC compiles on a GPU and g++ compiles in the tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path

PARTS = ("ms_deform_attn.cu", "ms_deform_attn_backward.cu")
BENCH_PART = "bench_kernels.cu"


def kernel_folder() -> Path:
    """Where cuda/ is: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "_assets" / "cuda"
    return packaged if packaged.is_dir() else package.parent / "cuda"


@cache
def kernel_source(bench: bool = False) -> str:
    """Forward and backward as one self-contained string without includes; with the benchmark's kernels if asked for."""
    parts = (*PARTS, BENCH_PART) if bench else PARTS
    return "\n".join((kernel_folder() / part).read_text(encoding="utf-8") for part in parts)
