"""Lite PPO: PPO on tokens without a critic and with two tricks only, which a study of many found to be enough.

    advantage   A_i = (s_i - mean of the answers to its prompt) / (std of all verdicts of the round + 1e-6)
    objective   -min(r A, clip(r, 1 - clip, 1 + clip_high) A) per token, r = pi(token) / pi_behaviour(token)
    loss        mean over all tokens of a minibatch, so that an answer weighs by its length

Where nearly all answers to a prompt agree, their own standard deviation is close to nothing, and to divide by it, as
GRPO does, makes the smallest difference as large as any. That of the round stays what it is. `centre`, `scale`,
`average` and `clip_high` are the choices that the study compares. Source: Liu et al. 2025, Part I: Tricks or Traps? A
Deep Dive into RL for LLM Reasoning (2508.08221), section 5; the standard deviation is of the verdicts as they are, not
of those already centred.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from actrix import credit
from actrix.data.batches import Steps
from actrix.objectives import clipped
from actrix.registry import system
from actrix.run.answers import AnswersLearner
from actrix.run.options import choice
from actrix.run.settings import Clipped
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Clipped):
    clip_high: float = 0.2  # how far above 1
    centre: str = "group"  # what a verdict is compared with: the mean of its group, of the others in it, of the batch
    scale: str = "batch"  # standard deviation that it is divided by: of all verdicts (batch), of its group, or none
    average: str = "token"  # token or sequence: what one gradient averages over first


@system("lite-ppo", family="language", paper="2508.08221", acts=("tokens",))
class LitePPO(AnswersLearner):
    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        choice(config, "centre", "group", "others", "batch", "none")
        own = config.centre in ("group", "others")  # the spread of a group is without meaning around another mean
        choice(config, "scale", "batch", "none", *(["group"] if own else []))

    def worth(self, steps: Steps) -> Tensor:
        assert steps.group is not None
        return credit.group(steps.reward.sum(1), steps.group, self.config.centre, self.config.scale)

    def per_token(self, steps: Steps, logp: Tensor) -> Tensor:
        assert steps.advantage is not None
        return clipped(logp, steps.logp_behaviour, steps.advantage, self.config.clip, self.config.clip_high)
