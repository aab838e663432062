"""D3S: dynamic dual-level down-sampling, GRPO that answers much and learns from little of it.

Of the answers of a round those are learned from whose advantages differ most, and of their tokens those where the
policy is in doubt and much is at stake. It begins with few of either, and takes more and more.

    advantage   GRPO's, over all answers of a group: A_i = (s_i - mean) / (std + 1e-6)
    answers     in each group the `samples` G of largest Var(A), then of all these the share `across` of largest Var(A):
                groups whose answers are all right or all wrong drop out (A is not normalised again)
    tokens      of those answers the share `tokens` with the largest |A_i| H_it, H the entropy of the policy that spoke
    schedule    samples and tokens go from their first to their last values in a straight line, in `anneal` rounds
    loss        mean over these tokens of -min(r A, clip(r, 1 - clip, 1 + clip_high) A), r = pi / pi_behaviour

The subset of a given size with the largest variance is some of the smallest and some of the largest values; every such
split is tried, so it is the exact one. The gradient is not corrected for what is left out: it is not that of the mean
reward. The paper's D3S-I is `across` 1. What it says of the shares is not known to us: the defaults are our own. Its
other base, GSPO's ratio of whole answers, is not here.

Source: Wang et al. 2025, Learning More with Less: A Dynamic Dual-Level Down-Sampling Framework for Efficient Policy
Optimization (2509.22115), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from actrix import credit
from actrix.data.batches import Steps
from actrix.errors import ActrixError
from actrix.objectives import clipped
from actrix.registry import system
from actrix.run.answers import AnswersLearner
from actrix.run.settings import Clipped
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Clipped):
    prompts: int = 32  # prompts per round
    group: int = 16  # answers per prompt
    clip_high: float = 0.2  # how far above 1
    samples_first: float = 0.5  # share of a group's answers that it keeps, in the first round
    samples_last: float = 0.75  # ... when `anneal` rounds have passed
    across: float = 0.5  # share of the kept answers that are kept when all groups are looked at; 1 keeps them
    tokens_first: float = 0.5  # share of the kept answers' tokens that are learned from, in the first round
    tokens_last: float = 1.0  # ... when `anneal` rounds have passed
    anneal: int = 100  # rounds from the first shares to the last
    average: str = "token"  # token or sequence: what one gradient averages over first


@system("d3s", family="language", paper="2509.22115", acts=("tokens",))
class D3S(AnswersLearner):
    selects = True
    rounds: Tensor

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        for name in ("samples_first", "samples_last", "across", "tokens_first", "tokens_last"):
            if not 0 < getattr(config, name) <= 1:
                flag = "--" + name.replace("_", "-")
                raise ActrixError(f"{flag} is a share, above 0 and at most 1, not {getattr(config, name)}", misuse=True)
        self.register_buffer("rounds", torch.zeros((), dtype=torch.float64))  # so far

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        steps = super().prepare(steps)
        answers = self.kept_answers(self.worth(steps), steps.reward.sum(1).isfinite())
        tokens = self.kept_tokens(steps, steps.action_mask & answers[:, None])
        self.rounds += 1
        return replace(steps, action_mask=tokens)

    def kept_answers(self, advantage: Tensor, judged: Tensor) -> Tensor:
        """Which answers are learned from: [B] bool. Those without a verdict are not."""
        size = (-1, self.config.group)
        count = (self.share("samples") * self.config.group).ceil()
        kept = credit.widest(advantage.view(size), judged.view(size), count).flatten()
        return credit.widest(advantage, kept, (self.config.across * kept.sum()).ceil())

    def kept_tokens(self, steps: Steps, mask: Tensor) -> Tensor:
        """Which of the tokens [B, T] in the mask are learned from: [B, T] bool."""
        assert steps.advantage is not None
        assert steps.length is not None
        rows, doubt = mask.any(1), torch.zeros_like(steps.advantage)
        found = self.actor.score(steps.obs[rows], steps.length[rows], self.config.temperature)
        doubt[rows] = found.entropy_BL
        return credit.highest(steps.advantage.abs() * doubt, mask, (self.share("tokens") * mask.sum()).ceil())

    def share(self, name: str) -> Tensor:
        """Where the schedule stands: []."""
        first, last = (getattr(self.config, f"{name}_{end}") for end in ("first", "last"))
        return first + (last - first) * (self.rounds / max(self.config.anneal, 1)).clamp(max=1)

    def per_token(self, steps: Steps, logp: Tensor) -> Tensor:
        assert steps.advantage is not None
        return clipped(logp, steps.logp_behaviour, steps.advantage, self.config.clip, self.config.clip_high)
