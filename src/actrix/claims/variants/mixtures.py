"""PMOE with other ways to learn a mixture: the baselines of its paper."""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor, nn

from actrix.actors.mixture import SquashedMixture
from actrix.data.batches import Transitions
from actrix.run.learner import Losses
from actrix.spec import Spec
from actrix.systems.control.pmoe import PMOE, Config


class Averaged(SquashedMixture):
    """One Gaussian whose mean and standard deviation are the averages of a mixture's, by the router's weights."""

    def __init__(self, mixture: SquashedMixture) -> None:
        nn.Module.__init__(self)
        self.encoder, self.net, self.router = mixture.encoder, mixture.net, mixture.router
        self.shape, self.log_std_range = mixture.shape, mixture.log_std_range

    def parts(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights, mean, log_std = super().parts(obs)
        share = weights.exp()[..., None]
        averages = ((share * x).sum(1, keepdim=True) for x in (mean, log_std.exp()))
        mean, std = averages
        return weights[:, :1] * 0, mean, std.log()


class Gated(PMOE):
    """A mixture of experts by gating: the experts are averaged, and the average is the policy of SAC."""

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.actor = Averaged(self.actor)


class Everyone(PMOE):
    """All components climb the critics at once, each as far as the router weighs it, and so does the router:
    mean sum_k w_k (temperature log pi_k(a_k|s) - min_i Q_i(s, a_k))."""

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        losses = super().losses(batch, phase)
        weights, action, logp = self.actor.each(batch.obs)
        value = self.critic.frozen(batch.obs, action).reduce("min")
        share = weights.exp()
        losses.groups["actor"] = (share * (self.temperature().detach() * logp - value)).sum(1).mean()
        losses.groups["temperature"] = self.temperature.loss((share.detach() * logp).sum(1))
        return losses
