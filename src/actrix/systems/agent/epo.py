"""EPO: entropy-regularised policy optimisation, PPO for long conversations whose entropy is kept in a corridor.

All turns of a conversation share one policy, and only its end is paid for: the entropy may collapse before anything is
found, or swing. It is rewarded, and drawn back wherever it leaves a corridor around what it has been on average.

    actor      PPO - weight (H - beta_k S)
    H          entropy of each token's distribution, averaged over the tokens of a turn, the turns of a conversation,
               and the conversations
    S          penalty (max(low h - H_t, 0) + max(H_t - high h, 0)) of each token, averaged alike; 0 in the first round
    h          mean over all rounds before this one of the mean entropy of what was said in them
    beta_k     1 + exp(-fade k / (anneal / 2)) in round k = 0, 1, ...: the corridor is held harder at first
    advantage, critic    as in PPO on tokens: values of every prefix; discount and decay are 1

Source: Xu et al. 2025, EPO: Entropy-regularized Policy Optimization for LLM Agents Reinforcement Learning (2509.22576,
version 2), eq. 2 to 6 and algorithm 1. The authors' code, WujiangXu/EPO, does something else: S counts the tokens
outside of the corridor, which has no gradient, so that what it learns by is PPO with an entropy bonus; h is kept for
every turn; beta falls from 1 to 0. `smooth` "count" has that S, to look at. Their PPO has a further clip of the ratio
at 3 for unwanted tokens; GRPO, their other base, is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from actrix.data.batches import Steps
from actrix.objectives import by_turns, corridor, reduce
from actrix.registry import system
from actrix.run.learner import Losses
from actrix.run.options import choice
from actrix.run.settings import Valued
from actrix.run.valued import ValuedLearner
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Valued):
    prompts: int = 64  # prompts per round
    group: int = 1  # conversations per prompt
    decay: float = 1.0  # lambda of generalised advantage estimation
    weight: float = 1e-3  # of the entropy, per nat
    penalty: float = 0.1  # of a token's entropy outside of the corridor, per nat (and times weight)
    low: float = 0.0  # the corridor begins at so many times the mean entropy so far
    high: float = 2.0  # and ends at so many times it
    fade: float = 1.0  # how fast the corridor is held less hard: see beta_k
    anneal: int = 100  # rounds of training, by which beta_k is reckoned
    smooth: str = "distance"  # distance (from the corridor), or count (of tokens outside of it, which has no gradient)


@system("epo", family="agent", paper="2509.22576", acts=("tokens",))
class EPO(ValuedLearner):
    home: ClassVar[str] = "house"
    rounds: Tensor
    last: Tensor
    before: Tensor

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        choice(config, "smooth", "distance", "count")
        self.register_buffer("rounds", torch.zeros((), dtype=torch.float64))  # begun so far
        self.register_buffer("last", torch.zeros(()))  # mean entropy of this round's tokens
        self.register_buffer("before", torch.zeros(()))  # mean of those of the rounds before it

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        found = self.actor.score(steps.obs, steps.length, self.config.temperature)
        self.before += (self.last - self.before) / self.rounds.clamp(min=1)
        self.last.copy_(reduce(found.entropy_BL, steps.action_mask))
        self.rounds += 1
        return super().prepare(steps)

    def objective(self, steps: Steps) -> Losses:
        assert steps.segment is not None
        config = self.config
        found = self.actor.score(steps.obs, steps.length, config.temperature)
        losses = self.improved(steps, found.logp_BL)
        outside = corridor(found.entropy_BL, config.low * self.before, config.high * self.before)
        if config.smooth == "count":
            outside = (outside > 0).to(outside.dtype)
        beta = 1 + torch.exp(-config.fade * (self.rounds - 1) / max(config.anneal / 2, 1))
        beta = torch.where(self.rounds > 1, beta, 0.0).to(outside.dtype)
        weight = by_turns(steps.action_mask, steps.segment)
        entropy, strays = (
            reduce(each * weight, steps.action_mask, "token", steps.rows)
            for each in (found.entropy_BL, config.penalty * outside)
        )
        losses.groups["actor"] = losses.groups["actor"] - config.weight * (entropy - beta * strays)
        return losses.note(entropy=entropy, strays=strays, before=self.before)
