"""Categorical actors: one or several independent choices, with masks for what is not allowed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actrix.actors.base import Action, Actor
from actrix.nets.mlp import MLP
from actrix.spec import Choices, Spec


def choose(logits: Tensor) -> Tensor:
    """Draw from softmax(logits) by the Gumbel trick: [..., C] -> [...] int64."""
    return (logits - torch.empty_like(logits).exponential_().log()).argmax(-1)


def forbid(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Logits with what the mask (True = legal) forbids at -inf; a row that forbids all is left free."""
    if mask is None:
        return logits
    return torch.where(mask | ~mask.any(-1, keepdim=True), logits, torch.full_like(logits, -torch.inf))


def expect(logp: Tensor, value: Tensor) -> Tensor:
    """Mean of `value` under the choice with log-probabilities `logp`, both [..., C] -> [...].

    What is forbidden counts as 0, whatever its value.
    """
    return (logp.exp() * value.masked_fill(logp == -torch.inf, 0.0)).sum(-1)


def expect_sampled(logp: Tensor, value: Tensor) -> Tensor:
    """An unbiased estimate of `expect(logp, value)` and of its gradient from one drawn choice: [..., C] -> [...].

    The gradient is that of the value drawn plus the likelihood-ratio term (Williams 1992).
    """
    pick = choose(logp.detach())[..., None]
    chosen, drawn = logp.gather(-1, pick)[..., 0], value.gather(-1, pick)[..., 0]
    return drawn + (chosen - chosen.detach()) * drawn.detach()


class Categorical(Actor):
    """Independent softmax choices: K of them, sizes[k] options each (a MultiBinary bit is a choice of 2).

    `net` maps whole rows [..., D] to the logits [..., sum of sizes], where they are not to come from a perceptron.
    """

    def __init__(
        self,
        spec: Spec,
        hidden: Sequence[int] = (),
        activation: str = "tanh",
        orthogonal: bool = True,
        net: nn.Module | None = None,
    ) -> None:
        super().__init__(spec, raw=net is not None)
        assert isinstance(spec.action, Choices)
        self.sizes = spec.action.sizes
        self.net = net or MLP(
            self.encoder.size, hidden, sum(self.sizes), activation, orthogonal=orthogonal, head_gain=0.01
        )

    def logps(self, obs: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Log-probabilities of every option of each choice: K tensors [..., sizes[k]]."""
        return self._logps(self.net(self.encoder(obs)), mask)

    def _logps(self, logits: Tensor, mask: Tensor | None) -> list[Tensor]:
        masks = [None] * len(self.sizes) if mask is None else mask.split(self.sizes, -1)
        return [F.log_softmax(forbid(x, m), -1) for x, m in zip(logits.split(self.sizes, -1), masks)]

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        logps = self.logps(obs, mask)
        picks = [x.argmax(-1) if mode == "mean" else choose(x) for x in logps]
        logp = sum(x.gather(-1, p[..., None])[..., 0] for x, p in zip(logps, picks))
        return Action(torch.stack(picks, -1), logp)  # type: ignore[arg-type]

    def evaluate(self, obs: Tensor, action: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of given choices [..., K], both [...]."""
        return self.judge(self.net(self.encoder(obs)), action, mask)

    def judge(self, output: Tensor, action: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`evaluate` from what the net says of the observations."""
        logps = self._logps(output, mask)
        logp = sum(x.gather(-1, action[..., k : k + 1])[..., 0] for k, x in enumerate(logps))
        entropy = sum(-expect(x, x) for x in logps)
        return logp, entropy  # type: ignore[return-value]

    def kl(self, obs: Tensor, other: Categorical, mask: Tensor | None = None) -> Tensor:
        """KL(this || other) at obs [..., D], nats, the sum over choices: [...]."""
        pairs = zip(self.logps(obs, mask), other.logps(obs, mask))
        return sum(expect(mine, mine - theirs) for mine, theirs in pairs)  # type: ignore[return-value]

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.evaluate(obs, action)[0]
