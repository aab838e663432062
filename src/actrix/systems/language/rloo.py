"""RLOO: REINFORCE on whole answers, with the mean of the group's other answers as baseline.

An answer is one action. No ratios, no clipping, no value network; the divergence from the reference is part of the
reward.

    reward     R_i = s_i - kl (log pi_behaviour(y_i) - log pi_ref(y_i)), summed over the answer's tokens
    advantage  A_i = R_i - mean of R_j over the other answers to the same prompt
    loss       -mean over answers of A_i log pi(y_i)

The reference is the warm-started policy. Source: Ahmadian et al. 2024, Back to Basics (2402.14740), section 3.
With `minibatches` or `epochs` above 1 later gradients are off-policy by that much, uncorrected as in the paper's
estimator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from actrix import credit
from actrix.data.batches import Steps
from actrix.nets.targets import tracked
from actrix.objectives import policy_gradient, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.language import LanguageLearner, PromptFeed
from actrix.run.learner import Losses
from actrix.run.settings import Answers
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Answers):
    minibatches: int = 1  # updates per pass over a round; groups are never split
    kl: float = 0.0  # weight of the divergence from the warm-started policy, score per nat; 0 keeps no reference


@system("rloo", family="language", paper="2402.14740", acts=("tokens",))
class RLOO(LanguageLearner):
    feed = PromptFeed

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        self.reference = tracked(self.actor, 1.0) if config.kl else None
        self.optimise(actor=(self.actor, Adam(config.rate, betas=(0.9, 0.99), clip_norm=1.0)))

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        reward = steps.reward.sum(1)
        if self.reference is not None:
            anchor = self.reference.copy.log_prob(steps.obs, steps.length, self.config.temperature)
            reward = reward - self.config.kl * ((steps.logp_behaviour - anchor) * steps.action_mask).sum(1)
        assert steps.group is not None
        advantage = credit.group(reward, steps.group, leave_one_out=True)
        return replace(steps, advantage=advantage[:, None].expand_as(steps.reward))

    def objective(self, steps: Steps) -> Losses:
        assert steps.advantage is not None
        logp = self.log_prob(steps)
        # summed over an answer's tokens, averaged over answers
        loss = reduce(policy_gradient(logp, steps.advantage), steps.action_mask, "token", steps.rows)
        return Losses(actor=loss).note(
            entropy=reduce(-logp.detach(), steps.action_mask), score=steps.reward.sum(1).nanmean()
        )
