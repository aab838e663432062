"""SPO with other rewards of the same comparisons."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from actrix.credit import standardise
from actrix.data.batches import Steps
from actrix.data.contests import worth
from actrix.nets.mlp import MLP
from actrix.rng import torch_stream
from actrix.run.contests import ContestFeed
from actrix.run.feeds import Setting
from actrix.systems.preference.spo import SPO

FITS, BATCH = 60, 64  # updates of the model in a round, comparisons in each


class ModelledFeed(ContestFeed):
    """Iterated reward modelling: a reward of states and actions is fitted to all comparisons so far, by Bradley and
    Terry on its sums over trajectories, and, standardised, is what steps earn. The same comparisons, in number."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        spec = self.worlds.spec
        with torch_stream(self.seed, "reward model"):
            self.model = MLP(spec.obs_size + spec.action_size, (64, 64), 1, "tanh")
        self.optimiser = torch.optim.Adam(self.model.parameters(), 3e-3)
        self.rows = torch.empty(0, 0, 0)  # [trajectories, T, D + A]
        self.pairs = torch.empty(0, 2, dtype=torch.long)
        self.won = torch.empty(0)  # of each pair: whether its first trajectory did

    def rewards(self, steps: Steps, generator: torch.Generator) -> Tensor:
        mask, rows = steps.action_mask, torch.cat((steps.obs, steps.action), -1)
        rows = torch.where(mask[..., None], rows, 0.0)
        before, queued = len(self.rows), len(self.contest.queue)
        self.rows = torch.cat((self.rows.reshape(before, *rows.shape[1:]), rows))
        wins, meets = self.contest.compare(worth(steps.reward, mask, self.prefers), generator)
        places = meets.nonzero() + torch.tensor([before, before - queued])
        self.pairs, self.won = torch.cat((self.pairs, places)), torch.cat((self.won, wins[meets].float()))
        for _ in range(FITS):
            picks = torch.randint(len(self.pairs), (BATCH,), generator=generator)
            sums = self.model(self.rows[self.pairs[picks]])[..., 0].sum(-1)
            loss = F.binary_cross_entropy_with_logits(sums[:, 0] - sums[:, 1], self.won[picks])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        with torch.no_grad():
            return standardise(self.model(rows)[..., 0], mask) * mask


class Modelled(SPO):
    """PPO on a reward model."""

    feed = ModelledFeed


class ShuffledFeed(ContestFeed):
    def win_rates(self, steps: Steps, generator: torch.Generator) -> Tensor:
        wins = super().win_rates(steps, generator)
        return wins[torch.randperm(len(wins), generator=generator)]


class Shuffled(SPO):
    """Win rates of other trajectories than their own."""

    feed = ShuffledFeed
