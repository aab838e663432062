"""Batch renormalisation against batch normalisation, and against itself in the other mode."""

from __future__ import annotations

import torch
from torch import nn

from actrix.nets.renorm import BatchRenorm, RenormNet


def fed(norm: BatchRenorm, passes: int, shift: float = 0.0) -> None:
    for _ in range(passes):
        norm(2.0 + shift + 3.0 * torch.randn(256, 4).expand(len(norm.scale), -1, -1), training=True)


def test_before_its_warmup_is_over_it_is_batch_normalisation() -> None:
    torch.manual_seed(0)
    ours, theirs = BatchRenorm(1, 4), nn.BatchNorm1d(4, eps=1e-3)
    with torch.no_grad():
        ours.scale.copy_(torch.randn_like(ours.scale))
        ours.shift.copy_(torch.randn_like(ours.shift))
        theirs.weight.copy_(ours.scale[0, 0])
        theirs.bias.copy_(ours.shift[0, 0])
    fed(ours, 3, 10.0)
    x = 5 * torch.randn(64, 4)
    torch.testing.assert_close(ours(x[None], training=True)[0], theirs(x), rtol=1e-4, atol=1e-5)


def test_after_it_both_modes_say_the_same() -> None:
    """Where the batch is not far from those before; the gradient is that of batch normalisation."""
    torch.manual_seed(0)
    norm = BatchRenorm(2, 4, momentum=0.1, warmup=50)
    fed(norm, 100)
    x = (2.0 + 3.0 * torch.randn(8, 4)).expand(2, -1, -1)  # so few rows that their statistics are off
    plain = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-3).sqrt()
    still = norm(x)
    x.requires_grad_()
    trained = norm(x, training=True)
    torch.testing.assert_close(trained, still, rtol=1e-4, atol=1e-4)
    assert (plain - still).abs().max() > 0.1
    gradient = torch.autograd.grad(trained.square().sum(), x)[0]
    assert gradient.sum(1).abs().max() < 1e-3, "a batch that moves as a whole says the same"


def test_it_follows_a_batch_that_is_far_off_only_so_far() -> None:
    torch.manual_seed(0)
    norm = BatchRenorm(1, 4, momentum=0.1, warmup=50)
    fed(norm, 200)
    x = 2.0 + 3.0 * (20 + torch.randn(1, 256, 4))  # 20 standard deviations away
    assert norm(x).mean().item() > 18
    torch.testing.assert_close(norm(x, training=True).mean(), torch.tensor(5.0), rtol=0.02, atol=0)
    torch.manual_seed(0)
    norm = BatchRenorm(1, 4, momentum=0.1, warmup=50)
    fed(norm, 200)
    wide = 2.0 + 30.0 * torch.randn(1, 256, 4)
    torch.testing.assert_close(norm(wide, training=True).std(), torch.tensor(3.0), rtol=0.05, atol=0)


def test_members_are_networks_of_their_own() -> None:
    torch.manual_seed(0)
    both = RenormNet(3, (8, 8), 5, members=2)
    one = RenormNet(3, (8, 8), 5, members=1)
    for mine, theirs in zip(one.parameters(), both.parameters()):
        mine.data.copy_(theirs.data[1:])
    x = torch.randn(16, 3)
    torch.testing.assert_close(both(x, training=True)[1:], one(x, training=True))
    torch.testing.assert_close(both(x)[1:], one(x))
