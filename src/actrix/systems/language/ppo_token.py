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

from dataclasses import dataclass

from actrix.registry import system
from actrix.run.settings import Valued
from actrix.run.valued import ValuedLearner


@dataclass(frozen=True)
class Config(Valued):
    pass


@system("ppo-token", family="language", paper="1707.06347", acts=("tokens",))
class PPOToken(ValuedLearner):
    """All of it is what token-level methods share."""
