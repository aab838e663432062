"""Panels as images: what is seen of several things over time, such as prices of assets, goes through convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actrix.nets.encoder import Encoder
from actrix.nets.mlp import MLP
from actrix.spec import Spec


class PanelNet(nn.Module):
    """Whole rows `[..., D] -> [..., outputs]`: every panel through a stack of convolutions, then all that is seen
    through a perceptron.

    A panel is a part of three dimensions that holds numbers: `[features, things, times]` is an image whose rows are
    things, whose columns are times and whose channels are features. Each of `filters` is a convolution of 3 x 3 with so
    many channels, at every thing and every other time, and a rectifier. Without filters, or where there is no panel, it
    is the perceptron alone (and images of pixels are seen as everywhere else, see `Encoder`).
    """

    def __init__(
        self,
        spec: Spec,
        hidden: Sequence[int],
        outputs: int,
        filters: Sequence[int] = (8, 16),
        activation: str = "tanh",
        head_gain: float = 1.0,
    ) -> None:
        super().__init__()
        panels = [p for p in spec.visible if len(p.shape) == 3 and not p.image] if filters else []
        rest = tuple(p for p in spec.visible if p not in panels)
        self.panels = panels
        self.encoder = Encoder(spec.looking_at(rest)) if rest else None
        size = 0 if self.encoder is None else self.encoder.size
        self.stacks = nn.ModuleList()
        for part in panels:
            channels, things, times = part.shape
            layers = nn.ModuleList()
            for count in filters:
                layers.append(nn.Conv2d(channels, count, 3, stride=(1, 2), padding=1))
                channels, times = count, (times + 1) // 2
            self.stacks.append(layers)
            size += channels * things * times
        self.net = MLP(size, hidden, outputs, activation, orthogonal=True, head_gain=head_gain)

    @property
    def layers(self) -> nn.ModuleList:
        """Those of the perceptron; the last is the head."""
        return self.net.layers

    def forward(self, rows: Tensor) -> Tensor:
        found = [] if self.encoder is None else [self.encoder(rows)]
        for part, layers in zip(self.panels, self.stacks):
            x = rows[..., part.start : part.stop].reshape(-1, *part.shape)
            for layer in layers:  # type: ignore[attr-defined]
                x = F.relu(layer(x))
            found.append(x.flatten(1).unflatten(0, rows.shape[:-1]))
        return self.net(torch.cat(found, -1))
