"""TD3+BC: TD3 whose actor is also held to what was done.

One term added to TD3, and nothing else, makes it learn from recorded data: the actor's distance from the data's
action. The critic's value is divided by its own mean size, so that the weight of the two does not depend on the
scale of the rewards. Observations are normalised by the data's mean and standard deviation.

    actor   -mean lambda Q_1(s, mu(s)) + mean (mu(s) - a)^2,  lambda = weight / mean |Q_1(s, mu(s))|
    critic  sum_i mean 0.5 (Q_i(s, a) - y)^2
    target  y = r + discount (1 - terminated) min_i Q'_i(s', a'),  a' = clip(mu'(s') + clip(e, -c, c), -1, 1)

The actor moves at every `delay`-th update. All groups that move in an update take their gradients at the same
parameters. Source: Fujimoto & Gu 2021, A Minimalist Approach to Offline Reinforcement Learning (2106.06860).
"""

from __future__ import annotations

from dataclasses import dataclass

from actrix.registry import system
from actrix.run.held import HeldLearner
from actrix.run.settings import Held


@dataclass(frozen=True)
class Config(Held):
    pass


@system("td3-bc", family="offline", paper="2106.06860", acts=("box",))
class TD3BC(HeldLearner):
    pass
