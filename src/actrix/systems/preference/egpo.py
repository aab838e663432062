"""EGPO: extragradient preference optimisation, the last iterate of which finds the Nash policy.

Preferences need not be transitive: what is sought is the policy that no other is preferred to, in the game

    max_pi min_pi'  P(pi > pi') - beta KL(pi || ref) + beta KL(pi' || ref)

    loss   L(theta; mu) = mean over y, y' of (log pi(y)/pi(y') - log ref(y)/ref(y') - (P(y > mu) - P(y' > mu)) / beta)^2
    half   theta_half = theta - rate grad L(theta; mu = pi_theta)
    full   theta     <- theta - rate grad L(theta; mu = pi_theta_half)        back at theta, moments included

y and y' come from the reference (any distribution that covers all answers will do), opponents from mu; none of the
sampling is differentiated. With plain steps on a table and all pairs (`--exact`) a step is the tabular update
theta <- (1 - eta beta) theta + eta beta theta_ref + eta P(. > mu), eta beta = 4 rate / number of answers.
One round is one pair of steps. `extragradient=False` steps once: online IPO, that is online mirror descent.
Source: Zhou et al. 2025, Extragradient Preference Optimization (2503.08942), section 4.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from actrix.data.batches import Pairs
from actrix.objectives import matched
from actrix.optim import Snapshot
from actrix.registry import system
from actrix.run.preference import PairFeed, PreferenceLearner, Source, difference
from actrix.run.settings import Comparisons
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Comparisons):
    opponents: int = 2  # completions per prompt that both sides are compared with
    labels: bool = False  # the oracle says yes or no, with its probability, instead of the probability
    exact: bool = False  # on a game: all pairs of answers and exact expectations instead of samples
    beta: float = 0.1  # weight of the divergence from the reference, win rate per nat
    extragradient: bool = True  # look ahead before each step; False: online mirror descent
    inner: int = 1  # updates per step


@system("egpo", family="preference", paper="2503.08942", acts=("tokens",))
class EGPO(PreferenceLearner):
    feed = PairFeed

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        self.source = Source("reference", config.opponents, config.labels, config.inner, config.exact)
        self.stages = ("half", "full") if config.extragradient else ("full",)
        self.start = Snapshot(self.optimiser, "actor")

    def begin(self, stage: Hashable) -> None:
        if stage == "half":
            self.start.take()
        elif self.config.extragradient:
            self.start.restore()

    def per_pair(self, gap: Tensor, pairs: Pairs) -> Tensor:
        target = difference(pairs.logp_reference) + pairs.preference / self.config.beta
        return matched(gap, target)
