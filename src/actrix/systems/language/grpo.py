"""GRPO: group relative policy optimisation, PPO's clipped objective without a value network.

For every prompt a group of answers is sampled and verified; an answer's advantage is its score against its
group's, shared by all its tokens.

    advantage   A_i = (s_i - mean(s)) / (std(s) + 1e-6) within the group (or s_i - mean(s): `normalise` off)
    objective   -min(r A, clip(r, 1 - clip, 1 + clip_high) A) per token, r = pi(token) / pi_behaviour(token)
                + kl (exp(d) - d - 1), d = log pi_ref - log pi, where kl > 0; averaged over all tokens of the batch
    warm start  supervised on demonstrations, before the first round

Source: Shao et al. 2024, DeepSeekMath (2402.03300), eq. 3 and 4. Averaging over tokens rather than within answers
first is DAPO's (2503.14476); `average="sequence"` is the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from actrix import credit
from actrix.data.batches import Steps
from actrix.nets.targets import tracked
from actrix.objectives import clipped, kl_estimate
from actrix.registry import system
from actrix.run.answers import AnswersLearner
from actrix.run.settings import Clipped
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Clipped):
    rate: float = 1e-4  # Adam learning rate
    kl: float = 0.0  # weight of the divergence from the warm-started policy; 0 keeps no reference
    entropy: float = 0.0  # weight of a token's surprise (-log pi_behaviour, nats) in its advantage: keeps exploring
    normalise: bool = True  # divide advantages by the group's standard deviation
    average: str = "token"  # token or sequence: what one gradient averages over first


@system("grpo", family="language", paper="2402.03300", acts=("tokens",))
class GRPO(AnswersLearner):
    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        self.reference = tracked(self.actor, 1.0) if config.kl else None

    def worth(self, steps: Steps) -> Tensor:
        assert steps.group is not None
        return credit.group(steps.reward.sum(1), steps.group, scale="group" if self.config.normalise else "none")

    def prepare(self, steps: Steps) -> Steps:
        steps = super().prepare(steps)
        if not self.config.entropy:
            return steps
        assert steps.advantage is not None
        mask, surprise = steps.action_mask, -steps.logp_behaviour
        bonus = self.config.entropy * (surprise - surprise[mask].mean()) * mask
        return replace(steps, advantage=steps.advantage + bonus)

    def per_token(self, steps: Steps, logp: Tensor) -> Tensor:
        assert steps.advantage is not None
        config = self.config
        loss = clipped(logp, steps.logp_behaviour, steps.advantage, config.clip, config.clip_high)
        if self.reference is None:
            return loss
        anchor = self.reference.copy.log_prob(steps.obs, steps.length, config.temperature)
        return loss + config.kl * kl_estimate(logp, anchor)
