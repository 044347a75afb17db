"""A trained model with fewer layers, and with a witness."""

import pytest
import torch

from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import OutputError, UsageError, WeightsError
from tfpose_rt.model.movenet import MoveNet
from tfpose_rt.model.movenet_trunk import MoveNetTrunk
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import load_model, save_model, write
from tfpose_rt.tools.finish import finish

CONFIG = ModelConfig(channels=32, decoder_layers=3, size=(64, 96))


@pytest.fixture
def files(tmp_path):
    """A trained model, MoveNet Lightning's network, and Thunder's."""
    torch.manual_seed(3)
    model = TFPose(CONFIG)
    for head in model.heads:
        torch.nn.init.normal_(head.last.weight, std=0.1)
    save_model(tmp_path / "trained.safetensors", model, {"calibrated": "somewhere"})
    write(tmp_path / "lightning.safetensors", MoveNet(1.0).state_dict(), {})
    write(tmp_path / "thunder.safetensors", MoveNetTrunk(maps=True).state_dict(), {})
    return tmp_path


def test_the_first_layers_answer_as_they_did(files):
    finish(files / "trained.safetensors", files / "out.safetensors", layers=2)
    (before, _), (after, metadata) = load_model(files / "trained.safetensors"), load_model(files / "out.safetensors")
    assert (after.config.decoder_layers, metadata["calibrated"]) == (2, "somewhere")
    images = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        whole, short = before.guesses(images), after.guesses(images)
    for one, other in zip(whole[:3], short[:3], strict=True):
        torch.testing.assert_close(one[:-1], other)
    assert (whole.xy[-1] - whole.xy[-2]).abs().max() > 1e-3  # the third would have moved them


def test_a_witness_comes_beside_it_and_the_transformer_stays(files):
    witness = ("movenet-lightning", files / "lightning.safetensors")
    finish(files / "trained.safetensors", files / "out.safetensors", witness=witness)
    (before, _), (after, _) = load_model(files / "trained.safetensors"), load_model(files / "out.safetensors")
    images = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        memory, maps = after.encode(images)
        torch.testing.assert_close(after.decode(memory).xy, before.guesses(images).xy)
        torch.testing.assert_close(maps.log_heights, after.witness(images).log_heights)
    assert after.config.witness == "movenet-lightning"
    finish(files / "out.safetensors", files / "again.safetensors", layers=1)  # and it stays there
    assert torch.equal(load_model(files / "again.safetensors")[0].witness.stem.weight, after.witness.stem.weight)


@pytest.mark.parametrize(
    ("error", "match", "over"),
    [
        (OutputError, "exists", {"out": "lightning"}),
        (UsageError, "--layers 4: .*; try: 1 to 3", {"layers": 4}),
        (UsageError, "--layers 0", {"layers": 0}),
        (UsageError, "no network beside a trunk", {"witness": ("movenet", "lightning")}),
        (
            WeightsError,
            "does not fit: .*stem.weight is one",
            {"witness": ("movenet-lightning", "thunder")},
        ),
        (WeightsError, "the witness does not fit", {"witness": ("movenet-lightning", "trained")}),
    ],
)
def test_what_cannot_be_finished(files, error, match, over):
    given = {"out": "new", "layers": None, "witness": None} | over
    witness = given["witness"] and (given["witness"][0], files / f"{given['witness'][1]}.safetensors")
    with pytest.raises(error, match=match):
        finish(files / "trained.safetensors", files / f"{given['out']}.safetensors", given["layers"], witness)
    assert not (files / "new.safetensors").exists()
