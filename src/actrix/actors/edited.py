"""An actor whose proposals are edited: a second policy moves them a little, and a critic chooses among all of them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from actrix.actors.base import Action, Actor
from actrix.actors.candidates import select
from actrix.actors.gaussian import SquashedGaussian
from actrix.critics.values import QEnsemble, drawn
from actrix.nets.targets import Tracked, tracked


class Edited(Actor):
    """Of `proposals` of the base, the first `edits` are also taken in an edited form; what the critics say of all of
    them decides (min over `subset` members, drawn anew): the policy that EXPO calls on-the-fly.

    edit(s, a) = clip(a + scale e, -1, 1), e ~ tanh N(mean(s, a), std(s, a)); the `editor` sees rows [obs, a].

    It acts with `slow`, an average of the base that follows it by `rate`. In mode "mean" proposals have fixed noise,
    edits are the editor's mode, and the first members are asked. The critic is not owned: its parameters belong to
    whoever trains it. `editor` None edits nothing: the best of `proposals`. `imitate` is that of the base.
    """

    def __init__(
        self,
        base: Actor,
        editor: SquashedGaussian | None,
        critic: Tracked[QEnsemble],
        scale: float = 0.2,
        proposals: int = 8,
        edits: int = 8,
        members: int = 10,
        subset: int = 2,
        rate: float = 1e-3,
    ) -> None:
        """members: how many critics there are."""
        nn.Module.__init__(self)  # it sees through its base's encoder, and has none of its own
        self.base, self.editor, self.slow = base, editor, tracked(base, rate)
        self._critic = [critic]  # a list hides it from Module: it is not a child, so it is saved once
        self.scale, self.proposals, self.edits = scale, proposals, min(edits, proposals) if editor is not None else 0
        self.members, self.subset = members, min(subset, members)

    def edit(self, obs: Tensor, action: Tensor, mode: str = "sample") -> tuple[Tensor, Tensor]:
        """Edited actions [B, A] of obs [B, D] and actions [B, A], reparameterised, and the log-density [B] of the edit
        (scale e, before it is clipped): log pi(e) - A log scale. In mode "mean" that of the mode."""
        assert self.editor is not None
        rows = torch.cat((obs, action), -1)
        if mode == "mean":
            found = torch.tanh(self.editor.distribution(rows)[0])
            logp = self.editor.log_prob(rows, found)
        else:
            found, logp = self.editor.sample(rows)
        return (action + self.scale * found).clamp(-1.0, 1.0), logp - action.shape[-1] * math.log(self.scale)

    def candidates(self, obs: Tensor, count: int, mode: str = "sample", live: bool = False) -> Tensor:
        """`count` proposals of the base, and then edited forms of the first: [B, D] -> [B, count + edits, A].

        live: of the base itself, not of its average."""
        found = (self.base if live else self.slow.copy).candidates(obs, count, mode)
        edits = min(self.edits, count)
        if not edits:
            return found
        rows = obs[:, None].expand(-1, edits, -1).flatten(0, 1)
        edited, _ = self.edit(rows, found[:, :edits].flatten(0, 1), mode)
        return torch.cat((found, edited.unflatten(0, (-1, edits))), 1)

    def which(self, mode: str = "sample", device: torch.device | None = None) -> Tensor | slice:
        """The critics that are asked."""
        return slice(self.subset) if mode == "mean" else drawn(self.members, self.subset, device)

    @torch.no_grad()
    def decide(self, obs: Tensor, mode: str = "sample", live: bool = False) -> Tensor:
        """The best of the candidates: [B, D] -> [B, A]."""
        found = self.candidates(obs, self.proposals, mode, live)
        worth = self._critic[0](obs, found, self.which(mode, obs.device)).reduce("min")
        return select(found, worth)

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        return Action(self.decide(obs, mode))

    def exploit(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Any]:
        """As in exploration: among fresh proposals."""
        return self.explore(obs, mask, memory)

    def imitate(self, obs: Tensor, action: Tensor, weight: Tensor | None = None) -> Tensor:
        return self.base.imitate(obs, action, weight)
