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

from actrix import credit
from actrix.data.batches import Steps
from actrix.nets.targets import tracked
from actrix.objectives import clipped, kl_estimate, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.language import LanguageLearner, PromptFeed
from actrix.run.learner import Losses
from actrix.run.settings import Answers
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Answers):
    clip: float = 0.2  # how far below 1 the ratio may count
    clip_high: float = 0.28  # how far above 1
    kl: float = 0.0  # weight of the divergence from the warm-started policy; 0 keeps no reference
    entropy: float = 0.0  # weight of a token's surprise (-log pi_behaviour, nats) in its advantage: keeps exploring
    normalise: bool = True  # divide advantages by the group's standard deviation
    average: str = "token"  # token or sequence: what one gradient averages over first


@system("grpo", family="language", paper="2402.03300", acts=("tokens",))
class GRPO(LanguageLearner):
    feed = PromptFeed

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        self.reference = tracked(self.actor, 1.0) if config.kl else None
        self.optimise(actor=(self.actor, Adam(config.rate, betas=(0.9, 0.99), clip_norm=1.0)))

    def prepare(self, steps: Steps) -> Steps:
        score = steps.reward.sum(1)
        assert steps.group is not None
        advantage = credit.group(score, steps.group, self.config.normalise)
        per_token = advantage[:, None].expand_as(steps.reward)
        if self.config.entropy:
            mask = steps.action_mask
            surprise = -steps.logp_behaviour
            per_token = per_token + self.config.entropy * (surprise - surprise[mask].mean()) * mask
        return replace(steps, advantage=per_token)

    def objective(self, steps: Steps) -> Losses:
        assert steps.advantage is not None
        config = self.config
        logp = self.log_prob(steps)
        per_step = clipped(logp, steps.logp_behaviour, steps.advantage, config.clip, config.clip_high)
        if self.reference is not None:
            anchor = self.reference.copy.log_prob(steps.obs, steps.length, config.temperature)
            per_step = per_step + config.kl * kl_estimate(logp, anchor)
        denominator = steps.total if config.average == "token" else steps.rows
        losses = Losses(actor=reduce(per_step, steps.action_mask, config.average, denominator))
        return losses.note(entropy=reduce(-logp.detach(), steps.action_mask), score=steps.reward.sum(1).nanmean())
