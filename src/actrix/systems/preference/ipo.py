"""IPO: a preference's probability, not its logit, as the target of the log-ratio.

    h(y, y')  = log pi(y)/pi(y') - log ref(y)/ref(y')
    loss      mean over pairs of (h(winner, loser) - 1 / (2 beta))^2

With the probability in the label's place (`labels=False`) the target is (P(y > y') - 1/2) / beta; a winner's is its
mean. Variants by where pairs come from (`online`):

    no         a fixed data set of the reference's answers, gone through again and again
    opponents  y, y' from the reference, compared with opponents from the policy: target
               (P(y > pi) - P(y' > pi)) / beta, which is online mirror descent
    pairs      y, y' from the policy itself, compared with each other

Source: Azar et al. 2023, A General Theoretical Paradigm to Understand Learning from Human Preferences (2310.12036);
online as in Calandriello et al. 2024 (2403.08635) and in the baselines of EGPO (2503.08942).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from actrix.data.batches import Pairs
from actrix.errors import ActrixError
from actrix.objectives import matched
from actrix.registry import system
from actrix.run.preference import PairFeed, PreferenceLearner, Source, difference
from actrix.run.settings import Comparisons
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Comparisons):
    dataset: int = 32  # batches of the fixed data set
    online: str = "no"  # no, opponents or pairs: see the head of this file
    opponents: int = 0  # completions of the policy per prompt that both sides are compared with
    labels: bool = True  # the oracle says yes or no, with its probability, instead of the probability
    exact: bool = False  # on a game: all pairs of answers and exact expectations (wants opponents)
    beta: float = 0.1  # weight of the divergence from the reference, win rate per nat
    inner: int = 1  # updates per round
    momentum: float = 0.9  # decay of Adam's first moment


@system("ipo", family="preference", paper="2310.12036", acts=("tokens",))
class IPO(PreferenceLearner):
    feed = PairFeed

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        if config.online not in ("no", "opponents", "pairs"):
            raise ActrixError(f"--online is no, opponents or pairs, not {config.online!r}", misuse=True)
        if (config.online == "opponents") != (config.opponents > 0):
            raise ActrixError("--online opponents wants --opponents above 0, and no other does", misuse=True)
        fixed = config.dataset if config.online == "no" else 0
        sampler = "actor" if config.online == "pairs" else "reference"
        self.source = Source(
            sampler, config.opponents, config.labels, config.inner, config.exact, fixed, ordered=config.labels
        )

    def per_pair(self, gap: Tensor, pairs: Pairs) -> Tensor:
        target = difference(pairs.logp_reference) + pairs.preference / self.config.beta
        return matched(gap, target)
