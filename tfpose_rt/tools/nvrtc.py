"""Compiles the kernel's source with the NVRTC that comes with torch: no GPU, no driver, no CuPy."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tfpose_rt.errors import DeviceError


@dataclass(frozen=True, slots=True)
class Built:
    """One kernel of a cubin; instructions are 16-byte slots of its code, padding to the section's end included."""

    registers: int
    stack: int
    spills: int  # bytes, stores and loads together
    instructions: int


def libraries() -> list[Path]:
    """The libnvrtc files of the nvidia wheels beside torch, newest first."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    found = [path for folder in folders for path in folder.glob("*/lib/libnvrtc.so.*")]
    return sorted((path for path in found if ".alt." not in path.name), reverse=True)


@cache
def _load() -> ctypes.CDLL:
    paths = libraries()
    if not paths:
        raise DeviceError(
            "NVRTC was not found", why="torch came without its nvidia-cuda-nvrtc wheel", fix="tfpose-rt doctor"
        )
    for builtins in paths[0].parent.glob("libnvrtc-builtins.so.*"):  # NVRTC opens it by name: have it loaded by then
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(paths[0]))


def version() -> tuple[int, int]:
    """Major and minor version of the NVRTC found. Raises DeviceError: there is none."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _load().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


def _bytes(program: ctypes.c_void_p, size: str, get: str) -> bytes:
    count = ctypes.c_size_t()
    getattr(_load(), size)(program, ctypes.byref(count))
    buffer = ctypes.create_string_buffer(count.value)
    getattr(_load(), get)(program, buffer)
    return buffer.raw


def compile_source(
    source: str, names: Sequence[str], arch: str, options: Sequence[str] = ()
) -> tuple[bytes, str, dict[str, str]]:
    """Compile to a cubin.

    Args:
        source: the text, as CuPy would be given it.
        names: name expressions, such as "forward_a<f16, ...>".
        arch: sm_90 and the like.
        options: more of NVRTC's options; the standard and -ftz=true are given.
    Returns: the cubin, the compiler's log, and the mangled name of each expression.
    Raises: DeviceError: with the compiler's text.
    """
    lib = _load()
    program = ctypes.c_void_p()
    lib.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"ms_deform_attn.cu", 0, None, None)
    for name in names:
        lib.nvrtcAddNameExpression(program, name.encode())
    flags = [b"--std=c++17", f"-arch={arch}".encode(), b"-ftz=true", *(option.encode() for option in options)]
    status = lib.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))
    log = _bytes(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").rstrip(b"\0").decode(errors="replace")
    if status:
        raise DeviceError("NVRTC refuses the kernel", why=log[:1500], fix="tfpose-rt doctor")
    cubin = _bytes(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
    lowered = {}
    for name in names:
        mangled = ctypes.c_char_p()
        lib.nvrtcGetLoweredName(program, name.encode(), ctypes.byref(mangled))
        lowered[name] = (mangled.value or b"").decode()
    lib.nvrtcDestroyProgram(ctypes.byref(program))
    return cubin, log, lowered


def code_sizes(cubin: bytes) -> dict[str, int]:
    """Bytes of each kernel's code section, by mangled name."""
    header = struct.unpack_from("<16sHHIQQQIHHHHHH", cubin)
    table, size, count, names_at = header[6], header[11], header[12], header[13]
    sections = [struct.unpack_from("<IIQQQQIIQQ", cubin, table + index * size) for index in range(count)]
    names = sections[names_at][4]
    found = {}
    for section in sections:
        start = names + section[0]
        name = cubin[start : cubin.index(b"\0", start)].decode()
        if name.startswith(".text."):
            found[name.removeprefix(".text.")] = section[5]
    return found


def report(cubin: bytes, log: str, lowered: dict[str, str]) -> dict[str, Built]:
    """Read what the assembler said with -v, and the code sizes; by name expression."""
    sizes = code_sizes(cubin)
    found = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        mangled = part[: part.index("'")]
        stack = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
        registers = re.search(r"Used (\d+) registers", part)
        if stack is None or registers is None:
            raise DeviceError(
                "the assembler's report is not understood", why=part[:300], fix="look for a changed format"
            )
        frame, stores, loads = map(int, stack.groups())
        found[mangled] = Built(int(registers[1]), frame, stores + loads, sizes[mangled] // 16)
    return {name: found[mangled] for name, mangled in lowered.items()}
