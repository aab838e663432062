"""Lot sizing: machines that can be set up for one item at a time, a store, and a demand that is not known beforehand.

Each step every machine is told which item to make, or none. Then the demand comes.

    setup     a machine that is told another item than it is set up for costs SETUP, and makes LOSS less in this step
    making    machine m makes RATES[m, i] of item i, which goes into the store
    demand    of item i: Poisson with mean DEMAND[i] (LotSizing-v0), or that mean itself (LotSizingKnown-v0)
    reward    -(setup costs + HOLDING * what is left in the store + LOST[i] * the demand of i that was not met)

The store holds CAPACITY of each item; what is over is thrown away after the demand. Observation (17 numbers): what is
in the store, in parts of CAPACITY, then for each machine one-hot what it is set up for (first: for nothing, as it was
told to make none). An episode is cut off after LIMIT steps, as the plant goes on. It begins with any store up to half
of CAPACITY and any setup.

`post_decision(obs, action)` is the known part of a step: set up and made, the demand yet to come. The rules are those
of the plant of PDPPO (2504.05150; leokan92/pdppo), the numbers are ours.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

ITEMS, MACHINES = 5, 2
CAPACITY, LIMIT = 20.0, 30
RATES = np.array([[10.0, 8.0, 6.0, 8.0, 4.0], [4.0, 8.0, 10.0, 6.0, 10.0]])  # [MACHINES, ITEMS] per step
DEMAND = np.array([3.0, 2.0, 3.0, 2.0, 3.0])  # mean per step
LOST = np.array([1.0, 2.0, 1.0, 3.0, 2.0])  # of a unit that could not be sold
SETUP, LOSS, HOLDING = 2.0, 2.0, 0.1


def split(obs: Tensor) -> tuple[Tensor, Tensor]:
    """Store [N, ITEMS] in units, and what each machine is set up for [N, MACHINES] (0: nothing), of rows [N, D]."""
    store = obs[:, :ITEMS] * CAPACITY
    return store, obs[:, ITEMS:].unflatten(-1, (MACHINES, ITEMS + 1)).argmax(-1)


def joined(store: Tensor, setup: Tensor) -> Tensor:
    """The inverse of `split`."""
    return torch.cat((store / CAPACITY, torch.nn.functional.one_hot(setup, ITEMS + 1).flatten(1).to(store.dtype)), -1)


def made(store: Tensor, setup: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    """The store after machines were set up for `action` [N, MACHINES] and made what they were told, and the number of
    costly setups [N]."""
    changed = (action != setup) & (action > 0)
    rate = torch.nn.functional.pad(torch.as_tensor(RATES, dtype=store.dtype, device=store.device), (1, 0))
    making = rate[torch.arange(MACHINES, device=store.device), action] - LOSS * changed
    making = torch.where(action > 0, making, 0.0)
    found = torch.nn.functional.pad(store, (1, 0)).scatter_add(-1, action, making)
    return found[:, 1:], changed.sum(-1)


def post_decision(obs: Tensor, action: Tensor) -> Tensor:
    """What is known of the next state once it is decided: [N, D], [N, MACHINES] -> [N, D]."""
    store, setup = split(obs)
    return joined(made(store, setup, action)[0], action)


class LotSizing(gym.Env):
    """See the head of this file. demand: mean of each item, per step; known: the demand is that mean."""

    observation_space = gym.spaces.Box(0.0, np.inf, (ITEMS + MACHINES * (ITEMS + 1),), np.float32)
    action_space = gym.spaces.MultiDiscrete([ITEMS + 1] * MACHINES)
    post_decision = staticmethod(post_decision)

    def __init__(self, demand: Any = DEMAND, known: bool = False) -> None:
        self.demand, self.known = np.broadcast_to(np.asarray(demand, np.float64), (ITEMS,)), known

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.store = np.floor(self.np_random.uniform(0.0, CAPACITY / 2 + 1, ITEMS))
        self.setup = self.np_random.integers(ITEMS + 1, size=MACHINES)
        self.clock = 0
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        action = np.asarray(action, np.int64)
        changed = (action != self.setup) & (action > 0)
        for m in np.flatnonzero(action > 0):
            self.store[action[m] - 1] += RATES[m, action[m] - 1] - LOSS * changed[m]
        self.setup = action
        wanted = self.demand if self.known else self.np_random.poisson(self.demand)
        lost = np.maximum(wanted - self.store, 0.0)
        self.store = np.clip(self.store - wanted, 0.0, CAPACITY)
        cost = SETUP * changed.sum() + HOLDING * self.store.sum() + LOST @ lost
        self.clock += 1
        return self._seen(), -float(cost), False, self.clock >= LIMIT, {}

    def _seen(self) -> np.ndarray:
        chosen = np.eye(ITEMS + 1)[self.setup].reshape(-1)
        return np.concatenate((self.store / CAPACITY, chosen)).astype(np.float32)


gym.register("LotSizing-v0", entry_point="actrix.envs.lots:LotSizing")
gym.register("LotSizingKnown-v0", entry_point="actrix.envs.lots:LotSizing", kwargs={"known": True})
