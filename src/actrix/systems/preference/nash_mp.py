"""Nash-MP: mirror prox for preferences, two proximal steps from the same point.

    game      max_pi min_pi'  P(pi > pi') - beta KL(pi || ref) + beta KL(pi' || ref)
    half      pi_half = argmin_pi P(pi_k > pi) / beta + KL(pi || ref) + KL(pi || pi_k) / eta
    full      pi_k+1  = argmin_pi P(pi_half > pi) / beta + KL(pi || ref) + KL(pi || pi_k) / eta      from pi_k again
    solution  log pi(y) = (log pi_k(y) / eta + log ref(y) + P(y > mu) / beta) / (1 + 1 / eta) - log Z
    loss      mean over y, y' of (log pi(y)/pi(y') - the same difference of the solution)^2, `inner` steps each

With y, y' drawn from the policy itself the loss has the gradient, up to a constant, of REINFORCE with a leave-one-out
baseline on the reward P(y > y'') - beta log(pi/ref) - (beta/eta) log(pi/pi_k): the policy-gradient solver of the
paper. On a table with all pairs (`--exact`) one plain step of rate n / 4 is the solution itself.
One round is one pair of steps. `prox=False` takes one step only: mirror descent.
Source: Accelerating Nash Learning from Human Feedback via Mirror Prox (2505.19731), algorithm 1. The language recipe
here (restart from pi_k, Adam, sizes) is ours.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from actrix.data.batches import Pairs
from actrix.nets.targets import tracked
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
    beta: float = 0.05  # weight of the divergence from the reference, win rate per nat
    eta: float = 0.1  # size of a proximal step; 2 beta gives the published rate
    prox: bool = True  # look ahead before each step; False: mirror descent
    inner: int = 4  # updates that solve one proximal step
    anchor_rate: float = 1.0  # how far pi_k moves to the policy in each round; below 1: a moving average


@system("nash-mp", family="preference", paper="2505.19731", acts=("tokens",))
class NashMP(PreferenceLearner):
    feed = PairFeed

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        self.source = Source("actor", config.opponents, config.labels, config.inner, config.exact)
        self.stages = ("half", "full") if config.prox else ("full",)
        self.anchor = tracked(self.actor, config.anchor_rate)
        self.start = Snapshot(self.optimiser, "actor")

    def begin(self, stage: Hashable) -> None:
        assert self.anchor is not None
        if stage == self.stages[0]:
            self.start.take()
            self.anchor.follow()
        else:
            self.start.restore()

    def per_pair(self, gap: Tensor, pairs: Pairs) -> Tensor:
        near = 1 / self.config.eta
        target = near * difference(pairs.logp_anchor) + difference(pairs.logp_reference)
        target = (target + pairs.preference / self.config.beta) / (1 + near)
        return matched(gap, target)
