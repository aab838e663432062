"""Critics that return numbers: ensembles of Q(s, a), of Q(s, .) for discrete actions, and V(s)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from actrix.nets.encoder import Encoder
from actrix.nets.mlp import MLP
from actrix.spec import Choices, Spec


@dataclass(frozen=True)
class Value:
    """What E critics say of B decisions: `members` is [E, B] (or [E, B, C] for all of C choices)."""

    members: Tensor

    def reduce(self, rule: str = "min", beta: float = 1.0) -> Tensor:
        """One number from E: "min", "mean", "max", or "bound" (mean - beta * std). Drops the first dimension."""
        m = self.members
        if rule == "min":
            # minimum of two is a kernel of its own, with a gradient that does not gather
            return torch.minimum(m[0], m[1]) if len(m) == 2 else m.amin(0)
        if rule == "mean":
            return m.mean(0)
        if rule == "max":
            return m.amax(0)
        if rule == "bound":
            return m.mean(0) - beta * m.std(0)
        raise ValueError(f"rule must be min, mean, max or bound, not {rule!r}")

    def some(self, count: int) -> Value:
        """`count` members drawn at random, without return (Chen et al. 2021, REDQ); all, if there are no more."""
        if count >= len(self.members):
            return self
        pick = torch.rand(len(self.members), device=self.members.device).topk(count).indices
        return Value(self.members[pick])

    def of(self, action: Tensor) -> Value:
        """Of all choices, those taken: members [E, B, C], action [B, 1] -> members [E, B]."""
        return Value(self.members.gather(-1, action.expand(len(self.members), *action.shape))[..., 0])


class QEnsemble(nn.Module):
    """E independent critics Q(s, a) -> `Value` with members [E, B], computed as one batched product.

    They see the privileged parts of observations too, as `StateValue` does.
    """

    def __init__(
        self, spec: Spec, hidden: Sequence[int], members: int = 2, activation: str = "relu", layer_norm: bool = False
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec.for_critic())
        self.net = MLP(
            self.encoder.size + spec.action_size, hidden, 1, activation, members=members, layer_norm=layer_norm
        )

    def forward(self, obs: Tensor, action: Tensor) -> Value:
        """obs [B, D]; action [B, A] -> members [E, B], or K actions for each row [B, K, A] -> members [E, B, K]."""
        return self._judge(self.encoder(obs), action)

    def frozen(self, obs: Tensor, action: Tensor) -> Value:
        """The same with a gradient for the action only: what an actor climbs. Saves the work of the others."""
        return self._judge(self.encoder(obs).detach(), action, frozen=True)

    def _judge(self, features: Tensor, action: Tensor, frozen: bool = False) -> Value:
        if action.ndim == features.ndim:
            return Value(self.net(torch.cat((features, action), -1), frozen=frozen)[..., 0])
        rows = torch.cat((features[:, None].expand(-1, action.shape[1], -1), action), -1)
        return Value(self.net(rows.flatten(0, 1), frozen=frozen)[..., 0].unflatten(-1, action.shape[:2]))


class DiscreteQ(nn.Module):
    """E critics of every choice at once: Q(s, .) -> `Value` with members [E, B, C]. One Discrete action only.

    Such a critic may be the policy itself, so it does not see what is privileged.
    """

    def __init__(self, spec: Spec, hidden: Sequence[int], members: int = 1, activation: str = "relu") -> None:
        super().__init__()
        assert isinstance(spec.action, Choices)
        self.encoder = Encoder(spec)
        self.net = MLP(self.encoder.size, hidden, spec.action.sizes[0], activation, members=members)

    def forward(self, obs: Tensor) -> Value:
        return Value(self.net(self.encoder(obs)))

    def of(self, obs: Tensor, action: Tensor) -> Value:
        """Q of the choices taken, action [B, 1]: members [E, B]."""
        return self(obs).of(action)


class StateValue(nn.Module):
    """V(s): [..., D] -> [...]."""

    def __init__(self, spec: Spec, hidden: Sequence[int], activation: str = "tanh", orthogonal: bool = True) -> None:
        super().__init__()
        self.encoder = Encoder(spec.for_critic())
        self.net = MLP(self.encoder.size, hidden, 1, activation, orthogonal=orthogonal)

    def forward(self, obs: Tensor) -> Tensor:
        return self.net(self.encoder(obs))[..., 0]
