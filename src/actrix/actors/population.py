"""Many small policies at once: each a row of one matrix of parameters, evaluated as batched matrix products."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actrix.actors.deterministic import Deterministic
from actrix.critics.values import QEnsemble
from actrix.data.archive import Archive
from actrix.nets.encoder import Encoder
from actrix.nets.linear import stacked_linear
from actrix.spec import Spec


class Policies(nn.Module):
    """The shape that P deterministic policies share: a = tanh(net_p(s)), rectifiers between the layers.

    It owns no parameters: a policy is a row of n = `size` numbers, layer after layer, a layer's weights [in, out]
    before its biases. What a policy answers depends in its last bits on how many stand beside it (a batched product
    may sum in another order than a single one); the same batch always gives the same bits.
    """

    def __init__(self, spec: Spec, hidden: Sequence[int]) -> None:
        super().__init__()
        self.encoder = Encoder(spec)
        sizes = [self.encoder.size, *hidden, spec.action_size]
        self.shapes = list(itertools.pairwise(sizes))
        self.size = sum(i * o + o for i, o in self.shapes)

    def layers(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Weights [P, in, out] and biases [P, 1, out] of policies [P, n]: views."""
        pieces = flat.split([n for i, o in self.shapes for n in (i * o, o)], 1)
        return [(pieces[2 * k].unflatten(1, shape), pieces[2 * k + 1][:, None]) for k, shape in enumerate(self.shapes)]

    def forward(self, flat: Tensor, obs: Tensor) -> Tensor:
        """Policies [P, n] on observations [P, B, D] (each its own) or [B, D] (all the same): actions [P, B, A]."""
        x = self.encoder(obs)
        *body, (weight, bias) = self.layers(flat)
        for w, b in body:
            x = stacked_linear(x, w, b, relu=True)
        return torch.tanh(stacked_linear(x, weight, bias))

    def initial(self, count: int) -> Tensor:
        """Random policies [count, n]: weights uniform of variance 1 / inputs (LeCun et al. 1998), biases zero."""
        pieces = []
        for inputs, outputs in self.shapes:
            bound = math.sqrt(3.0 / inputs)
            pieces += [(torch.rand(count, inputs * outputs) * 2 - 1) * bound, torch.zeros(count, outputs)]
        return torch.cat(pieces, 1)

    @torch.no_grad()
    def specialised(self, actor: Deterministic, context: Tensor | None = None) -> Tensor:
        """An actor of these policies' shape as rows of parameters.

        context: [P, K], where the actor's rows end in K further numbers (`Spec.with_context`): the actor specialised
        to each of them, W_context c folded into the first layer's biases. Returns [P, n]; [1, n] without a context.
        """
        count = 1 if context is None else len(context)
        pieces = []
        for k, (inputs, _) in enumerate(self.shapes):
            layer: Any = actor.net.layers[k]
            weight, bias = layer.weight, layer.bias.expand(count, -1)
            if k == 0 and context is not None:
                bias = bias + context @ weight[inputs:]
            pieces += [weight[:inputs].reshape(1, -1).expand(count, -1), bias]
        return torch.cat(pieces, 1)


class Climbers(nn.Module):
    """Policies under change by gradients, `flat` [P, n], and the descriptor of each one's parent, [P, K]."""

    descriptor: Tensor

    def __init__(self, policies: Policies, count: int, dimensions: int) -> None:
        super().__init__()
        self.flat = nn.Parameter(policies.initial(count))
        self.register_buffer("descriptor", torch.zeros(count, dimensions))

    @torch.no_grad()
    def start(self, archive: Archive) -> None:
        """From parents drawn uniformly from an archive. Their optimiser must begin anew with them."""
        cells = archive.sample(len(self.flat))
        self.flat.copy_(archive.genotype[cells])
        self.descriptor.copy_(archive.descriptor[cells])


def ascent(policies: Policies, flat: Tensor, critic: QEnsemble, obs: Tensor, context: Tensor | None = None) -> Tensor:
    """The loss by which every policy of [P, n] climbs the critic: sum_p -mean_b Q_1(s_b, pi_p(s_b), c_p), a scalar.

    obs: [B, D], shared. context: [P, K] goes to the critic behind the observation (`Spec.with_context`). The gradient
    of a policy's row depends on no other row, so that one Adam on the matrix is an Adam for each policy.
    """
    action = policies(flat, obs)
    rows = obs.expand(len(flat), *obs.shape)
    if context is not None:
        rows = torch.cat((rows, context[:, None].expand(-1, len(obs), -1)), -1)
    value = critic.frozen(rows.flatten(0, 1), action.flatten(0, 1), which=slice(1)).members[0]
    return -value.mean() * len(flat)
