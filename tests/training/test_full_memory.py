"""A GPU whose memory is full ends a run with a line that says what to do."""

import pytest
import torch

from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import DeviceError
from tfpose_rt.training import loop
from tfpose_rt.training.data import load
from tfpose_rt.training.settings import TrainConfig


@pytest.mark.usefixtures("tiny_trunk")
def test_full_memory_is_one_line_with_a_remedy(pack, tmp_path, monkeypatch):
    def fill(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore about it")

    monkeypatch.setattr(loop, "work", fill)
    model = ModelConfig(trunk="tiny", channels=64, encoder_layers=0, decoder_layers=1, size=(64, 96))
    with pytest.raises(DeviceError, match="the memory of cpu is full: CUDA out of memory") as caught:
        loop.train(load(pack), TrainConfig(model=model, batch=4), tmp_path, device=torch.device("cpu"))
    assert caught.value.fix == "--set crops=host, or --batch 2 in a new run"
    assert "\n" not in str(caught.value)
