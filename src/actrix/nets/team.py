"""What each of several agents sees of a joint observation, and what each may choose, side by side for one network."""

from __future__ import annotations

import itertools
from dataclasses import replace

import torch
from torch import Tensor, nn

from actrix.errors import ActrixError
from actrix.nets.encoder import Encoder
from actrix.spec import Choices, Part, Spec


class TeamView(nn.Module):
    """`[..., D]` joint rows -> `[..., N, size]` features: what agent n sees, through one encoder for
    all, and n one-hot.

    An agent sees its own parts and those that are nobody's; where the observation belongs to nobody in particular,
    every choice is an agent that sees all of it. Agents that see less than others are padded with zeros.
    """

    index: Tensor
    there: Tensor
    names: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        assert isinstance(spec.action, Choices)
        self.agents = len(spec.action.sizes)
        if spec.agents not in (0, self.agents):
            raise ActrixError(
                f"the observation is that of {spec.agents} agents, and the action is {self.agents} choices",
                "a team has one choice for each agent",
                misuse=True,
            )
        sights = [[p for p in spec.visible if p.agent in (None, i)] for i in range(self.agents)]
        layouts = [tuple((p.shape, p.image) for p in sight) for sight in sights]
        self.same = spec.agents == 0  # all see the same: it is encoded once
        self.whole = spec.visible == spec.obs
        alike = all(layout == layouts[0] for layout in layouts)
        if not alike and any(p.image for p in spec.visible):
            raise ActrixError(
                "agents that see images of different shapes have no encoder in common",
                "wrap the environment so that all agents see the same shapes",
                misuse=True,
            )
        columns = [[c for p in sight for c in range(p.start, p.stop)] for sight in sights]
        width = max(map(len, columns))
        parts = rebased(sights[0]) if alike else (Part("seen", 0, width, (width,)),)
        self.encoder = Encoder(replace(spec, obs=parts, view=None))
        self.seen = self.encoder.size
        self.size = self.seen + self.agents
        self.padded = any(len(c) < width for c in columns)
        flat = [c for sight in columns for c in sight]
        every = slice(flat[0], flat[0] + self.agents * width)
        # in the usual case, one agent's columns after another's, nothing is gathered
        self.regular = every if flat == list(range(every.start, every.stop)) else None
        self.register_buffer("index", torch.tensor([c + [0] * (width - len(c)) for c in columns]), persistent=False)
        there = torch.arange(width) < torch.tensor([len(c) for c in columns])[:, None]
        self.register_buffer("there", there, persistent=False)
        self.register_buffer("names", torch.eye(self.agents), persistent=False)

    def sights(self, obs: Tensor) -> Tensor:
        """What each sees, without who it is: `[..., D] -> [..., N, seen]`."""
        if self.same:
            seen = self.encoder(obs if self.whole else obs[..., self.index[0]])
            return seen[..., None, :].expand(*seen.shape[:-1], self.agents, self.seen)
        if self.regular is not None:
            return self.encoder(obs[..., self.regular].unflatten(-1, (self.agents, -1)))
        rows = obs[..., self.index]
        return self.encoder(rows * self.there if self.padded else rows)

    def forward(self, obs: Tensor) -> Tensor:
        return self.named(self.sights(obs))

    def named(self, seen: Tensor) -> Tensor:
        """What each sees with who it is: `[..., N, seen] -> [..., N, size]`."""
        return torch.cat((seen, self.names.to(seen.dtype).expand(*seen.shape[:-1], self.agents)), -1)


def rebased(parts: list[Part]) -> tuple[Part, ...]:
    """The parts as columns of a row of their own."""
    sizes = [p.stop - p.start for p in parts]
    starts = [0, *itertools.accumulate(sizes)]
    return tuple(replace(p, start=a, stop=a + n, agent=None) for p, a, n in zip(parts, starts, sizes))


class TeamChoices(nn.Module):
    """The options of N choices as one table [N, C], C those of the largest choice; the others have fewer."""

    index: Tensor
    there: Tensor

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.most = max(sizes)
        self.even = len(set(sizes)) == 1
        starts = torch.tensor([0, *itertools.accumulate(sizes)][:-1])
        option = torch.arange(self.most)
        there = option < torch.tensor(sizes)[:, None]
        self.register_buffer("there", there, persistent=False)
        self.register_buffer("index", torch.where(there, starts[:, None] + option, 0), persistent=False)

    def legal(self, mask: Tensor | None) -> Tensor | None:
        """A flat mask [..., sum of sizes] as a table [..., N, C]; None where everything is legal. Where the
        mask forbids all of a choice, at most what is no option is forbidden (see `actors.categorical.forbid`)."""
        if mask is None:
            return None if self.even else self.there
        if self.even:
            return mask.unflatten(-1, (-1, self.most))
        table = mask[..., self.index] & self.there
        return table | (~table.any(-1, keepdim=True) & self.there)
