"""Which instances ship, and what the assembler made of each: registers, stack, spills, code size."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from tfpose_rt.ops.source import kernel_source
from tfpose_rt.tools import nvrtc

ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_120")
TOLERANCE = 0.03  # of the recorded code size


def shipped() -> list[str]:
    """The instances whose build is held: the models' heads and levels, and one of each rarer kind."""
    tuned = [(kind, channels, 3) for kind, channels in itertools.product(("f16", "bf16", "float"), (16, 24, 32))]
    tuned += [(kind, 32, 4) for kind in ("f16", "bf16", "float")]
    found = [
        f"{name}<{kind}, {kind}, {channels}, 8, {levels}, 4, 2, false{rest}>"
        for (kind, channels, levels), (name, rest) in itertools.product(tuned, _PASSES)
    ]
    rarer = ("f16, float, 32, 8, 3, 4, 2, false", "f16, f16, 32, 8, 3, 4, 4, false", "f16, f16, 24, 8, 3, 4, 2, true")
    found += [f"{name}<{shape}{rest}>" for shape, (name, rest) in itertools.product(rarer, _PASSES)]
    return [*found, *(f"backward<{kind}, 24, 8, 3, 4, 2, false, true, 2>" for kind in ("f16, f16", "float, float"))]


_PASSES = (("forward_a", ""), ("forward_b", ""), ("backward", ", false, 1"))


def register_limit(expression: str) -> int:
    """Most registers a thread that the instance's launch bound leaves of a multiprocessor's 65,536."""
    name, arguments = expression.rstrip(">").split("<")
    kind, _, channels, _, levels, points, *_ = arguments.split(", ")
    vectors = int(channels) * (4 if kind == "float" else 2) // 16
    slots = -(-int(levels) * int(points) // (1 << (vectors - 1).bit_length()))
    many = slots > 4
    forward = 640 if int(levels) * int(points) > 12 else 768 if many else 1024
    threads = {"forward_a": forward, "forward_b": 128, "backward": 384 if many else 512}[name]
    return min(255, 65536 // threads // 8 * 8)  # allotted by eights


def build(arch: str, expressions: list[str]) -> dict[str, nvrtc.Built]:
    """Compile instances with NVRTC, as CuPy would, and read the assembler's report. Raises DeviceError."""
    cubin, log, names = nvrtc.compile_source(kernel_source(), expressions, arch, ["--ptxas-options=-v"])
    return nvrtc.report(cubin, log, names)


def record(path: Path) -> None:
    """Write what is built now as the record that later builds are held to."""
    rows = {}
    for arch in ARCHITECTURES:
        for name, built in build(arch, shipped()).items():
            rows[f"{arch} {name}"] = [built.registers, built.stack, built.spills, built.instructions]
    body = ",\n".join(f"{json.dumps(key)}: {json.dumps(row)}" for key, row in sorted(rows.items()))
    major, minor = nvrtc.version()
    head = f'"compiler": "NVRTC {major}.{minor}",\n"columns": ["registers", "stack", "spills", "instructions"],\n'
    path.write_text(f'{{\n{head}"instances": {{\n{body}\n}}\n}}\n')
