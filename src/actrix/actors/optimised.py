"""An actor bettered by a critic at the moment of deciding: proposals, ranked, and moved up the critic's gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from actrix.actors.base import Action, Actor
from actrix.actors.candidates import select
from actrix.actors.categorical import choose
from actrix.critics.values import QEnsemble


def ascend(value: Callable[[Tensor], Tensor], action: Tensor, steps: int, size: float) -> tuple[Tensor, Tensor]:
    """Gradient ascent of every particle by itself, within [-1, 1]; returns the best place each has been to.

    value: actions [..., A] -> [...]; `steps` times a <- clip(a + size * gradient). Returns actions [..., A] and their
    values [...], neither with a gradient; no value is below that of the particle's start.
    """

    def look(at: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            at = at.detach().requires_grad_()
            found = value(at)
            return found.detach(), torch.autograd.grad(found.sum(), at)[0]

    best, here = action.detach(), action.detach()
    most, gradient = look(here) if steps else (value(here).detach(), here)
    for step in range(steps):
        here = (here + size * gradient).clamp(-1.0, 1.0)
        found, gradient = look(here) if step < steps - 1 else (value(here).detach(), gradient)
        better = found > most
        best, most = torch.where(better[..., None], here, best), torch.where(better, found, most)
    return best, most


class Optimised(Actor):
    """Decides by `base` and `critic` together: of `proposals` of the base, the `keep` that the mean of the critics
    ranks first are moved by `ascent` steps of size `step` up that mean (`ascend`). The choice among them is the best in
    mode "mean", and drawn from softmax(value / temperature) in mode "sample".

    The critic is not owned: its parameters belong to whoever trains it. `imitate` is that of the base.
    """

    def __init__(
        self,
        base: Actor,
        critic: QEnsemble,
        proposals: int = 32,
        keep: int = 10,
        ascent: int = 10,
        step: float = 3e-4,
        temperature: float = 1.0,
    ) -> None:
        torch.nn.Module.__init__(self)  # it sees through its base's encoder, and has none of its own
        self.base = base
        self._critic = [critic]  # a list hides it from Module: it is not a child, so it is saved once
        self.proposals, self.keep = proposals, min(keep, proposals)
        self.ascent, self.step, self.temperature = ascent, step, temperature

    def value(self, obs: Tensor, action: Tensor) -> Tensor:
        """What is climbed: the mean of the critics, obs [B, D], action [B, K, A] -> [B, K]."""
        return self._critic[0].frozen(obs, action).reduce("mean")

    @torch.no_grad()
    def improve(self, obs: Tensor, mode: str = "sample", given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Particles [B, keep, A] and their values [B, keep]. `given` [B, A] takes the place of the last one kept."""
        found = self.base.candidates(obs, self.proposals, mode)
        if self.proposals > 1:
            order = self.value(obs, found).topk(self.keep, -1).indices
            found = found.gather(1, order[..., None].expand(-1, -1, found.shape[-1]))
        if given is not None:
            found = torch.cat((found[:, : self.keep - 1], given[:, None]), 1)
        return ascend(lambda action: self.value(obs, action), found, self.ascent, self.step)

    def choose(self, particles: Tensor, value: Tensor, mode: str = "sample") -> Tensor:
        """One of the particles for each row: [B, keep, A], [B, keep] -> [B, A]."""
        return select(particles, value, "max" if mode == "mean" else "sample", self.temperature)

    def draw(self, particles: Tensor, value: Tensor, count: int) -> Tensor:
        """`count` particles of each row, drawn as in mode "sample": [B, keep, A], [B, keep] -> [B, count, A]."""
        logits = (value / self.temperature)[:, None].expand(-1, count, -1)
        return particles.gather(1, choose(logits)[..., None].expand(-1, -1, particles.shape[-1]))

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        return Action(self.choose(*self.improve(obs, mode), mode))

    def exploit(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Any]:
        """The best of fresh proposals."""
        return Action(self.choose(*self.improve(obs), "mean")), memory

    def imitate(self, obs: Tensor, action: Tensor, weight: Tensor | None = None) -> Tensor:
        return self.base.imitate(obs, action, weight)
