"""The converted trunk against the network it came from, run by ultralytics itself."""

import pytest
import torch

from tfpose_rt import yolo
from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import WeightsError
from tfpose_rt.model.backbone import build_backbone
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.yolo_trunk import from_checkpoint
from tfpose_rt.tools import trunk
from tfpose_rt.training.checkpoint import start_from


def original(architecture: str, kind: str):
    yolo.load()
    from ultralytics.nn import tasks

    torch.manual_seed(0)
    model = getattr(tasks, kind)(architecture, verbose=False).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.normal_(module.weight, 1, 0.1)
            torch.nn.init.normal_(module.bias, std=0.1)
    return model


@pytest.mark.parametrize(
    ("name", "architecture", "kind"),
    [
        ("yolo26n", "yolo26n.yaml", "DetectionModel"),
        ("yolo26s", "yolo26s.yaml", "DetectionModel"),
        ("yolo11n-pose", "yolo11n-pose.yaml", "PoseModel"),
    ],
)
def test_the_levels_are_ultralytics_own(name, architecture, kind):
    model = original(architecture, kind)
    if name == "yolo11n-pose":  # checkpoints of that generation have an activation here; new configurations do not
        model.model[9].cv1.act = torch.nn.SiLU()
    ours = build_backbone(name, (8, 16, 32)).eval()
    ours.load_state_dict(from_checkpoint(model.state_dict()), strict=True)
    seen = {}
    for index in (16, 19, 22):
        model.model[index].register_forward_hook(lambda _, __, out, index=index: seen.__setitem__(index, out))
    image = torch.rand(1, 3, 128, 96)
    with torch.no_grad():
        model(image)
        levels = ours(image)
    for index, level in zip((16, 19, 22), levels, strict=True):
        theirs = seen[index]
        torch.testing.assert_close(level[:, : theirs.shape[1]], theirs, atol=1e-3, rtol=1e-3)
        if name == "yolo11n-pose":
            branch = model.model[23].cv4[(16, 19, 22).index(index)][:2](theirs)
            torch.testing.assert_close(level[:, theirs.shape[1] :], branch, atol=1e-3, rtol=1e-3)


def test_a_checkpoint_becomes_start_weights(tmp_path):
    model = original("yolo26n.yaml", "DetectionModel")
    torch.save({"model": model}, tmp_path / "y.pt")
    trunk.convert(tmp_path / "y.pt", tmp_path / "t.safetensors")
    pose = TFPose(ModelConfig(trunk="yolo26n", size=(64, 96)))
    filled = start_from(pose, tmp_path / "t.safetensors")
    assert filled == {f"trunk.{name}" for name, _ in pose.trunk.named_parameters()}


def test_something_else_is_refused(tmp_path):
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "x.pt")
    with pytest.raises(WeightsError):
        trunk.convert(tmp_path / "x.pt", tmp_path / "t.safetensors")


@pytest.mark.parametrize(("name", "strides"), [("mobilenet_v2", (8, 16, 32)), ("resnet18", (4, 8, 16, 32))])
def test_torchvisions_weights_fill_the_trunk_and_give_torchvisions_features(name, strides, tmp_path):
    import torchvision

    torch.manual_seed(0)
    net = getattr(torchvision.models, name)(weights=None).eval()
    torch.save(net.state_dict(), tmp_path / f"{name}.pth")
    trunk.convert(tmp_path / f"{name}.pth", tmp_path / "trunk.safetensors")
    model = TFPose(ModelConfig(trunk=name, strides=strides)).eval()
    assert start_from(model, tmp_path / "trunk.safetensors") == {f"trunk.{name}" for name in model.trunk.state_dict()}
    image = torch.rand(1, 3, 96, 64)
    x = (image - model.trunk.mean) / model.trunk.std
    if name == "resnet18":
        wanted = net.layer4(net.layer3(net.layer2(net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x))))))))
    else:
        wanted = net.features[:18](x)
    assert torch.equal(model.trunk(image)[-1], wanted)
