"""INPO: iterative Nash policy optimisation, no-regret self-play as regression on preference pairs.

    game       max_pi min_pi'  P(pi > pi') - tau KL(pi || ref) + tau KL(pi' || ref)
    iteration  pi_t+1(y) proportional to exp(P(y > pi_t) / eta) ref(y)^(tau/eta) pi_t(y)^(1 - tau/eta)
    h(y, y')   = log pi(y)/pi(y') - (tau/eta) log ref(y)/ref(y') - (1 - tau/eta) log pi_t(y)/pi_t(y')
    loss       mean over y, y' ~ pi_t of (h(winner, loser) - 1 / (2 eta))^2, winners as the oracle says

pi_t is frozen within an iteration, which is one round of `inner` updates. Winners drawn with the oracle's
probability give the loss the same minimiser as the exact iteration; so does the probability itself (`labels=False`:
target (P(y > y') - 1/2) / eta), with less noise, and so do opponents other than the two sides (`opponents` above 0).
Pairs are independent samples; the published recipe's best and worst of eight, a heuristic, is not here.
`eta` is an inverse step: 7.5e-3 in the paper, whose answers are long; short ones want about 1.
Source: Zhang et al. 2024, Iterative Nash Policy Optimization (2407.00617).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from actrix.data.batches import Pairs
from actrix.errors import ActrixError
from actrix.nets.targets import tracked
from actrix.objectives import matched
from actrix.registry import system
from actrix.run.preference import PairFeed, PreferenceLearner, Source, difference
from actrix.run.settings import Comparisons
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Comparisons):
    opponents: int = 0  # completions per prompt that both sides are compared with; 0: with each other
    labels: bool = True  # the oracle says yes or no, with its probability, instead of the probability
    exact: bool = False  # on a game: all pairs of answers and exact expectations (wants opponents)
    eta: float = 1.0  # inverse step size of an iteration
    tau: float = 1 / 3  # weight of the divergence from the reference, win rate per nat; at most eta
    inner: int = 30  # updates per iteration


@system("inpo", family="preference", paper="2407.00617", acts=("tokens",))
class INPO(PreferenceLearner):
    feed = PairFeed

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        self.source = Source("anchor", config.opponents, config.labels, config.inner, config.exact)
        if not 0 <= config.tau <= config.eta or not config.eta:
            raise ActrixError(f"--tau must be from 0 to --eta, not {config.tau} with {config.eta}", misuse=True)
        self.anchor = tracked(self.actor, 1.0)

    def begin(self, stage: Hashable) -> None:
        assert self.anchor is not None
        self.anchor.follow()

    def per_pair(self, gap: Tensor, pairs: Pairs) -> Tensor:
        share = self.config.tau / self.config.eta
        target = share * difference(pairs.logp_reference) + (1 - share) * difference(pairs.logp_anchor)
        target = target + pairs.preference / self.config.eta
        return matched(gap, target)
