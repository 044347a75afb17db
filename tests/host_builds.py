"""Builds of the kernel for the CPU, dozens of them: what g++ reads and writes the same each time is left out."""

import shutil
import subprocess

from tfpose_rt.assets import cuda_dir
from tfpose_rt.tools import host_kernel

LEAN = ("-fno-exceptions", "-fno-asynchronous-unwind-tables")  # nothing here throws, and no debugger looks on


def quicken(monkeypatch, folder):
    """Have every build take the shim from one precompiled file in `folder`."""
    compiler = shutil.which("g++")
    if compiler is None:
        return
    header = folder / "shim.h"
    header.write_text(f'#include "{cuda_dir() / "host" / "shim.h"}"\n')
    flags = (*host_kernel.FLAGS, *LEAN)
    subprocess.run([compiler, *flags, "-x", "c++-header", str(header), "-o", f"{header}.gch"], check=True)
    monkeypatch.setattr(host_kernel, "FLAGS", (*flags, "-include", str(header)))
