"""Teams that learn otherwise than MAPPO."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from actrix import credit
from actrix.critics.values import ScaledValue
from actrix.data.batches import Steps
from actrix.nets.mlp import MLP
from actrix.nets.team import TeamView
from actrix.objectives import clipped, clipped_value, reduce
from actrix.optim import Adam
from actrix.run.learner import Losses
from actrix.spec import Spec
from actrix.systems.multi_agent.mappo import MAPPO


class OwnValue(ScaledValue):
    """V(o_n, n), one value for each agent from what it sees itself: [..., D] -> [..., N]."""

    def __init__(self, spec: Spec, hidden: tuple[int, ...], rate: float) -> None:
        super().__init__(spec, hidden, rate)
        view = TeamView(spec)
        self.encoder, self.net = view, MLP(view.size, hidden, 1, "tanh", orthogonal=True)  # type: ignore[assignment]

    @torch.no_grad()
    def credit(self, steps: Steps, discount: float, decay: float, reward: Tensor | None = None) -> Steps:
        assert steps.next_obs is not None
        value, after = self(torch.stack((steps.obs, steps.next_obs)))
        agents = value.shape[-1]

        def rows(x: Tensor) -> Tensor:
            """[B, T] or [B, T, N] -> [B N, T]."""
            return (x if x.ndim == 3 else x[..., None].expand(-1, -1, agents)).transpose(1, 2).flatten(0, 1)

        found = credit.gae(
            rows(steps.reward), rows(value), rows(after), rows(steps.terminated), rows(steps.truncated),
            discount, decay, rows(steps.action_mask),
        )  # fmt: skip
        advantage, target = (x.unflatten(0, (-1, agents)).transpose(1, 2) for x in found)
        return replace(steps, advantage=advantage, target=target)

    def follow(self, target: Tensor, mask: Tensor) -> None:
        super().follow(target, mask[..., None].expand_as(target))


class Independent(MAPPO):
    """IPPO: every agent learns by itself, from the team's reward and a value of what it sees; parameters are shared."""

    def __init__(self, spec: Spec, config: Any) -> None:
        super().__init__(spec, config)
        self.critic = OwnValue(spec, config.hidden, config.value_rate)
        self.optimise(
            actor=(self.actor, Adam(config.actor_rate, epsilon=1e-5, clip_norm=config.clip_norm)),
            critic=(self.critic, Adam(config.critic_rate, epsilon=1e-5, clip_norm=config.clip_norm)),
        )

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        config, mask = self.config, batch.action_mask
        assert batch.advantage is not None
        assert batch.target is not None
        each = mask[..., None].expand_as(batch.advantage)
        logp, entropy = self.actor.evaluate(batch.obs, batch.action, batch.mask, batch.condition)
        gain = credit.standardise(batch.advantage, each)
        per_step = clipped(logp, batch.logp_behaviour, gain, config.clip).mean(-1)
        unit = self.critic.std
        value, target = self.critic(batch.obs) / unit, batch.target / unit
        error = clipped_value(value, target, target - batch.advantage / unit, config.value_clip, config.huber).mean(-1)
        spread = reduce(entropy.mean(-1), mask, "token", batch.total)
        return Losses(
            actor=reduce(per_step, mask, "token", batch.total) - config.entropy_weight * spread,
            critic=reduce(error, mask, "token", batch.total),
        )
