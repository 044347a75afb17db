import dataclasses
import json
import math
import signal
from statistics import fmean

import pytest
import torch
from program import run_program
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tfpose_rt.config import MODELS, ModelConfig
from tfpose_rt.errors import TfposeError, UsageError, WeightsError
from tfpose_rt.model.movenet import WIDTHS, MoveNet
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import load_model, read, save_model, write
from tfpose_rt.ops.choice import KernelChoice
from tfpose_rt.training import loop
from tfpose_rt.training.checkpoint import Average
from tfpose_rt.training.data import load
from tfpose_rt.training.loop import groups, schedule, set_rates, train
from tfpose_rt.training.objective import Objective
from tfpose_rt.training.recipe import build_config
from tfpose_rt.training.settings import AugmentConfig, TrainConfig
from tfpose_rt.training.state import Progress

SMALL = TrainConfig(
    model=ModelConfig(trunk="tiny", channels=64, encoder_layers=0, decoder_layers=1, size=(64, 96)),
    batch=4, epochs=1, warmup=2, amp="off", workers=1, val_every=1000,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("tiny_trunk")


@pytest.fixture
def samples(pack):
    return load(pack)


def test_a_run_leaves_weights_a_log_and_a_state(samples, tmp_path):
    steps = []
    last = train(samples, SMALL, tmp_path, device=torch.device("cpu"), report=lambda p: steps.append(p.losses["loss"]))
    assert last.done >= 1
    model, metadata = load_model(tmp_path / "best.safetensors")
    assert model.config == SMALL.model
    assert metadata["step"] == last.step
    assert (tmp_path / "run.json").is_file()
    header, row = (tmp_path / "log.csv").read_text().splitlines()
    assert "AP" in header.split(",")
    assert len(row.split(",")) == len(header.split(","))
    logged = dict(zip(header.split(","), map(float, row.split(",")), strict=True))
    assert logged["loss"] == pytest.approx(sum(steps[: last.step]) / last.step, abs=1e-4)


def test_the_kernel_is_chosen_before_training_and_written_down(samples, tmp_path, monkeypatch):
    asked = []

    def choose(*given):
        asked.append(given)
        return KernelChoice("cuda fused", "it fits")

    monkeypatch.setattr(loop, "select_kernel", choose)
    train(samples, dataclasses.replace(SMALL, steps=1), tmp_path, device=torch.device("cpu"))
    assert asked == [("auto", torch.device("cpu"), SMALL.model)]
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["kernel"] == {"name": "cuda fused", "reason": "it fits"}


def test_the_first_line_says_which_kernel_runs_and_why(pack, tmp_path, monkeypatch, capsys):
    settings = ('trunk="tiny"', "channels=64", "decoder_layers=1", "size=[64, 96]", "steps=1")
    words = [word for setting in settings for word in ("--set", setting)]
    given = ("--device", "cpu", "--workers", "1", "--save-dir", tmp_path / "run")
    code, _, err = run_program(monkeypatch, capsys, "train", pack, *words, *given)
    assert code == 0, err
    first = err.splitlines()[0]
    assert "on cpu, attention by torch (the model runs on cpu; the fused kernel needs a CUDA GPU)" in first


def test_freezing_a_trunk_without_numbered_modules_is_refused(samples, tmp_path):
    with pytest.raises(UsageError, match="freeze = 3"):
        train(samples, dataclasses.replace(SMALL, freeze=3), tmp_path, device=torch.device("cpu"))


def test_it_learns(samples, tmp_path):
    """Two figures are learnt by heart: the error falls well below that of their mean, where it starts."""
    errors = []
    calm = AugmentConfig(rotate=0, tumble=0, zoom=(1, 1), flip=0, half_body=0, cut=0, erase=0, colour=0, degrade=0)
    config = dataclasses.replace(
        SMALL, steps=120, epochs=1000, batch=2, lr=2e-3, hold_out=False, loss="l1", heatmap=False, augment=calm
    )
    train(samples[:2], config, tmp_path, device=torch.device("cpu"), report=lambda p: errors.append(p.losses["l1"]))
    assert fmean(errors[-12:]) < 0.5 * fmean(errors[:3])


def test_resuming_is_exact(samples, tmp_path, monkeypatch):
    """Stopped by Ctrl-C in the middle and resumed, a run ends with the same weights as one left alone."""
    device, samples = torch.device("cpu"), samples[:20]
    config = dataclasses.replace(SMALL, epochs=2)
    train(samples, config, tmp_path / "whole", device=device)

    def stop(progress: Progress) -> None:
        if progress.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(samples, config, tmp_path / "cut", device=device, report=stop)
    train(samples, config, tmp_path / "cut", device=device, resume=True)
    whole, cut = (read(tmp_path / name / "state.safetensors")[0] for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    for key, value in whole.items():
        torch.testing.assert_close(cut[key], value, atol=0, rtol=0, msg=key)


def test_a_run_that_goes_on_may_end_earlier_or_later(samples, tmp_path):
    device, samples = torch.device("cpu"), samples[:20]
    config = dataclasses.replace(SMALL, epochs=9, steps=None)

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(samples, config, tmp_path, device=device, report=stop)
    for steps, taken in ((2, 3), (2, 3), (5, 5)):  # over already, and so it stays; then two more
        last = train(samples, dataclasses.replace(config, steps=steps), tmp_path, device=device, resume=True)
        assert (last.step, last.done) == (taken, pytest.approx(taken / steps))
        assert (tmp_path / "best.safetensors").is_file()
    log = (tmp_path / "log.csv").read_text().splitlines()
    assert [len(line.split(",")) for line in log] == [len(log[0].split(","))] * 2
    assert log[1].startswith("5,")


def test_biases_and_norms_keep_their_weights_and_the_trunk_learns_slower():
    config = dataclasses.replace(SMALL, lr=1e-3, trunk_lr=0.25, weight_decay=0.125)
    objective = Objective(TFPose(config.model), config)
    optimizer = torch.optim.AdamW(groups(objective, config))
    progress = Progress(step=10)  # warmed up, and nothing over yet
    assert set_rates(optimizer, config, progress) == pytest.approx(1e-3)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in optimizer.param_groups)
    assert found.keys() == {id(p) for p in objective.parameters()}
    seen = set()
    for path, module in objective.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            spared = name == "bias" or isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d))
            spared |= path.startswith("model.start") or (path, name) == ("model", "level")
            trunk = path.startswith("model.trunk.")
            seen.add((spared, trunk))
            expected = (2.5e-4 if trunk else 1e-3, 0 if spared else 0.125)
            assert found[id(parameter)] == pytest.approx(expected), f"{path}.{name}"
    assert len(seen) == 4


def test_gradients_are_clipped_together(samples, tmp_path):
    norms = []

    def watch(optimizer, *_):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.cat([grad.flatten() for grad in grads]).norm()))

    handle = register_optimizer_step_pre_hook(watch)
    try:
        train(samples, dataclasses.replace(SMALL, clip=0.02, steps=3), tmp_path, device=torch.device("cpu"))
    finally:
        handle.remove()
    assert norms == pytest.approx([0.02] * 3, rel=1e-3)


@pytest.mark.parametrize("loss", ["rle", "laplace", "l1"])
def test_the_terms_are_weighed_against_each_other(samples, tmp_path, loss):
    """By the paper, mean L1 and heatmaps alike; beside a likelihood, blank heatmaps start at 4."""
    told = []
    config = dataclasses.replace(SMALL, loss=loss, steps=1)
    train(samples, config, tmp_path, device=torch.device("cpu"), report=lambda p: told.append(p.losses))
    terms = told[0]
    if loss == "l1":
        expected = 50 * terms["pose"] + 50 * terms["heatmap"] + 0.05 * terms["scale"]
    else:
        # 24 x 16 cells; a unit Gaussian's square has the mass pi sigma^2, sigma 2 for 256 rows of pixels: here 0.75
        expected = terms["pose"] + 4 * terms["heatmap"] / (math.pi * 0.75**2 / (24 * 16))
    assert terms["loss"] == pytest.approx(expected + 0.5 * terms["score"], rel=1e-5)


def test_a_gradient_that_is_no_number_stops_the_run(samples, tmp_path):
    with pytest.raises(TfposeError, match="not a number"):
        train(
            samples,
            dataclasses.replace(SMALL, lr=1e30, clip=1e30, warmup=1, epochs=5),
            tmp_path,
            device=torch.device("cpu"),
        )


def test_weights_that_do_not_fit_are_refused(samples, tmp_path):
    from safetensors.torch import save_file

    save_file({"something": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="fits"):
        train(samples, SMALL, tmp_path, init=[tmp_path / "other.safetensors"], device=torch.device("cpu"))


def test_the_schedule():
    config = TrainConfig(warmup=10)
    assert schedule(config, 0, 0) == pytest.approx(0.1)
    assert schedule(config, 100, 0) == pytest.approx(1)
    assert schedule(config, 100, 0.5) == pytest.approx(0.505)
    assert schedule(config, 100, 1) == pytest.approx(0.01)


def test_a_recipe_from_words_and_flags(tmp_path):
    (tmp_path / "r.toml").write_text('lr = 0.001\nloss = "laplace"\n[model]\nq2q = false\n')
    config = build_config("s", tmp_path / "r.toml", ["loss=l1", "decoder_layers=2"], {"lr": 0.002})
    assert (config.lr, config.loss, config.model.q2q, config.model.decoder_layers) == (0.002, "l1", False, 2)
    assert config.model.trunk == "yolo11n-pose+movenet"


def test_a_witness_that_nobody_brings_is_an_error(samples, tmp_path):
    config = dataclasses.replace(SMALL, model=dataclasses.replace(SMALL.model, witness="movenet-lightning"), steps=1)
    with pytest.raises(UsageError, match="witness = 'movenet-lightning': no --init holds that network"):
        train(samples, config, tmp_path / "a", device=torch.device("cpu"))
    write(tmp_path / "thunder.safetensors", MoveNet(WIDTHS["thunder"]).state_dict(), {})  # heads alike, the rest not
    with pytest.raises(WeightsError, match="nothing in thunder"):
        train(samples, config, tmp_path / "a", init=[tmp_path / "thunder.safetensors"], device=torch.device("cpu"))
    network = MoveNet(WIDTHS["lightning"])
    write(tmp_path / "lightning.safetensors", network.state_dict(), {})
    train(samples, config, tmp_path / "a", init=[tmp_path / "lightning.safetensors"], device=torch.device("cpu"))
    model, _ = load_model(tmp_path / "a" / "last.safetensors")
    torch.testing.assert_close(model.witness.stem.weight, network.stem.weight, atol=1e-3, rtol=1e-3)
    train(samples, dataclasses.replace(config, steps=2), tmp_path / "a", resume=True, device=torch.device("cpu"))


def test_finished_weights_keep_their_layers_and_their_witness(tmp_path):
    """Of the model that is trained; what the file or the command says still wins."""
    shape = ModelConfig(decoder_layers=1, witness="movenet-lightning", size=(64, 96))
    save_model(tmp_path / "n.safetensors", TFPose(shape), {})
    write(tmp_path / "trunk.safetensors", {"a": torch.zeros(1)}, {})
    start = [tmp_path / "n.safetensors", tmp_path / "trunk.safetensors"]
    model = build_config("n", None, [], {}, start).model
    assert (model.decoder_layers, model.witness) == (1, "movenet-lightning")
    assert model.size == (192, 256)  # which is the command's
    assert build_config("n", None, ["decoder_layers=2"], {}, start).model.decoder_layers == 2
    other = build_config("s", None, [], {}, start).model
    assert (other.decoder_layers, other.witness) == (1, "movenet")
    assert build_config("m", None, [], {}, start).model == MODELS["m"]  # too wide to begin with that
    assert build_config("n", None, ["keypoints=16"], {}, start).model.witness == ""
    (tmp_path / "run.json").write_text(json.dumps({"model": model.to_dict()}))
    assert build_config("n", None, [], {}, [tmp_path / "run.json"]).model == model
    for text in ("", "[]", '{"model": 1}'):
        (tmp_path / "odd.json").write_text(text)
        assert build_config("n", None, [], {}, [tmp_path / "odd.json"]).model == MODELS["n"]


@pytest.mark.parametrize("word", ["losss=l1", "loss=huber", "channels=100"])
def test_a_recipe_that_makes_no_sense(word):
    with pytest.raises(UsageError):
        build_config("n", None, [word], {})


def test_a_state_from_before_errors_were_fitted_goes_on(samples, tmp_path):
    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    config = dataclasses.replace(SMALL, steps=3)
    with pytest.raises(KeyboardInterrupt):
        train(samples, config, tmp_path, device=torch.device("cpu"), report=stop)
    tensors, metadata = read(tmp_path / "state.safetensors")
    old = {name: value for name, value in tensors.items() if not name.endswith("error_scale")}
    assert len(old) == len(tensors) - 2
    write(tmp_path / "state.safetensors", old, metadata)
    assert train(samples, config, tmp_path, resume=True, device=torch.device("cpu")).step == 3


def test_ctrl_c_in_the_middle_of_a_step_waits_for_its_end(samples, tmp_path, monkeypatch):
    """Interrupted as the second step has moved the weights and nothing has counted it yet, and gone on with."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    config = dataclasses.replace(SMALL, steps=4, hold_out=False)
    train(samples, config, whole, device=torch.device("cpu"))
    update, calls = Average.update, []

    def interrupted(self, model, step):
        calls.append(step)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        update(self, model, step)

    monkeypatch.setattr(Average, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(samples, config, cut, device=torch.device("cpu"))
    train(samples, config, cut, resume=True, device=torch.device("cpu"))
    assert calls == [1, 2, 3, 4]
    for name, value in read(whole / "last.safetensors")[0].items():
        assert torch.equal(value, read(cut / "last.safetensors")[0][name]), name


def test_l1_teaches_the_errors_too(samples, tmp_path):
    """Under the paper's loss alone nothing would move the scales from where they start."""
    config = dataclasses.replace(SMALL, steps=20, epochs=1000, batch=2, lr=2e-3, hold_out=False, loss="l1")
    train(samples[:2], config, tmp_path, device=torch.device("cpu"))
    last = load_model(tmp_path / "last.safetensors")[0].heads[-1].last.weight
    assert last[2:4].abs().max() > 1e-3
