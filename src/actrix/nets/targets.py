"""Copies of modules that follow slowly, or not at all: targets, teachers, references."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class Tracked(nn.Module, Generic[M]):
    """A frozen copy of `module`; `follow()` moves it by `rate` towards the original (Polyak averaging).

    target <- target + rate * (module - target), parameters and floating-point buffers alike.
    """

    copy: M

    def __init__(self, module: M, rate: float) -> None:
        super().__init__()
        self.copy = copy.deepcopy(module).requires_grad_(False)
        self.rate = rate
        # a list hides the original from Module: it is not a child, so it is saved once
        self._original = [module]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.copy(*args, **kwargs)

    @torch.no_grad()
    def follow(self, rate: float | None = None) -> None:
        source = self._original[0]
        torch._foreach_lerp_(
            list(self.copy.parameters()), [p.detach() for p in source.parameters()], self.rate if rate is None else rate
        )
        for mine, theirs in zip(self.copy.buffers(), source.buffers()):
            mine.copy_(theirs)


def tracked(module: M, rate: float) -> Tracked[M]:
    """A target network: see `Tracked`. A rate of 1 at rare intervals is DQN's hard copy."""
    return Tracked(module, rate)


class Weighted(Protocol):
    """What has weights."""

    def parameters(self) -> Iterator[nn.Parameter]: ...


@torch.no_grad()
def assign(module: Weighted, original: Weighted) -> None:
    """Give a module the weights of another of the same shape."""
    for mine, theirs in zip(module.parameters(), original.parameters()):
        mine.copy_(theirs)
