"""DPO: preferences as classification by the policy's own log-ratio.

    margin  m = log pi(chosen)/ref(chosen) - log pi(rejected)/ref(rejected)
    loss    mean over pairs of -log sigmoid(beta m)

Its optimum is the KL-regularised optimum of a Bradley-Terry reward: where preferences go in a circle there is no such
reward. By default the data set is fixed, and comes from the reference; `online=True` asks about the policy's own
answers instead (online DPO), and a `dataset` of 0 about fresh answers of the reference.
Source: Rafailov et al. 2023, Direct Preference Optimization (2305.18290), eq. 7; online: Guo et al. 2024 (2402.04792).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from actrix.data.batches import Pairs
from actrix.objectives import preferred
from actrix.registry import system
from actrix.run.preference import PairFeed, PreferenceLearner, Source, difference
from actrix.run.settings import Comparisons
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Comparisons):
    dataset: int = 32  # batches of the fixed data set
    online: bool = False  # pairs from the policy itself, fresh ones every round
    labels: bool = True  # the oracle draws the winner with its probability; False: the likelier one wins
    beta: float = 0.1  # inverse scale of the implicit reward, per nat
    smoothing: float = 0.0  # share of labels taken to be wrong
    momentum: float = 0.9  # decay of Adam's first moment


@system("dpo", family="preference", paper="2305.18290", acts=("tokens",))
class DPO(PreferenceLearner):
    feed = PairFeed

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        fixed = 0 if config.online else config.dataset
        self.source = Source("actor" if config.online else "reference", 0, config.labels, dataset=fixed, ordered=True)

    def per_pair(self, gap: Tensor, pairs: Pairs) -> Tensor:
        margin = gap - difference(pairs.logp_reference)
        return preferred(margin, self.config.beta, self.config.smoothing)
