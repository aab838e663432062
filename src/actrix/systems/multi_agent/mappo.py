"""MAPPO: PPO for teams, with actors that see their own part and one critic that sees all of it.

    policy     pi(a|s) = prod_n pi(a_n | o_n, n), parameters shared;  r_n = pi(a_n|o_n) / pi_behaviour(a_n|o_n)
    advantage  A = generalised advantage estimation of the team's reward under V(s), the same for every agent
    actor      -mean over steps and agents  min(r_n A, clip(r_n, 1 - clip, 1 + clip) A) + entropy_weight H(pi(.|o_n))
    critic     mean over steps  max(huber(V(s) - y), huber(V_clipped(s) - y)),  y = A + V_behaviour(s), in units of the
               targets' running standard deviation (PopArt)

The critic sees what every agent sees and, where the environment has one, its state. An agent that is gone has one
legal action: its log-probability is 0, and so is its gradient. As in the authors' code: two optimisers, orthogonal
initialisation, Adam with epsilon 1e-5, advantages standardised; observations are normalised by running statistics
where theirs are by a layer. Where an environment does not say whose observation is whose, every choice of its action
is an agent that sees all. Time limits bootstrap. There is no recurrent form here.
Source: Yu et al. 2022, The Surprising Effectiveness of PPO in Cooperative Multi-Agent Games (2103.01955), section 3
and appendix A.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch

from actrix import credit
from actrix.actors.team import IndependentTeam
from actrix.critics.values import ScaledValue
from actrix.data.batches import Steps
from actrix.nets.normaliser import observer_of
from actrix.objectives import clipped, clipped_value, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import RolloutFeed
from actrix.run.learner import Learner, Losses
from actrix.run.settings import TeamRollouts
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(TeamRollouts):
    pass


@system("mappo", family="multi-agent", paper="2103.01955", acts=("multidiscrete", "multibinary"))
class MAPPO(Learner):
    feed = RolloutFeed
    actor: IndependentTeam

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.actor = IndependentTeam(spec, config.hidden)
        self.critic = ScaledValue(spec, config.hidden, config.value_rate)
        self.observer = observer_of(spec) if config.normalise_obs else None
        self.optimise(
            actor=(self.actor, Adam(config.actor_rate, epsilon=1e-5, clip_norm=config.clip_norm)),
            critic=(self.critic, Adam(config.critic_rate, epsilon=1e-5, clip_norm=config.clip_norm)),
        )

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        assert steps.next_obs is not None
        value, next_value = self.critic(torch.stack((steps.obs, steps.next_obs)))
        advantage, target = credit.gae(
            steps.reward, value, next_value, steps.terminated, steps.truncated,
            self.config.discount, self.config.decay, steps.action_mask,
        )  # fmt: skip
        self.critic.follow(target, steps.action_mask)
        return replace(steps, advantage=advantage, target=target)

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        config, mask = self.config, batch.action_mask
        assert batch.advantage is not None
        assert batch.target is not None
        advantage = credit.standardise(batch.advantage, mask) if config.normalise_advantage else batch.advantage
        logp, entropy = self.actor.evaluate(batch.obs, batch.action, batch.mask)
        per_step = clipped(logp, batch.logp_behaviour, advantage[..., None], config.clip).mean(-1)
        spread = reduce(entropy.mean(-1), mask, "token", batch.total)
        unit = self.critic.std
        value, target, gain = self.critic(batch.obs) / unit, batch.target / unit, batch.advantage / unit
        error = clipped_value(value, target, target - gain, config.value_clip, config.huber)
        change = (logp - batch.logp_behaviour).detach()
        return Losses(
            actor=reduce(per_step, mask, "token", batch.total) - config.entropy_weight * spread,
            critic=reduce(error, mask, "token", batch.total),
        ).note(entropy=spread, kl=reduce((change.exp() - 1 - change).mean(-1), mask, "token", batch.total))
