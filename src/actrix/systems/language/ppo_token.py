"""PPO on tokens: the clipped objective with a value of every prefix, as in learning from human feedback.

One token is one action. A second network of the actor's shape, which starts from the warm-started weights, values
the text so far; the verdict on an answer is the reward of its last token.

    advantage  A_t = sum_k (discount decay)^k d_{t+k} over the answer's tokens, d_t = r_t + discount V_{t+1} - V_t
               the verdict is final, also on an answer that was cut off at its longest: nothing follows the last token
    actor      -mean min(r A, clip(r, 1 - clip, 1 + clip_high) A),  r = pi(token) / pi_behaviour(token)
    critic     mean 0.5 (V_t - (A_t + V_behaviour,t))^2

Advantages are standardised over the round's tokens. Source: Schulman et al. 2017 (1707.06347), eq. 7 and 11; on
language as in Ouyang et al. 2022, InstructGPT (2203.02155), without its divergence penalty.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from actrix import credit
from actrix.critics.tokens import TokenValue
from actrix.data.batches import Steps
from actrix.language.convert import make_model
from actrix.objectives import clipped, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.language import LanguageLearner, PromptFeed
from actrix.run.learner import Losses
from actrix.run.settings import Answers
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Answers):
    model: str = "tiny"  # micro, tiny, small or medium (our transformer, from scratch), or hf:PATH; critic too
    minibatches: int = 2  # updates per pass over a round
    rate: float = 2e-4  # Adam learning rate of the actor
    critic_rate: float = 5e-4  # Adam learning rate of the critic
    discount: float = 1.0  # per token
    decay: float = 0.95  # lambda of generalised advantage estimation
    clip: float = 0.2  # how far below 1 the ratio may count
    clip_high: float = 0.2  # how far above 1


@system("ppo-token", family="language", paper="1707.06347", acts=("tokens",))
class PPOToken(LanguageLearner):
    feed = PromptFeed

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        self.critic = TokenValue(make_model(config.model, spec.vocab, spec.context))
        self.optimise(
            actor=(self.actor, Adam(config.rate, betas=(0.9, 0.99), clip_norm=1.0)),
            critic=(self.critic, Adam(config.critic_rate, betas=(0.9, 0.99), clip_norm=1.0)),
        )

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        judged = steps.reward.isfinite().all(1)  # an answer without a verdict teaches nothing
        reward, mask = torch.nan_to_num(steps.reward), steps.action_mask & judged[:, None]
        value = self.critic(steps.obs)
        ended = steps.terminated | steps.truncated
        advantage, target = credit.gae(
            reward, value, F.pad(value[:, 1:], (0, 1)), ended, torch.zeros_like(ended),
            self.config.discount, self.config.decay, mask,
        )  # fmt: skip
        advantage = credit.standardise(advantage, mask) * mask
        return replace(steps, reward=reward, action_mask=mask, advantage=advantage, target=target)

    def objective(self, steps: Steps) -> Losses:
        assert steps.advantage is not None
        assert steps.target is not None
        mask, logp = steps.action_mask, self.log_prob(steps)
        per_step = clipped(logp, steps.logp_behaviour, steps.advantage, self.config.clip, self.config.clip_high)
        error = 0.5 * (self.critic(steps.obs) - steps.target).square()
        return Losses(
            actor=reduce(per_step, mask, "token", steps.total), critic=reduce(error, mask, "token", steps.total)
        ).note(entropy=reduce(-logp.detach(), mask), score=steps.reward.sum(1).mean())

    def after_step(self, phase: Hashable = None) -> None:
        if phase == "imitate":
            self.critic.copy(self.actor)
