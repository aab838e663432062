"""Residual networks in which weights and features keep a fixed norm, one or a stack of E computed together.

Every output unit has a weight row of length 1 and every normaliser a scale of length sqrt(width); `project` restores
that after a step of the optimiser. Batch statistics are taken where the caller says `training`: whether a pass uses
them belongs to the method (which rows are normalised together), not to a mode of the module.

Source: FlashSAC (2604.04539), section on norm-bounded networks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actrix.nets.linear import stacked_linear


class UnitLinear(nn.Module):
    """E maps `[B, in]` or `[E, B, in] -> [E, B, out]`, rows of length 1; orthogonal at first. `bias` is free."""

    def __init__(self, members: int, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        weight = torch.empty(members, outputs, inputs)
        for rows in weight:
            nn.init.orthogonal_(rows)
        self.weight = nn.Parameter(weight.transpose(1, 2).contiguous())
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs)) if bias else None
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        self.weight.copy_(F.normalize(self.weight, dim=1, eps=1e-8))

    def forward(self, x: Tensor, frozen: bool = False) -> Tensor:
        weight, bias = (p if p is None or not frozen else p.detach() for p in (self.weight, self.bias))
        assert weight is not None
        return stacked_linear(x, weight, bias)


class UnitBatchNorm(nn.Module):
    """Normalises each feature of `[E, B, D]` by the batch (`training`, which also moves the running statistics) or
    by the running statistics; then a scale and a shift with sum(scale^2 + shift^2) = D."""

    mean: Tensor
    variance: Tensor

    def __init__(self, members: int, size: int, momentum: float = 0.01, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.epsilon = momentum, epsilon
        self.scale = nn.Parameter(torch.ones(members, 1, size))
        self.shift = nn.Parameter(torch.zeros(members, 1, size))
        self.register_buffer("mean", torch.zeros(members, 1, size))
        self.register_buffer("variance", torch.ones(members, 1, size))

    @torch.no_grad()
    def project(self) -> None:
        length = (self.scale.square() + self.shift.square()).sum(-1, keepdim=True)
        factor = (self.scale.shape[-1] / (length + 1e-8)).sqrt()
        self.scale.mul_(factor)
        self.shift.mul_(factor)

    def forward(self, x: Tensor, training: bool = False, frozen: bool = False) -> Tensor:
        scale, shift = (self.scale.detach(), self.shift.detach()) if frozen else (self.scale, self.shift)
        if not training:
            gain = scale * (self.variance + self.epsilon).rsqrt()
            return torch.addcmul(shift - self.mean * gain, x, gain)
        rows = x.shape[1]
        x = x.float() if x.dtype is torch.bfloat16 else x  # statistics are taken in full precision
        mean = x.mean(1, keepdim=True)
        centred = x - mean  # cheaper than one pass of var_mean, whose kernel is slow along this dimension
        variance = centred.square().mean(1, keepdim=True)
        with torch.no_grad():
            self.mean.lerp_(mean.detach(), self.momentum)
            self.variance.lerp_(variance.detach() * (rows / max(rows - 1, 1)), self.momentum)
        return torch.addcmul(shift, centred, scale * (variance + self.epsilon).rsqrt())


class UnitRMSNorm(nn.Module):
    """Divides each row of `[E, B, D]` by its root mean square, then scales by `scale`, of length sqrt(D)."""

    def __init__(self, members: int, size: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.scale = nn.Parameter(torch.ones(members, 1, size))

    @torch.no_grad()
    def project(self) -> None:
        length = self.scale.square().sum(-1, keepdim=True)
        self.scale.mul_((self.scale.shape[-1] / (length + 1e-8)).sqrt())

    def forward(self, x: Tensor, frozen: bool = False) -> Tensor:
        scale = self.scale.detach() if frozen else self.scale
        return x * (x.square().mean(-1, keepdim=True) + self.epsilon).rsqrt() * scale


class Block(nn.Module):
    """x + relu(norm(narrow(relu(norm(widen(x)))))): `[E, B, D] -> [E, B, D]`."""

    def __init__(self, members: int, size: int, expansion: int) -> None:
        super().__init__()
        self.widen, self.wide = UnitLinear(members, size, expansion * size), UnitBatchNorm(members, expansion * size)
        self.narrow, self.thin = UnitLinear(members, expansion * size, size), UnitBatchNorm(members, size)

    def forward(self, x: Tensor, training: bool = False, frozen: bool = False) -> Tensor:
        inner = self.wide(self.widen(x, frozen), training, frozen).relu()
        return x + self.thin(self.narrow(inner, frozen), training, frozen).relu()


class UnitNet(nn.Module):
    """`[B, in] -> [E, B, out]`: normalised inputs, a linear map to `width`, residual blocks, a row norm, a head."""

    def __init__(
        self, inputs: int, width: int, blocks: int, outputs: int, members: int = 1, expansion: int = 4
    ) -> None:
        super().__init__()
        self.members = members
        self.enter = UnitBatchNorm(members, inputs)
        self.layers = nn.ModuleList(
            [
                UnitLinear(members, inputs, width),
                *(Block(members, width, expansion) for _ in range(blocks)),
                UnitLinear(members, width, outputs, bias=True),
            ]
        )
        self.norm = UnitRMSNorm(members, width)

    def forward(self, x: Tensor, training: bool = False, frozen: bool = False) -> Tensor:
        """`training` normalises by the statistics of these rows; `frozen` computes no gradient for the weights."""
        first, *blocks, head = self.layers
        x = first(self.enter(x.expand(self.members, *x.shape), training, frozen), frozen)
        for block in blocks:
            x = block(x, training, frozen)
        return head(self.norm(x, frozen), frozen)


def project(module: nn.Module) -> None:
    """Restore the norms of every part of `module` that keeps one. Call it after the optimiser's step."""
    for part in module.modules():
        if isinstance(part, UnitLinear | UnitBatchNorm | UnitRMSNorm):
            part.project()
