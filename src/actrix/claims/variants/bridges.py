"""SoftGAC with another actor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from actrix.actors.gaussian import SquashedGaussian
from actrix.actors.temperature import Temperature
from actrix.nets.targets import tracked
from actrix.optim import Adam
from actrix.spec import Spec
from actrix.systems.control.softgac import Config, SoftGAC


class Unimodal(SquashedGaussian):
    """A squashed Gaussian whose log-density stands for the cost of a path."""

    def noise(self, rows: int, like: Tensor, antithetic: bool = False) -> None:
        """It draws its own."""

    def sample(self, obs: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().sample(obs)


class GaussianSAC(SoftGAC):
    """SAC with the critics, batches and rates of SoftGAC; target entropy -dim(A)."""

    actor: Any

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, replace(config, bridge_steps=1))
        self.actor = Unimodal(spec, (config.actor_width, config.actor_width))
        self.target_actor = tracked(self.actor, config.target_rate)
        self.temperature = Temperature(config.temperature, -float(spec.action_size))
        groups: dict[str, Any] = {"critic": (self.critic, Adam(config.rate, betas=(0.5, 0.999)))}
        groups |= {"actor": (self.actor, Adam(config.rate))}
        if config.learn_temperature:
            groups |= {"temperature": (self.temperature, Adam(config.temperature_rate))}
        self.optimise(**groups)
