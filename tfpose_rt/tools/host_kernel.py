"""Builds the kernels of cuda/ for the CPU with g++ and launches them through the same plans as a GPU's.

For tests and dry runs: 32 fibres run a warp's lanes in step (cuda/host/shim.h), some thousand times slower than a GPU.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import torch

from tfpose_rt.assets import cuda_dir
from tfpose_rt.errors import DeviceError
from tfpose_rt.ops.plan import POINTERS, STATICS, Plan
from tfpose_rt.ops.source import kernel_source

FLAGS = ("-std=c++17", "-O0", "-fPIC", "-shared", "-U_FORTIFY_SOURCE", "-ffp-contract=off", "-Wall", "-Wextra")


class RefusedError(AssertionError):
    """The shim stopped a kernel: divergence, a stray or misaligned access, a byte stored twice or never."""


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_void_p),
        ("bytes", ctypes.c_longlong),
        ("writable", ctypes.c_longlong),
        ("written", ctypes.c_void_p),
    )


def build(folder: Path, expressions: Iterable[str], source: str | None = None) -> ctypes.CDLL:
    """Compile the source string (or a changed one) with the instances asked for; once per content and folder.

    Raises: DeviceError: there is no g++, or it refuses the source.
    """
    source = kernel_source() if source is None else source
    host = cuda_dir() / "host"
    table = "".join(f"ENTRY({expression})\n" for expression in sorted(expressions))
    parts = (source, table, *(path.read_text() for path in sorted(host.iterdir())), *FLAGS)
    stem = folder / hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    library = stem.with_suffix(".so")
    if not library.exists():
        compiler = shutil.which("g++")
        if compiler is None:
            raise DeviceError(
                "the kernel's CPU build needs g++", why="there is none on the path", fix="apt install g++"
            )
        stem.with_suffix(".cu").write_text(source)
        stem.with_suffix(".inc").write_text(table)
        names = (f'-DMSDA_SOURCE="{stem}.cu"', f'-DMSDA_TABLE="{stem}.inc"')
        command = (compiler, *FLAGS, f"-I{host}", *names, str(host / "driver.cpp"), "-o", str(library))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DeviceError("g++ refuses the kernel's source", why=done.stderr[:4000], fix="read cuda/host/shim.h")
    loaded = ctypes.CDLL(str(library))
    loaded.msda_message.restype = ctypes.c_char_p
    return loaded


class HostLauncher:
    """A launcher on the CPU; instances are compiled when first needed, or many at once by `prepare`.

    Args:
        folder: where builds are kept.
        sms: how many blocks the plans shall think run at once.
        source: another text than the shipped one, such as a mutant.
    """

    def __init__(self, folder: Path, sms: int = 3, source: str | None = None) -> None:
        self.folder, self.sms, self.source = folder, sms, source
        self.blocks: int | None = None  # override the plan's, to drive other partitions of the units
        self.threads: int | None = None
        self._libraries: dict[str, ctypes.CDLL] = {}

    def prepare(self, expressions: Iterable[str]) -> None:
        """Compile many instances in one go."""
        wanted = sorted(set(expressions) - self._libraries.keys())
        if wanted:
            self._libraries.update(dict.fromkeys(wanted, build(self.folder, wanted, self.source)))

    def sm_count(self, device: torch.device) -> int:
        """As many as the test asked for."""
        return self.sms

    def launch(self, plan: Plan, pointers: tuple[int, ...], device: torch.device) -> None:
        """Run the plan on this CPU. Raises RefusedError with the shim's message."""
        ranges = [entry for entry in _ranges(plan, pointers) if entry[0]]
        run_host(self, plan.expression, POINTERS.pack(*pointers) + plan.statics, (plan.grid, plan.threads), ranges)

    def library(self, expression: str) -> ctypes.CDLL:
        """The build that holds one instance."""
        self.prepare([expression])
        return self._libraries[expression]


Range = tuple[int, int, bool, bool]  # address, bytes, writable, each byte stored exactly once


def run_host(
    launcher: HostLauncher, expression: str, params: bytes, launch: tuple[int, int], ranges: list[Range]
) -> None:
    """Run one kernel over blocks and threads; anything outside the ranges, by even one byte, is refused.

    Raises: RefusedError.
    """
    library = launcher.library(expression)
    counts = [(ctypes.c_ubyte * max(size, 1))() if once else None for _, size, _, once in ranges]
    buffers = (_Buffer * len(ranges))(
        *(
            _Buffer(address, size, int(writable), None if count is None else ctypes.addressof(count))
            for (address, size, writable, _), count in zip(ranges, counts, strict=True)
        )
    )
    blocks, threads = launcher.blocks or launch[0], launcher.threads or launch[1]
    struct = ctypes.create_string_buffer(params, len(params))
    status = library.msda_launch(expression.encode(), struct, blocks, threads, buffers, len(buffers))
    if status:
        raise RefusedError(library.msda_message().decode() if status == 1 else f"{expression} was not built")
    for index, ((_, size, _, _), count) in enumerate(zip(ranges, counts, strict=True)):
        if count is not None and bytes(count)[:size] != b"\x01" * size:
            raise RefusedError(f"byte {bytes(count).index(0)} of buffer {index} was never stored")


def _ranges(plan: Plan, pointers: tuple[int, ...]) -> list[Range]:
    p = plan.problem
    value_batch, offsets_batch, offsets_row, logits_batch, logits_row, ref_batch, ref_row, ref_level = STATICS.unpack(
        plan.statics
    )[:8]
    size, query = p.value_type.itemsize, p.query_type.itemsize
    crop, row = p.tokens * p.heads * p.channels, p.heads * p.levels * p.points * query
    groups, last, end = p.batch * p.queries * p.heads, p.batch - 1, p.queries - 1
    value, offsets, logits, ref, out, grad, grad_value, grad_offsets, grad_logits, grad_ref, amax = pointers
    scratch = 8 if plan.expression.endswith("2>") else 4
    points = groups * p.levels * p.points
    if not plan.expression.startswith(("forward", "backward")):  # the benchmark's own: dense fp32 or int32 inputs
        floor = plan.expression.startswith("floor")
        return [
            (value, last * value_batch + crop * size, False, False),
            (offsets, points * (4 if floor else 8), False, False),
            (logits, points * (16 if floor else 4), False, False),
            (out, groups * p.channels * size, True, True),
            (grad, groups * p.channels * size, False, False),
            (grad_value, p.batch * crop * 4, True, False),
            (grad_offsets, points * 8, True, True),
            (grad_logits, points * 4, True, True),
        ]
    return [
        (value, last * value_batch + crop * size, False, False),
        (offsets, last * offsets_batch + end * offsets_row + 2 * row, False, False),
        (logits, last * logits_batch + end * logits_row + row, False, False),
        (ref, last * ref_batch + end * ref_row + (p.levels - 1) * ref_level + p.ref_dim * 4, False, False),
        (out, groups * p.channels * size, True, True),
        (grad, groups * p.channels * size, False, False),
        (grad_value, p.batch * crop * scratch, True, False),
        (grad_offsets, groups * p.levels * p.points * 2 * query, True, True),
        (grad_logits, groups * p.levels * p.points * query, True, True),
        (grad_ref, groups * p.levels * p.ref_dim * 4, True, True),
        (amax, 4, False, False),
    ]
