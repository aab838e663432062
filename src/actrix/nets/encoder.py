"""From a canonical observation row to features: vectors pass through, images go through a small conv net."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from actrix.errors import ActrixError
from actrix.spec import Part, Spec


class Encoder(nn.Module):
    """`[..., D]` canonical observations -> `[..., size]` features of the parts that are visible (see `Spec`).

    Where all is visible and nothing is an image, this is the identity; and where rows are wanted `raw`, by a net that
    looks at columns itself.
    """

    def __init__(self, spec: Spec, features: int = 256, raw: bool = False) -> None:
        super().__init__()
        if raw:
            spec = Spec((Part("row", 0, spec.obs_size, (spec.obs_size,)),), spec.action)
        self.parts = spec.visible
        self.whole = self.parts == spec.obs
        self.images = nn.ModuleDict({str(i): Convolutions(p, features) for i, p in enumerate(self.parts) if p.image})
        self.size = sum(features if p.image else p.stop - p.start for p in self.parts)
        if self.size == 0:
            raise ActrixError(
                "every part of the observation is privileged: the actor would see nothing",
                "give the environment's observation a part under another key than 'privileged'",
            )

    def forward(self, obs: Tensor) -> Tensor:
        if self.whole and not self.images:
            return obs
        found = []
        for i, part in enumerate(self.parts):
            columns = obs[..., part.start : part.stop]
            found.append(self.images[str(i)](columns).unflatten(0, obs.shape[:-1]) if part.image else columns.float())
        return torch.cat(found, -1)


class Plain(nn.Module):
    """Observation rows as numbers for networks without convolutions: `[..., D] -> [..., D]`, pixels divided by 255.

    `spec` is the task as such networks see it.
    """

    scale: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        parts = tuple(replace(part, image=False) for part in spec.obs)
        self.spec = replace(spec, obs=parts, obs_dtype="float32")
        self.images = any(part.image for part in spec.obs)
        scale = torch.ones(spec.obs_size)
        for part in spec.obs:
            if part.image:
                scale[part.start : part.stop] = 1 / 255
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, obs: Tensor) -> Tensor:
        return obs.float() * self.scale if self.images else obs


class Convolutions(nn.Module):
    """The three-layer net of DQN (Mnih et al. 2015) on one image part, any size from 8 pixels a side up.

    Takes the flattened image as it came (`[..., H * W * C]`, 0..255, channels first or last), and gives one row of
    features for each.
    """

    def __init__(self, part: Part, features: int) -> None:
        super().__init__()
        shape = part.shape if len(part.shape) == 3 else (*part.shape, 1)
        self.channels_last = shape[-1] in (1, 3, 4) or shape[-1] < shape[0]
        self.shape = shape
        channels, height, width = (shape[2], shape[0], shape[1]) if self.channels_last else shape
        if min(height, width) < 8:
            raise ActrixError(
                f"observation part {part.name!r} looks like an image of {height}x{width} pixels: too small to convolve",
                "wrap the environment in gymnasium.wrappers.FlattenObservation and rescale it to float",
            )
        layers: list[nn.Module] = []
        side = min(height, width)
        inputs = channels
        for outputs, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            if side < kernel:
                break
            layers += [nn.Conv2d(inputs, outputs, kernel, stride), nn.ReLU()]
            inputs, side = outputs, (side - kernel) // stride + 1
        self.body = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            flat = self.body(torch.zeros(1, channels, height, width)).shape[1]
        self.head = nn.Sequential(nn.Linear(flat, features), nn.ReLU())

    def forward(self, flat: Tensor) -> Tensor:
        image = flat.reshape(-1, *self.shape).float() / 255.0
        if self.channels_last:
            image = image.permute(0, 3, 1, 2)
        return self.head(self.body(image))
