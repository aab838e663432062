"""Entropy mechanism: GRPO that holds back the few tokens which make a policy's entropy collapse.

A step of policy gradient on a softmax changes its entropy by minus the covariance of log-probability and advantage,
and a small share of tokens makes up most of it. Those are restrained; all others learn as they would.

    covariance  c_t = (log pi(token_t) - mean log pi) (A_t - mean A), means over all tokens of the round
    advantage   GRPO's: an answer's verdict, standardised within its group, shared by its tokens
    kl-cov      -r A + weight |log pi - log pi_behaviour| where c_t is among the `share` highest; -r A elsewhere
    clip-cov    0 for a `share` of the tokens, drawn from those with low < c_t < high;
                -min(r A, clip(r, 1 - clip, 1 + clip_high) A) elsewhere
    loss        mean over all tokens of a minibatch, restrained ones included; r = pi(token) / pi_behaviour(token)

The penalty of kl-cov acts from a round's second minibatch on: at the first the policy is the one that spoke. Tokens
are chosen once in a round, under the policy that spoke; the authors' code chooses anew in each minibatch, under the
one that learns. Prompts on whose answers all verdicts agree are kept (the paper draws others): they have no advantage,
but count in the means. Source: Cui et al. 2025, The Entropy Mechanism of Reinforcement Learning for Reasoning Language
Models (2505.22617), section 4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from actrix import credit
from actrix.data.batches import Steps
from actrix.objectives import clipped, moved, reduce, weighted
from actrix.registry import system
from actrix.run.answers import AnswersLearner
from actrix.run.learner import Losses
from actrix.run.options import choice
from actrix.run.settings import Clipped
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Clipped):
    minibatches: int = 8  # updates per pass over a round; groups are never split
    clip: float = 1.0  # clip-cov: how far below 1 the ratio may count
    clip_high: float = 1.0  # clip-cov: how far above 1
    restrain: str = "kl-cov"  # kl-cov (a penalty on the chosen tokens) or clip-cov (no gradient from them)
    share: float = 2e-3  # of a round's tokens that are chosen, at least one (the paper's clip-cov: 2e-4)
    weight: float = 1.0  # kl-cov: of the penalty, per nat that a chosen token's log-probability has moved
    low: float = 1.0  # clip-cov: a token can be chosen if its covariance is above this (nats)
    high: float = 5.0  # clip-cov: and below this
    choose: str = "covariance"  # covariance, or random: a control, in which any token can be chosen
    average: str = "token"  # token or sequence: what one gradient averages over first


@system("entropy-mechanism", family="language", paper="2505.22617", acts=("tokens",))
class EntropyMechanism(AnswersLearner):
    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        choice(config, "restrain", "kl-cov", "clip-cov")
        choice(config, "choose", "covariance", "random")

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        steps = super().prepare(steps)
        assert steps.advantage is not None
        config, mask = self.config, steps.action_mask
        found = credit.covariance(steps.logp_behaviour, steps.advantage, mask)
        drawn = torch.rand_like(found)
        count = (config.share * mask.sum()).floor().clamp(min=1)
        if config.choose == "random":
            chosen = credit.highest(drawn, mask, count)
        elif config.restrain == "kl-cov":
            chosen = credit.highest(found, mask, count)
        else:
            chosen = credit.highest(drawn, mask & (found > config.low) & (found < config.high), count)
        return replace(steps, chosen=chosen)

    def per_token(self, steps: Steps, logp: Tensor) -> Tensor:
        assert steps.advantage is not None
        assert steps.chosen is not None
        config, before = self.config, steps.logp_behaviour
        if config.restrain == "kl-cov":
            penalty = config.weight * moved(logp, before)
            return weighted(logp, before, steps.advantage) + torch.where(steps.chosen, penalty, 0.0)
        loss = clipped(logp, before, steps.advantage, config.clip, config.clip_high)
        return torch.where(steps.chosen, 0.0, loss)

    def objective(self, steps: Steps) -> Losses:
        assert steps.chosen is not None
        return super().objective(steps).note(chosen=reduce(steps.chosen.float(), steps.action_mask))
