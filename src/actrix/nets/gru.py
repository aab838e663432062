"""A gated recurrent cell (Cho et al. 2014), as plain operations: graphs and exported files hold it as it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from actrix.nets.mlp import Linear


class GRUCell(nn.Module):
    """x [..., inputs], h [..., size] -> h' [..., size].

    r, z = sigmoid of linear maps of x and h;  n = tanh(W x + b + r (U h + c));  h' = (1 - z) n + z h
    """

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.seen, self.held = Linear(inputs, 3 * size), Linear(size, 3 * size)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        r, z, n = self.seen(x).chunk(3, -1)
        reset, update, new = self.held(h).chunk(3, -1)
        reset, update = torch.sigmoid(r + reset), torch.sigmoid(z + update)
        return torch.lerp(torch.tanh(n + reset * new), h, update)
