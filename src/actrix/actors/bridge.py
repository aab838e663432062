"""A stochastic bridge: an action is the end of a short random path, each step of which has weights of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actrix.actors.base import Action, Actor
from actrix.nets.mlp import Linear
from actrix.spec import Spec

FLOOR = 1e-6  # of the variance in the cost
EDGE = 1 - 1e-6  # where the first place is cut off, in canonical actions


class Step(nn.Module):
    """What a step of the path does at its place: drift and the noise's standard deviation, both [B, A].

    One hidden layer; the standard deviation is 1 at first.
    """

    def __init__(self, features: int, actions: int, width: int) -> None:
        super().__init__()
        self.enter, self.norm = nn.LayerNorm(features + actions), nn.LayerNorm(width)
        self.hidden, self.head = Linear(features + actions, width), Linear(width, 2 * actions)
        with torch.no_grad():
            self.head.weight[:, actions:] = 0.0
            self.head.bias[actions:] = math.log(math.e - 1)  # softplus of it is 1

    def forward(self, features: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        inner = self.hidden(self.enter(torch.cat((features, place), -1)))
        drift, raw = self.head(self.norm(F.elu(inner))).chunk(2, -1)
        return drift, F.softplus(raw)


class Bridge(Actor):
    """a = tanh(z_K) of a path z_0, ..., z_K in R^A:

        z_0 = atanh(u), u ~ U(-1, 1);  z_(k+1) = z_k + h mu_k(s, z_k) + sqrt(2 h) sigma_k(s, z_k) e_k,  h = 1 / K

    It has no density. What it has instead is its cost, the log-ratio of paths to those of a reference that has the same
    z_0 and steps of mu = -2 tanh(z), sigma = 1, whose tanh(z) is uniform on (-1, 1) at all times (for small steps):

        cost = sum_k sum_i 1/2 (sigma^2 + h/2 (mu + 2 tanh z_k)^2 - 1 - log sigma^2)

    the exact KL of every step at the places that the path took, so that its mean is the KL of the paths, in nats: an
    upper bound of the KL of the action to the uniform distribution. It takes the place of a log-probability.

    Each step normalises features and place together, as the authors do: where features are few and all 0, it sees the
    direction of the place only. Mode "mean" is the path without noise, from z_0 = 0. Source: SoftGAC (2605.08733).
    """

    def __init__(self, spec: Spec, width: int, steps: int) -> None:
        super().__init__(spec)
        self.size = spec.action_size
        self.steps = nn.ModuleList(Step(self.encoder.size, self.size, width) for _ in range(steps))

    def noise(self, rows: int, like: Tensor, antithetic: bool = False) -> Tensor:
        """z_0 and e_0, ..., e_(K-1) of so many paths [rows, K + 1, A].

        antithetic: the second half has the noise of the first with the other sign; an odd one has its own."""
        many = (rows + 1) // 2 if antithetic else rows
        first = torch.atanh((torch.rand(many, 1, self.size, device=like.device) * 2 - 1) * EDGE)
        later = torch.randn(many, len(self.steps), self.size, device=like.device)
        found = torch.cat((first, later), 1)
        return torch.cat((found, -found[: rows - many])) if antithetic else found

    def path(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The end z_K [B, A] of the paths with this noise [B, K + 1, A], and their cost [B]."""
        features, (place, *noises) = self.encoder(obs), noise.unbind(1)
        h, made = 1 / len(self.steps), []
        for step, e in zip(self.steps, noises):
            drift, std = step(features, place)
            made.append((place, drift, std))
            place = torch.addcmul(place + h * drift, std, e, value=math.sqrt(2 * h))
        places, drifts, stds = (torch.stack(x, 1) for x in zip(*made))  # [B, K, A]
        variance, apart = stds.square() + FLOOR, drifts + 2 * torch.tanh(places)
        return place, 0.5 * (variance + 0.5 * h * apart.square() - 1 - variance.log()).sum((1, 2))

    def sample(self, obs: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reparameterised actions [B, A] and the cost [B] of their paths."""
        end, cost = self.path(obs, self.noise(len(obs), obs) if noise is None else noise)
        return torch.tanh(end), cost

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        if mode != "mean":
            return Action(self.sample(obs)[0])
        features = self.encoder(obs)
        place = torch.zeros_like(features[:, :1]).expand(-1, self.size)
        for step in self.steps:
            place = place + step(features, place)[0] / len(self.steps)
        return Action(torch.tanh(place))


def paths(obs: Tensor, count: int) -> Tensor:
    """Rows for `count` paths from every observation: [B, D] -> [count B, D], the first of all of them, then the second
    and so on; half of such rows are half of every observation's."""
    return obs if count == 1 else obs.repeat(count, *[1] * (obs.ndim - 1))
