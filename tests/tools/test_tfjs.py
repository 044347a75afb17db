"""TensorFlow.js graph models: their constants, and MoveNet's made a trunk."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tfpose_rt.errors import WeightsError
from tfpose_rt.model.movenet import JOINTS, WIDTHS, MoveNet, graph_names, head
from tfpose_rt.model.movenet_trunk import MoveNetTrunk
from tfpose_rt.tools import trunk
from tfpose_rt.tools.tfjs import read_constants


def graph(folder, arrays, **over):
    """A graph model with these constants, float16 among them, in two files."""
    blob, rows = b"", []
    for name, array in arrays.items():
        row = {"name": name, "shape": list(array.shape), "dtype": "int32" if array.dtype == np.int32 else "float32"}
        if array.dtype == np.float16:
            row["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        rows.append(row | over)
        blob += array.tobytes()
    (folder / "a.bin").write_bytes(blob[:7])
    (folder / "b.bin").write_bytes(blob[7:])
    told = {"format": "graph-model", "weightsManifest": [{"paths": ["a.bin", "b.bin"], "weights": rows}]}
    (folder / "model.json").write_text(json.dumps(told))
    return folder / "model.json"


def movenet_graph(folder, state):
    """A trunk's weights laid out as in TensorFlow, under the names of MoveNet's own graph."""
    names = graph_names(MoveNetTrunk(maps=True))
    arrays = {}
    for ours, theirs in names.items():
        weight = state[ours]
        if weight.ndim == 4:  # rows, columns, inputs, outputs; a filter for each channel: rows, columns, channels, 1
            weight = weight.permute(2, 3, 0, 1) if "depthwise" in ours else weight.permute(2, 3, 1, 0)
        arrays[theirs] = weight.numpy().astype(np.float16)
    return graph(folder, {**arrays, "another": np.arange(3, dtype=np.int32)})


def test_constants_come_as_they_were_stored(tmp_path):
    arrays = {
        "half": np.arange(6, dtype=np.float16).reshape(2, 3), "one": np.float32(7).reshape(()),
        "whole": np.array([1, -2], np.int32),
    }  # fmt: skip
    read = read_constants(graph(tmp_path, arrays))
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_movenet_becomes_a_trunk(tmp_path):
    torch.manual_seed(0)
    state = {
        name: torch.randn_like(value).half().float() for name, value in MoveNetTrunk(maps=True).state_dict().items()
    }
    trunk.convert(movenet_graph(tmp_path, state), tmp_path / "out.safetensors")
    out = load_file(tmp_path / "out.safetensors")
    assert out.keys() == state.keys()
    assert all(torch.equal(out[name].float(), state[name]) for name in state)


def test_lightning_becomes_a_witness(tmp_path):
    torch.manual_seed(0)
    network = MoveNet(WIDTHS["lightning"])
    network.ways = head(2 * JOINTS)
    state = {name: torch.randn_like(value).half().float() for name, value in network.state_dict().items()}
    trunk.convert(movenet_graph(tmp_path, state), tmp_path / "out.safetensors")
    out = load_file(tmp_path / "out.safetensors")
    assert all(torch.equal(out[name].float(), state[name]) for name in state)
    state["stem.weight"] = torch.zeros(48, 3, 3, 3)
    with pytest.raises(WeightsError, match="48 channels behind the first convolution, not Lightning's or Thunder's"):
        trunk.convert(movenet_graph(tmp_path, state), tmp_path / "other.safetensors")


def test_another_network_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="is not MoveNet Thunder or Lightning"):
        trunk.convert(graph(tmp_path, {"w": np.zeros(3, np.float32)}), tmp_path / "out.safetensors")
    state = MoveNetTrunk(maps=True).state_dict()
    state["joints.1.bias"] = torch.zeros(4)
    with pytest.raises(WeightsError, match=r"conv2d_5.*not \(17,\)"):
        trunk.convert(movenet_graph(tmp_path, state), tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_what_cannot_be_read_is_told_in_a_line(tmp_path):
    file = graph(tmp_path, {"w": np.zeros(3, np.float32)})
    (tmp_path / "b.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match="ends early"):
        read_constants(file)
    (tmp_path / "b.bin").unlink()
    with pytest.raises(WeightsError, match="no graph model"):
        read_constants(file)
    file.write_text("{}")
    with pytest.raises(WeightsError, match="no graph model"):
        read_constants(file)
    scaled = graph(tmp_path, {"w": np.zeros(3, np.float32)}, quantization={"dtype": "uint8", "scale": 0.1, "min": 0})
    with pytest.raises(WeightsError, match="stored as uint8"):
        read_constants(scaled)
