"""PPO on tokens: what methods with a value of every prefix share."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from actrix import credit
from actrix.critics.tokens import TokenValue
from actrix.data.batches import Steps
from actrix.language.convert import make_model
from actrix.nets.targets import assign
from actrix.objectives import clipped, reduce
from actrix.optim import Adam
from actrix.run.language import LanguageLearner, PromptFeed
from actrix.run.learner import Losses
from actrix.spec import TokenSpec


class ValuedLearner(LanguageLearner):
    """Base of systems with an actor, and a critic of the actor's shape that values the text so far.

    advantage  A_t = sum_k (discount decay)^k d_{t+k} over the answer's tokens, d_t = r_t + discount V_{t+1} - V_t;
               nothing follows the last token, also where an answer was cut off at its longest
    actor      -mean min(r A, clip(r, 1 - clip, 1 + clip_high) A),  r = pi(token) / pi_behaviour(token)
    critic     mean 0.5 (V_t - (A_t + V_behaviour,t))^2

    Advantages are standardised over the round's tokens. A subclass may say in `paid` what tokens earn, if not the
    verdict at the end, and in `discounts` what follows them counts. The config gives what `settings.Valued` holds.
    """

    feed = PromptFeed

    def __init__(self, spec: TokenSpec, config: Any) -> None:
        super().__init__(spec, config)
        self.critic = TokenValue(make_model(config.model, spec.vocab, spec.context))
        self.optimise()

    def optimise(self, **groups: Any) -> None:
        """Actor, critic, and what a subclass has besides."""
        config = self.config
        super().optimise(
            actor=(self.actor, Adam(config.rate, betas=(0.9, 0.99), clip_norm=1.0)),
            critic=(self.critic, Adam(config.critic_rate, betas=(0.9, 0.99), clip_norm=1.0)),
            **groups,
        )

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        judged = steps.reward.isfinite().all(1)  # an answer without a verdict teaches nothing
        steps = replace(steps, reward=torch.nan_to_num(steps.reward))
        reward, mask = self.paid(steps), steps.action_mask & judged[:, None]
        value = self.critic(steps.obs)
        ended = steps.terminated | steps.truncated
        advantage, target = credit.gae(
            reward, value, F.pad(value[:, 1:], (0, 1)), ended, torch.zeros_like(ended),
            self.discounts(steps), self.config.decay, mask,
        )  # fmt: skip
        advantage = credit.standardise(advantage, mask) * mask
        return replace(steps, reward=reward, action_mask=mask, advantage=advantage, target=target)

    def discounts(self, steps: Steps) -> float | Tensor:
        """Of what follows a token: one number, or [B, T]."""
        discount: float = self.config.discount
        return discount

    def objective(self, steps: Steps) -> Losses:
        return self.improved(steps, self.log_prob(steps))

    def improved(self, steps: Steps, logp: Tensor) -> Losses:
        """The losses of actor and critic, where the tokens' log-probabilities are now logp [B, T]."""
        assert steps.advantage is not None
        assert steps.target is not None
        mask = steps.action_mask
        per_step = clipped(logp, steps.logp_behaviour, steps.advantage, self.config.clip, self.config.clip_high)
        error = 0.5 * (self.critic(steps.obs) - steps.target).square()
        return Losses(
            actor=reduce(per_step, mask, "token", steps.total), critic=reduce(error, mask, "token", steps.total)
        ).note(entropy=reduce(-logp.detach(), mask), score=steps.reward.sum(1).mean())

    def after_step(self, phase: Hashable = None) -> None:
        super().after_step(phase)
        if phase == "imitate":
            assign(self.critic.reader, self.actor)
