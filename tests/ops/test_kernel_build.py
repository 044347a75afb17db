"""What the compilers make of the very string that CuPy is given, for every architecture, without a GPU."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tfpose_rt.errors import DeviceError
from tfpose_rt.ops.source import kernel_source
from tfpose_rt.tools import kernel_build, nvrtc

NEEDS_NVRTC = pytest.mark.skipif(not nvrtc.libraries(), reason="this torch is not a CUDA build: no libnvrtc beside it")
NEEDS_NVCC = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on the path")
RECORD = json.loads((Path(__file__).parent / "kernel_build.json").read_text())
MODEL = [f"{name}<f16, f16, 24, 8, 3, 4, 2, false{rest}>" for name, rest in kernel_build._PASSES]


@pytest.fixture(scope="module", autouse=True)
def _compiled_once():
    """What two tests ask NVRTC for in the same words, the model's instances for sm_90, is compiled once."""
    made, compile_source = {}, nvrtc.compile_source

    def once(source, names, arch, options=()):
        key = source, tuple(names), arch, tuple(options)
        if key not in made:
            made[key] = compile_source(source, names, arch, options)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nvrtc, "compile_source", once)
        yield


def held(arch, built):
    """What differs from the record: registers past the launch bound, any spill or stack, code 3 % off."""
    found = []
    same_compiler = RECORD["compiler"] == "NVRTC {}.{}".format(*nvrtc.version())
    for name, now in built.items():
        _, _, _, size = RECORD["instances"][f"{arch} {name}"]
        if now.stack or now.spills:
            found.append(f"{name}: stack {now.stack}, spills {now.spills} bytes")
        if now.registers > kernel_build.register_limit(name):
            found.append(f"{name}: {now.registers} registers, at most {kernel_build.register_limit(name)}")
        if same_compiler and abs(now.instructions - size) > kernel_build.TOLERANCE * size:
            found.append(f"{name}: {now.instructions} instructions, {size} recorded")
    return found


@NEEDS_NVRTC
@pytest.mark.parametrize("arch", kernel_build.ARCHITECTURES)
def test_model_instances_build_as_recorded(arch):
    assert held(arch, kernel_build.build(arch, MODEL[:2] if arch in ("sm_86", "sm_89") else MODEL)) == []


@NEEDS_NVRTC
@pytest.mark.slow
@pytest.mark.parametrize("arch", kernel_build.ARCHITECTURES)
def test_every_shipped_instance_builds_as_recorded(arch):
    assert held(arch, kernel_build.build(arch, kernel_build.shipped())) == []


def test_record_covers_every_shipped_instance_without_spills():
    rows = RECORD["instances"]
    assert set(rows) == {f"{arch} {name}" for arch in kernel_build.ARCHITECTURES for name in kernel_build.shipped()}
    for key, (registers, stack, spills, _) in rows.items():
        assert (stack, spills) == (0, 0), key
        assert registers <= kernel_build.register_limit(key.split(" ", 1)[1]), key


@NEEDS_NVRTC
def test_a_register_limit_too_low_is_noticed():
    source = kernel_source().replace("__launch_bounds__(threads, 1)", "__launch_bounds__(1024, 2)")
    cubin, log, names = nvrtc.compile_source(source, MODEL[:1], "sm_90", ["--ptxas-options=-v"])
    assert "spills" in held("sm_90", nvrtc.report(cubin, log, names))[0]


@NEEDS_NVRTC
def test_a_compile_error_carries_the_compilers_text():
    with pytest.raises(DeviceError, match="no_such_name"):
        nvrtc.compile_source(kernel_source() + "\nint x = no_such_name;", MODEL[:1], "sm_90")


def disassembler():
    """The one that triton brings, or the toolkit's."""
    spec = importlib.util.find_spec("triton")
    beside = Path(spec.origin).parent / "backends/nvidia/bin/nvdisasm" if spec and spec.origin else Path()
    return str(beside) if beside.is_file() else shutil.which("nvdisasm")


@NEEDS_NVRTC
@pytest.mark.skipif(disassembler() is None, reason="neither triton nor the toolkit brings nvdisasm")
def test_gathers_are_16_byte_loads_and_nothing_goes_to_local_memory(tmp_path):
    cubin, _, names = nvrtc.compile_source(kernel_source(), MODEL, "sm_90", ["--ptxas-options=-v"])
    (tmp_path / "k.cubin").write_bytes(cubin)
    text = subprocess.run(
        [disassembler(), "-c", tmp_path / "k.cubin"], capture_output=True, text=True, check=True
    ).stdout
    parts = {part.split(":", 1)[0].split(",")[0].strip(): part for part in text.split(".section\t.text.")[1:]}
    forward, single, backward = (next(v for k, v in parts.items() if k.startswith(names[n])) for n in MODEL)
    assert len(re.findall(r"LDG\.E\.128", forward)) == 4 * 3 * 4  # corners, levels, points
    assert len(re.findall(r"LDG\.E\.128", single)) == 2 * 4  # two rounds of eight points
    assert len(re.findall(r"LDG\.E\.128", backward)) == 4 * 3 * 4 + 1  # and the gradient
    assert len(re.findall(r"REDG?\.E\.ADD\.F32x4|REDG\.E\.128|RED\S*F32x4", backward)) == 2 * 4 * 3 * 4
    assert re.findall(r"\b(?:LDL|STL)", text) == []


SAME = ("sm_86", "sm_89")  # the source asks whether it is sm_90 or later: these two read the text that sm_80 reads


@NEEDS_NVCC
@pytest.mark.parametrize(
    "arch", [pytest.param(a, marks=pytest.mark.slow) if a in SAME else a for a in kernel_build.ARCHITECTURES]
)
def test_nvcc_builds_it_without_warnings(arch, tmp_path):
    body = "\n".join(
        f"template __global__ void {name}(const __grid_constant__ Params);" for name in MODEL[:1] + MODEL[2:]
    )
    (tmp_path / "k.cu").write_text(kernel_source() + "\n" + body)
    command = ["nvcc", "-std=c++17", f"-arch={arch}", "-cubin", "-Werror", "all-warnings", "-Xptxas", "-v"]
    done = subprocess.run([*command, "-o", tmp_path / "k.cubin", tmp_path / "k.cu"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr)
    assert spills == [("0", "0")] * 2
