"""The kernel's source string: the very text that NVRTC compiles on a GPU and g++ compiles in the tests."""

from __future__ import annotations

from functools import cache

from tfpose_rt.assets import cuda_dir

PARTS = ("ms_deform_attn.cu", "ms_deform_attn_backward.cu")
BENCH_PART = "bench_kernels.cu"


@cache
def kernel_source(bench: bool = False) -> str:
    """Forward and backward as one self-contained string without includes; with the benchmark's kernels if asked for."""
    parts = (*PARTS, BENCH_PART) if bench else PARTS
    return "\n".join((cuda_dir() / part).read_text(encoding="utf-8") for part in parts)
