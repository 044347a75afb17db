"""Builds the kernels of cuda/ for the CPU with g++ and launches them through the same plans as a GPU's."""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

import torch

from tfpose_rt.ops.plan import POINTERS, Plan
from tfpose_rt.ops.source import kernel_source

HOST = Path(__file__).parents[2] / "cuda" / "host"
FLAGS = (
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-shared",
    "-U_FORTIFY_SOURCE",
    "-ffp-contract=off",
    "-Wall",
    "-Wno-unknown-pragmas",
)


class RefusedError(AssertionError):
    """The shim stopped a kernel: divergence, a stray or misaligned access, a byte stored twice."""


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_void_p),
        ("bytes", ctypes.c_longlong),
        ("writable", ctypes.c_longlong),
        ("written", ctypes.c_void_p),
    )


def build(folder: Path, expressions: Iterable[str], source: str | None = None) -> ctypes.CDLL:
    """Compile the source string (or a mutant of it) with the instances asked for; built once per content."""
    source = kernel_source() if source is None else source
    table = "".join(f"ENTRY({expression})\n" for expression in sorted(expressions))
    parts = (source, table, *(path.read_text() for path in sorted(HOST.iterdir())), *FLAGS)
    stem = folder / hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    library = stem.with_suffix(".so")
    if not library.exists():
        stem.with_suffix(".cu").write_text(source)
        stem.with_suffix(".inc").write_text(table)
        names = (f'-DMSDA_SOURCE="{stem}.cu"', f'-DMSDA_TABLE="{stem}.inc"')
        command = ("g++", *FLAGS, f"-I{HOST}", *names, str(HOST / "driver.cpp"), "-o", str(library))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"g++ refused the source:\n{done.stderr[:4000]}")
    loaded = ctypes.CDLL(str(library))
    loaded.msda_message.restype = ctypes.c_char_p
    return loaded


class HostLauncher:
    """A launcher of tests: instances are compiled when first needed, or all at once by `prepare`.

    Every tensor a kernel may touch is registered with `allow`; an access outside them, even by one byte, is refused.
    """

    def __init__(self, folder: Path, sms: int = 3, source: str | None = None) -> None:
        self.folder, self.sms, self.source = folder, sms, source
        self.grid: int | None = None  # overrides the plan's, to drive other partitions of the units
        self.threads: int | None = None
        self.launched: list[Plan] = []
        self._libraries: dict[str, ctypes.CDLL] = {}

    def prepare(self, expressions: Iterable[str]) -> None:
        """Compile many instances in one go."""
        wanted = sorted(set(expressions) - self._libraries.keys())
        if wanted:
            library = build(self.folder, wanted, self.source)
            self._libraries.update(dict.fromkeys(wanted, library))

    def sm_count(self, device: torch.device) -> int:
        return self.sms

    def allow(self, address: int, nbytes: int, writable: bool = False, once: bool = False) -> None:
        """Name one range that the next launch may touch."""
        counts = (ctypes.c_ubyte * max(nbytes, 1))() if once else None
        self._counts.append(counts)
        written = ctypes.addressof(counts) if counts is not None else None
        self._ranges.append(_Buffer(address, nbytes, int(writable), written))

    def launch(self, plan: Plan, pointers: tuple[int, ...], device: torch.device) -> None:
        self.launched.append(plan)
        self.prepare([plan.expression])
        library = self._libraries[plan.expression]
        params = ctypes.create_string_buffer(POINTERS.pack(*pointers) + plan.statics, 248)
        self._ranges: list[_Buffer] = []
        self._counts: list[object] = []
        for address, nbytes, writable, once in ranges_of(plan, pointers):
            self.allow(address, nbytes, writable, once)
        ranges = (_Buffer * len(self._ranges))(*self._ranges)
        grid, threads = self.grid or plan.grid, self.threads or plan.threads
        status = library.msda_launch(plan.expression.encode(), params, grid, threads, ranges, len(ranges))
        if status:
            raise RefusedError(library.msda_message().decode() if status == 1 else f"{plan.expression} was not built")


def ranges_of(plan: Plan, pointers: tuple[int, ...]) -> list[tuple[int, int, bool, bool]]:
    """The bytes each pointer may be used for: (address, bytes, writable, each byte stored exactly once)."""
    from tfpose_rt.ops.plan import STATICS

    p = plan.problem
    strides = STATICS.unpack(plan.statics)[:8]
    value_batch, offsets_batch, offsets_row, logits_batch, logits_row, ref_batch, ref_row, ref_level = strides
    size, query = p.value_type.itemsize, p.query_type.itemsize
    crop = p.tokens * p.heads * p.channels
    row = p.heads * p.levels * p.points * query
    groups = p.batch * p.queries * p.heads
    b, q = p.batch - 1, p.queries - 1
    level = (p.levels - 1) * ref_level + p.ref_dim * 4
    value, offsets, logits, ref, out, grad, grad_value, grad_offsets, grad_logits, grad_ref, amax = pointers
    scratch = 8 if plan.expression.endswith("2>") else 4
    found = [
        (value, b * value_batch + crop * size, False, False),
        (offsets, b * offsets_batch + q * offsets_row + 2 * row, False, False),
        (logits, b * logits_batch + q * logits_row + row, False, False),
        (ref, b * ref_batch + q * ref_row + level, False, False),
        (out, groups * p.channels * size, True, True),
        (grad, groups * p.channels * size, False, False),
        (grad_value, p.batch * crop * scratch, True, False),
        (grad_offsets, groups * p.levels * p.points * 2 * query, True, True),
        (grad_logits, groups * p.levels * p.points * query, True, True),
        (grad_ref, groups * p.levels * p.ref_dim * 4, True, True),
        (amax, 4, False, False),
    ]
    return [entry for entry in found if entry[0]]
