import math

import torch

from tfpose_rt.config import ModelConfig
from tfpose_rt.training.losses import (
    Flow,
    HeatmapBranch,
    laplace,
    mean_l1,
    oks_right,
    residual_likelihood,
    score_loss,
)


def test_mean_l1_by_hand():
    """One layer, one person, two joints, the second unlabelled: (0.1 + 0.3) / 2."""
    xy = torch.tensor([[[[0.6, 0.2], [0.9, 0.9]]]])
    target = torch.tensor([[[0.5, 0.5], [0.0, 0.0]]])
    torch.testing.assert_close(mean_l1(xy, target, torch.tensor([[1.0, 0.0]])), torch.tensor([0.2]))


def test_laplace_is_torchs_own_density():
    xy, target = torch.rand(3, 2, 17, 2), torch.rand(2, 17, 2)
    sigma = torch.rand(3, 2, 17, 2) + 0.05
    expected = -torch.distributions.Laplace(xy, sigma).log_prob(target.expand_as(xy)).sum(-1).mean((1, 2))
    torch.testing.assert_close(laplace(xy, sigma, target, torch.ones(2, 17)), expected)


def test_the_flow_is_a_density():
    """Whatever its weights, a normalising flow integrates to one."""
    torch.manual_seed(0)
    flow = Flow()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    axis = torch.linspace(-12, 12, 241)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = flow.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(float(total) - 1) < 0.01


def test_rle_with_an_identity_flow_is_laplace_times_gauss():
    flow = Flow()
    for parameter in flow.parameters():
        torch.nn.init.zeros_(parameter)
    xy, target = torch.rand(2, 4, 17, 2), torch.rand(4, 17, 2)
    sigma, weight = torch.rand(2, 4, 17, 2) + 0.1, torch.ones(4, 17)
    gauss = -torch.distributions.Normal(xy, sigma).log_prob(target.expand_as(xy)).sum(-1).mean((1, 2))
    expected = gauss + laplace(xy, sigma, target, weight)
    torch.testing.assert_close(residual_likelihood(xy, sigma, target, weight, flow), expected, atol=1e-4, rtol=1e-4)


def test_unlabelled_joints_have_no_gradient():
    flow = Flow()
    xy = torch.rand(1, 2, 17, 2, requires_grad=True)
    sigma = torch.full((1, 2, 17, 2), 0.1)
    weight = torch.ones(2, 17)
    weight[:, 5] = 0
    residual_likelihood(xy, sigma, torch.rand(2, 17, 2), weight, flow).sum().backward()
    assert not xy.grad[:, :, 5].any()
    assert xy.grad[:, :, 4].any()


def test_within_tolerance_is_oks_over_a_half():
    """OKS is one half at distance 2 sigma sqrt(2 ln 2 area): just inside is right, just outside is not."""
    area, falloff = torch.tensor([5000.0]), torch.tensor([0.05])
    limit = math.sqrt(math.log(2) * 2 * (2 * 0.05) ** 2 * 5000.0)
    target = torch.zeros(1, 1, 2)
    for factor, right in ((0.999, True), (1.001, False)):
        xy = torch.tensor([[[limit * factor / 192, 0.0]]])
        assert bool(oks_right(xy, target, area, (192, 256), falloff)) is right


def test_the_score_ignores_what_nobody_knows():
    logit = torch.zeros(1, 1, 2)
    right = torch.tensor([[[True, True]]])
    assert float(score_loss(logit, right, torch.tensor([[1.0, 0.0]]))) == float(torch.tensor(2.0).log())


def test_the_heatmaps_peak_at_the_joint():
    config = ModelConfig(trunk="resnet18", channels=64, size=(192, 256))
    branch = HeatmapBranch(config)
    memory = torch.zeros(1, 1008, 64)
    target, weight = torch.full((1, 17, 2), 0.5), torch.zeros(1, 17)
    weight[0, 3] = 1
    blank = float(branch.loss(memory, target, weight).detach())
    assert abs(blank - branch.blank_error) / branch.blank_error < 0.02
    assert branch(memory).shape == (1, 17, 64, 48)
