"""Worlds in tensors that let gradients through: how a reward changes with an action taken long before.

An environment offers them as `flow(n, compile) -> Flow`, a method of the environment (as Gymnasium makes it) or of
the vector environment. Rows and actions are canonical (see `envs.spaces`); everything is float32 on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Moved:
    """One step of N worlds. Gradients reach `next_obs`, `obs` and `reward` from the actions and states before."""

    obs: Tensor  # [N, D] what to act on next; no gradient passes where an episode has just begun
    next_obs: Tensor  # [N, D] the successor of what was acted on
    reward: Tensor  # [N]
    terminated: Tensor  # [N] bool
    truncated: Tensor  # [N] bool


class Flow(Protocol):
    """N worlds that start anew by themselves where an episode ended."""

    def reset(self, seeds: Sequence[int]) -> Tensor:
        """New episodes, each a function of its seed alone: what to act on [N, D]."""
        ...

    def step(self, action: Tensor) -> Moved:
        """Take actions [N, A]; those out of bounds are brought to them."""
        ...

    def cut(self) -> Tensor:
        """Forget how the present came to be, so that no gradient reaches further back: what to act on [N, D]."""
        ...
