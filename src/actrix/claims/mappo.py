"""The claim of MAPPO: PPO does for teams, with a value of all that is seen, in units of its targets."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from actrix import credit
from actrix.claims.bn_mappo import ALOHA, THEIRS
from actrix.claims.claim import Arm, Check, Claim, Training, trained
from actrix.claims.worlds import LoudIslands
from actrix.critics.values import ScaledValue
from actrix.data.batches import Steps
from actrix.nets.mlp import MLP
from actrix.nets.team import TeamView
from actrix.objectives import clipped, clipped_value, reduce
from actrix.optim import Adam
from actrix.run.learner import Losses
from actrix.spec import Spec
from actrix.systems.multi_agent.mappo import MAPPO

RAW, LOUD = {"value_rate": 0.0}, {"env": "pettingzoo:actrix.claims.worlds.LoudAloha"}


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


def undone(run: Training) -> float:
    """The final mean return, in the units of Aloha as it is."""
    return float(run.evaluation["mean"]) / LoudIslands.loudness


claim = Claim(
    system="mappo",
    statement="With a value of all that is seen, in units of its targets, PPO learns to cooperate without tuning to a "
    "domain: as well as or better than with values of what each agent sees (IPPO), and whatever the scale of rewards, "
    "where values without normalisation fail.",
    source="2103.01955, sections 4, 5.1 and 5.2",
    minutes=4,
    checks=(
        Check(
            "aloha",
            question="On four islands of Aloha, is it at most a twentieth below IPPO, and below itself without "
            "normalised values?",
            metric="mean return of 200 episodes after 300,000 steps (at best 3.92; two islands that never wait 2.48)",
            seeds=3,
            arms=(
                Arm("mappo", "method", trained("mappo", ALOHA, THEIRS)),
                Arm("ippo", "baseline", trained("mappo", ALOHA, THEIRS, variant=Independent)),
                Arm("raw", "ablation", trained("mappo", ALOHA, THEIRS, RAW)),
            ),
            rules=("mean(mappo) >= 0.95 * mean(ippo)", "mean(mappo) >= 0.95 * mean(raw)"),
        ),
        Check(
            "scale",
            question="With rewards a hundred times as large, does it do as well, and better than without normalised "
            "values?",
            metric="mean return of 200 episodes after 300,000 steps, divided by 100",
            seeds=3,
            arms=(
                Arm("loud", "method", trained("mappo", ALOHA, THEIRS, LOUD, measure=undone)),
                Arm("loud_raw", "ablation", trained("mappo", ALOHA, THEIRS, LOUD, RAW, measure=undone)),
                Arm("quiet", "control", trained("mappo", ALOHA, THEIRS)),
            ),
            rules=("mean(loud) >= 0.95 * mean(quiet)", "mean(loud) >= 1.1 * mean(loud_raw)"),
        ),
    ),
)
