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

from dataclasses import dataclass

from torch import Tensor

from actrix import credit
from actrix.data.batches import Steps
from actrix.nets.targets import tracked
from actrix.objectives import policy_gradient, reduce
from actrix.registry import system
from actrix.run.answers import AnswersLearner
from actrix.run.settings import Answers
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Answers):
    minibatches: int = 1  # updates per pass over a round; groups are never split
    kl: float = 0.0  # weight of the divergence from the warm-started policy, score per nat; 0 keeps no reference


@system("rloo", family="language", paper="2402.14740", acts=("tokens",))
class RLOO(AnswersLearner):
    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        self.reference = tracked(self.actor, 1.0) if config.kl else None

    def worth(self, steps: Steps) -> Tensor:
        reward = steps.reward.sum(1)
        if self.reference is not None:
            anchor = self.reference.copy.log_prob(steps.obs, steps.length, self.config.temperature)
            reward = reward - self.config.kl * ((steps.logp_behaviour - anchor) * steps.action_mask).sum(1)
        assert steps.group is not None
        return credit.group(reward, steps.group, "others", "none")

    def per_token(self, steps: Steps, logp: Tensor) -> Tensor:
        assert steps.advantage is not None
        return policy_gradient(logp, steps.advantage)

    def averaged(self, per_token: Tensor, steps: Steps) -> Tensor:
        """Summed over an answer's tokens, averaged over answers."""
        return reduce(per_token, steps.action_mask, "token", steps.rows)
