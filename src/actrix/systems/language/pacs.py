"""PACS: learning from verdicts as classification, actor and critic in one set of weights.

The policy's own log-ratio scores each answer, and is trained by cross-entropy to say whether the answer is right.

    score   r_i = beta sum_t (log pi(token_t) - log pi_behaviour(token_t)) over the answer's tokens
            or, with proxy "mean", r_i = beta mean_t log pi(token_t): no policy before (an option of the authors' code)
            psi_i = r_i - mean of r_j over the other answers to the same prompt; the gradient passes through all r_j
    loss    mean_i w_i BCE(sigmoid(psi_i), R_i),  R_i = 1 if the answer is right in every respect, else 0
            w_i = G / (2 number of the group's answers with the label R_i); 1 where all labels of a group agree

Its gradient is mean_i w_i (sigmoid(psi_i) - R_i) d psi_i: RLOO on the reward R - 1/2 at the first minibatch of a
round, where psi = 0, and less the better psi fits R, which stands in for clipping. A group must be whole.
Source: Li et al. 2025, Implicit Actor Critic Coupling via a Supervised Learning Framework for RLVR (2509.02522).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from actrix import credit
from actrix.data.batches import Steps
from actrix.objectives import coupled, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.language import LanguageLearner, PromptFeed
from actrix.run.learner import Losses
from actrix.run.options import choice
from actrix.run.settings import Answers
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Answers):
    minibatches: int = 4  # updates per pass over a round; groups are never split
    beta: float = 1.0  # scale of the score: logits per nat of log-ratio (less for long answers, which saturate it)
    proxy: str = "ratio"  # of the reward: ratio (summed log-ratio, the paper), or mean (mean log pi, the code's other)
    leave_one_out: bool = True  # subtract the mean score of the group's others; False: psi = r


@system("pacs", family="language", paper="2509.02522", acts=("tokens",))
class PACS(LanguageLearner):
    feed = PromptFeed

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        choice(config, "proxy", "ratio", "mean")
        self.optimise(actor=(self.actor, Adam(config.rate, betas=(0.9, 0.99), clip_norm=1.0)))

    def objective(self, steps: Steps) -> Losses:
        mask, logp = steps.action_mask, self.log_prob(steps)
        score, label = self.score(steps, logp), right(steps)
        assert steps.group is not None
        per_row = coupled(score, label, steps.group)
        losses = Losses(actor=reduce(per_row[:, None], mask.any(1)[:, None], "token", steps.rows))
        return losses.note(
            entropy=reduce(-logp.detach(), mask), score=steps.reward.sum(1).nanmean(), largest=score.abs().max()
        )

    def score(self, steps: Steps, logp: Tensor) -> Tensor:
        """psi [B] of each answer, differentiable in all log-probabilities [B, T] of its group."""
        assert steps.group is not None
        mask = steps.action_mask
        if self.config.proxy == "mean":
            proxy = self.config.beta * (logp * mask).sum(1) / mask.sum(1).clamp(min=1)
        else:
            proxy = self.config.beta * ((logp - steps.logp_behaviour) * mask).sum(1)
        if not self.config.leave_one_out:
            return proxy
        judged = torch.where(right(steps).isfinite(), proxy, torch.full_like(proxy, torch.nan))
        return credit.group(judged, steps.group, "others", "none")


def right(steps: Steps) -> Tensor:
    """Labels [B]: 1 where the verdict is full, 0 where it is less, NaN where there is none."""
    score = steps.reward.sum(1)
    return torch.where(score.isfinite(), (score > 1 - 1e-4).to(score.dtype), score)
