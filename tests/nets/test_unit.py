"""Networks of unit norm: their norms, and batch statistics against torch's own."""

from __future__ import annotations

import torch
from torch import nn

from actrix.nets.linear import set_fast_products, stacked_linear
from actrix.nets.unit import UnitBatchNorm, UnitLinear, UnitNet, UnitRMSNorm, project


def norms_hold(module: nn.Module) -> bool:
    """Whether every part keeps its norm to 1e-5 of itself."""
    gaps = []
    for part in module.modules():
        if isinstance(part, UnitLinear):
            gaps.append(part.weight.norm(dim=1) - 1)
        elif isinstance(part, UnitBatchNorm):
            gaps.append((part.scale.square() + part.shift.square()).mean(-1) - 1)
        elif isinstance(part, UnitRMSNorm):
            gaps.append(part.scale.square().mean(-1) - 1)
    assert gaps
    return all(bool((gap.abs() < 1e-5).all()) for gap in gaps)


def test_projection_restores_every_norm_and_keeps_directions() -> None:
    torch.manual_seed(0)
    net = UnitNet(3, 16, 2, 5, members=2)
    assert norms_hold(net)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    assert not norms_hold(net)
    moved = net.layers[0].weight.detach().clone()
    bias = net.layers[-1].bias.detach().clone()
    project(net)
    assert norms_hold(net)
    cosine = nn.functional.cosine_similarity(net.layers[0].weight, moved, dim=1)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))
    assert torch.equal(net.layers[-1].bias, bias), "the head's bias is free"


def test_features_before_the_head_have_root_mean_square_one() -> None:
    torch.manual_seed(0)
    net, seen = UnitNet(3, 16, 2, 5, members=2), []
    net.norm.register_forward_hook(lambda *parts: seen.append(parts[2] / net.norm.scale))
    net(100 * torch.randn(32, 3), training=True)
    torch.testing.assert_close(seen[0].square().mean(-1), torch.ones(2, 32), rtol=1e-4, atol=0)


def test_batch_norm_against_torch() -> None:
    torch.manual_seed(0)
    ours = UnitBatchNorm(2, 4)
    theirs = [nn.BatchNorm1d(4, momentum=0.01) for _ in range(2)]
    with torch.no_grad():
        ours.scale.copy_(torch.randn_like(ours.scale))
        ours.shift.copy_(torch.randn_like(ours.shift))
        for member, norm in enumerate(theirs):
            norm.weight.copy_(ours.scale[member, 0])
            norm.bias.copy_(ours.shift[member, 0])
    for _ in range(3):
        x = 5 + 3 * torch.randn(2, 32, 4, requires_grad=True)
        expected = torch.stack([norm(rows) for norm, rows in zip(theirs, x)])
        got = ours(x, training=True)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
        up = torch.randn_like(got)
        torch.testing.assert_close(
            torch.autograd.grad((got * up).sum(), x)[0],
            torch.autograd.grad((expected * up).sum(), x)[0],
            rtol=1e-3,
            atol=1e-5,
        )
    torch.testing.assert_close(ours.mean[:, 0], torch.stack([n.running_mean for n in theirs]))
    torch.testing.assert_close(ours.variance[:, 0], torch.stack([n.running_var for n in theirs]))
    x = torch.randn(2, 8, 4)
    expected = torch.stack([norm.eval()(rows) for norm, rows in zip(theirs, x)])
    before = ours.mean.clone()
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(ours.mean, before), "running statistics move in training only"


def test_members_are_networks_of_their_own() -> None:
    torch.manual_seed(0)
    pair = UnitNet(3, 8, 1, 2, members=2)
    x = torch.randn(16, 3)
    both = pair(x, training=True)
    for member in range(2):
        alone = UnitNet(3, 8, 1, 2)
        state = pair.state_dict()
        alone.load_state_dict({k: v[member : member + 1] for k, v in state.items()})
        torch.testing.assert_close(alone(x, training=True)[0], both[member], rtol=1e-4, atol=1e-5)


def test_rows_meet_in_training_only() -> None:
    """What one row gives depends on the others through the statistics; acting, it must not."""
    torch.manual_seed(0)
    net = UnitNet(3, 8, 1, 2)
    x, others = torch.randn(4, 3), torch.randn(4, 3) + 5
    assert not torch.allclose(net(torch.cat((x, others)), training=True)[:, :4], net(x, training=True))
    torch.testing.assert_close(net(torch.cat((x, others)))[:, :4], net(x))


def test_stacked_products_without_a_bias() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(3, 200, 64), torch.randn(3, 64, 300)
    before = set_fast_products(False)
    try:
        for fast in (False, True):
            set_fast_products(fast)
            torch.testing.assert_close(stacked_linear(x, weight, None), x @ weight, rtol=1e-4, atol=1e-4)
    finally:
        set_fast_products(before)
