"""Policy gradients on groups of answers: what GRPO and its relatives share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from actrix import credit
from actrix.data.batches import Steps
from actrix.objectives import reduce
from actrix.optim import Adam
from actrix.run.language import LanguageLearner, PromptFeed
from actrix.run.learner import Losses
from actrix.run.options import choice
from actrix.spec import TokenSpec


class AnswersLearner(LanguageLearner):
    """Base of systems that weigh every answer against others, and share its advantage among its tokens.

    A subclass gives `per_token`, and where they are not GRPO's `worth` and `averaged`. The config gives what
    `settings.Answers` holds and, for `averaged`, average.
    """

    feed = PromptFeed

    def __init__(self, spec: TokenSpec, config: Any) -> None:
        super().__init__(spec, config)
        choice(config, "average", "token", "sequence")
        self.optimise(actor=(self.actor, Adam(config.rate, betas=(0.9, 0.99), clip_norm=1.0)))

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        return replace(steps, advantage=self.worth(steps)[:, None].expand_as(steps.reward))

    def worth(self, steps: Steps) -> Tensor:
        """Advantage [B] of each answer: its verdict, standardised within its group."""
        assert steps.group is not None
        return credit.group(steps.reward.sum(1), steps.group)

    def objective(self, steps: Steps) -> Losses:
        logp = self.log_prob(steps)
        losses = Losses(actor=self.averaged(self.per_token(steps, logp), steps))
        return losses.note(entropy=reduce(-logp.detach(), steps.action_mask), score=steps.reward.sum(1).nanmean())

    def per_token(self, steps: Steps, logp: Tensor) -> Tensor:
        """Loss [B, T] of every token, whose log-probability is now logp [B, T]."""
        raise NotImplementedError

    def averaged(self, per_token: Tensor, steps: Steps) -> Tensor:
        """Over all tokens ("token"), or within each answer and then over answers ("sequence")."""
        average = self.config.average
        return reduce(per_token, steps.action_mask, average, steps.total if average == "token" else steps.rows)
