"""The plain stochastic actor that fits an action space."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import Gaussian
from actrix.spec import Choices, Spec


def stochastic(
    spec: Spec,
    hidden: Sequence[int] = (),
    log_std: float = 0.0,
    activation: str = "tanh",
    bounded: bool = False,
    net: nn.Module | None = None,
) -> Categorical | Gaussian:
    """`Categorical` for choices; for boxes a `Gaussian` of initial `log_std`, whose mean stays within the bounds of the
    box, if it has any, where `bounded`. Both have `evaluate`, and take a `net` in place of a perceptron."""
    if isinstance(spec.action, Choices):
        return Categorical(spec, hidden, activation, net=net)
    return Gaussian(spec, hidden, activation, log_std, bounded and spec.action.low is not None, net)
