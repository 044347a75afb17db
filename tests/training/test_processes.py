"""Two processes, as torchrun starts them: they must agree on labels and validations, or one waits for ever."""

import os
import subprocess
import sys

import pytest

from tfpose_rt.config import ModelConfig
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import load_model, save_model


@pytest.mark.slow
def test_two_processes_ask_the_teacher_once_validate_together_and_end(pack, tmp_path):
    teacher = TFPose(ModelConfig(trunk="resnet18", channels=64, decoder_layers=1, size=(64, 96)))
    teacher.calibration[:, 1] = 8.0  # sure of everything
    save_model(tmp_path / "t.safetensors", teacher, {})
    settings = ["trunk=resnet18", "channels=64", "size=[64,96]", "decoder_layers=1", "val_every=0.02", "amp=off"]
    words = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [
        "-m",
        "tfpose_rt",
        "train",
        str(pack),
        "--batch",
        "4",
        "--epochs",
        "2",
        "--save-dir",
        str(tmp_path / "run"),
        "--teacher",
        str(tmp_path / "t.safetensors"),
        *words,
    ]
    answer = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert answer.stderr.count("teacher t asked about") == 1
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) > 3
    load_model(tmp_path / "run" / "best.safetensors")
