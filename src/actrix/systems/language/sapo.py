"""SAPO: soft adaptive policy optimisation, GRPO with a smooth gate where PPO clips.

A token that the policy has moved away from where it spoke counts the less, the further it has moved, in either
direction; none is cut off, and the others of its answer keep their signal.

    advantage   GRPO's: an answer's verdict, standardised within its group, shared by its tokens
    objective   -(4 / t) sigmoid(t (r - 1)) A per token, r = pi(token) / pi_behaviour(token);
                t = tau where A > 0, else tau_negative; averaged within each answer, then over answers
    gradient    -w r A d log pi, w = sech^2(t (r - 1) / 2): 1 at r = 1 for any t, 0.79 at r = 2 and 0.07 at 5 for t = 1

tau_negative above tau lets unwanted tokens fade sooner: to lower one logit raises all others of the vocabulary. At a
round's first minibatch, where r = 1, it is the plain policy gradient; the gate acts from the second on.
Source: Gao et al. 2025, Soft Adaptive Policy Optimization (2511.20347), eq. 5 to 8.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from actrix.data.batches import Steps
from actrix.errors import ActrixError
from actrix.objectives import gated
from actrix.registry import system
from actrix.run.answers import AnswersLearner
from actrix.run.settings import Answers
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Answers):
    minibatches: int = 4  # updates per pass over a round; groups are never split
    tau: float = 1.0  # how fast wanted tokens (A > 0) fade as their ratio leaves 1, per unit of it; above 0
    tau_negative: float = 1.05  # the same of unwanted tokens
    average: str = "sequence"  # token or sequence: what one gradient averages over first


@system("sapo", family="language", paper="2511.20347", acts=("tokens",))
class SAPO(AnswersLearner):
    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        if min(config.tau, config.tau_negative) <= 0:
            raise ActrixError("--tau and --tau-negative must be above 0", "at 1e-3 the gate is open", misuse=True)

    def per_token(self, steps: Steps, logp: Tensor) -> Tensor:
        assert steps.advantage is not None
        return gated(logp, steps.logp_behaviour, steps.advantage, self.config.tau, self.config.tau_negative)
