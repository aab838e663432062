"""Two small cooperative worlds whose best returns are known, as PettingZoo environments.

    pettingzoo:actrix.envs.cooperative.Matching     say the same, without having talked: one step, agents x options
    pettingzoo:actrix.envs.cooperative.Aloha        ten islands that share a radio channel with their neighbours
    pettingzoo:actrix.envs.cooperative.SmallAloha   four of them

Aloha, after Oliehoek 2010 (Value-Based Planning for Teams of Agents in Stochastic Partially Observable Environments)
in the form of 2306.01920: islands on a grid of 2 x 5 have a backlog of messages, 1 at first and 5 at most. Every step
each sends or waits. Who sends with a backlog is paid 0.1 and has one message less if no neighbour sends, and costs 10
if one does; a neighbour that sends nothing (an empty backlog) disturbs all the same, as in the authors' code. Then a
message arrives with probability 0.6. Each sees its own backlog; all get the sum; an episode is cut after 20 steps.
The authors' grid has one more pair of neighbours, the fifth and the sixth island, which are far apart; here it has not.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from pettingzoo import ParallelEnv

from actrix.envs.spaces import AGENTS, PRIVILEGED
from actrix.envs.teams import MASK, Team

SEND_PAYS, COLLISION_COSTS = 0.1, 10.0


class Matching(ParallelEnv):
    """Agents that each name an option, once. All the same: that option's payoff. Otherwise: the penalty.

    Every unanimous choice is a Nash equilibrium; the best is the first. There is nothing to see (a 1).
    """

    metadata: dict[str, Any] = {"name": "matching", "render_modes": []}
    payoffs: tuple[float, ...] = (1.0, 0.9, 0.8)
    penalty = -0.5

    def __init__(self, agents: int = 4) -> None:
        self.possible_agents = [f"agent_{i}" for i in range(agents)]
        self.agents: list[str] = []
        self._sight, self._choice = spaces.Box(0.0, 1.0, (1,), np.float32), spaces.Discrete(len(self.payoffs))

    def observation_space(self, agent: str) -> gym.Space:
        return self._sight

    def action_space(self, agent: str) -> gym.Space:
        return self._choice

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        self.agents = list(self.possible_agents)
        return {a: np.ones(1, np.float32) for a in self.agents}, {a: {} for a in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        acted, self.agents = self.agents, []
        named = {int(actions[a]) for a in acted}
        reward = self.payoffs[named.pop()] if len(named) == 1 else self.penalty
        seen = {a: np.ones(1, np.float32) for a in acted}
        return (
            seen,
            dict.fromkeys(acted, reward),
            dict.fromkeys(acted, True),
            dict.fromkeys(acted, False),
            {a: {} for a in acted},
        )

    @classmethod
    def table(cls, agents: int) -> np.ndarray:
        """The payoff of every joint choice: [options] * agents."""
        options = len(cls.payoffs)
        found = np.full((options,) * agents, cls.penalty)
        for k, payoff in enumerate(cls.payoffs):
            found[(k,) * agents] = payoff
        return found


def neighbours(rows: int, columns: int) -> np.ndarray:
    """Which islands of a grid are next to which: bool [K, K]."""
    place = np.array([(r, c) for r in range(rows) for c in range(columns)])
    return np.abs(place[:, None] - place[None]).sum(-1) == 1


class Islands:
    """N worlds of Aloha at once. All draws of an episode are made at its start, from that world's generator."""

    def __init__(self, n: int, rows: int, columns: int, limit: int, most: int, arrival: float) -> None:
        self.near = neighbours(rows, columns).astype(np.int64)
        self.n, self.islands, self.limit, self.most, self.arrival = n, rows * columns, limit, most, arrival
        self.random = [np.random.default_rng() for _ in range(n)]
        self.backlog = np.ones((n, self.islands), np.int64)
        self.clock = np.zeros(n, np.int64)
        self.arrivals = np.zeros((n, limit, self.islands), np.int64)

    def begin(self, which: Sequence[int], seeds: Sequence[int] | None = None) -> None:
        for k, i in enumerate(which):
            if seeds is not None:
                self.random[i] = np.random.default_rng(int(seeds[k]))
            self.arrivals[i] = self.random[i].random((self.limit, self.islands)) < self.arrival
            self.backlog[i], self.clock[i] = 1, 0

    def step(self, sends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sends: 0 or 1 [N, K] -> (reward [N], whether the episode is cut [N])."""
        reward, self.backlog = outcome(self.backlog, sends, self.near)
        now = np.minimum(self.clock, self.limit - 1)
        self.backlog = np.minimum(self.backlog + self.arrivals[np.arange(self.n), now], self.most)
        self.clock += 1
        return reward, self.clock >= self.limit


def outcome(backlog: np.ndarray, sends: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a step of Aloha pays [N], and what is left [N, K] before messages arrive."""
    tries = sends * (backlog > 0)
    disturbed = sends @ near > 0
    sent = tries * ~disturbed
    return SEND_PAYS * sent.sum(-1) - COLLISION_COSTS * (tries * disturbed).sum(-1), backlog - sent


class Aloha(ParallelEnv):
    """Islands on one radio channel: see the head of this file. `batched` steps many of them at once."""

    metadata: dict[str, Any] = {"name": "aloha", "render_modes": []}
    rows, columns, limit, most, arrival = 2, 5, 20, 5, 0.6

    def __init__(self) -> None:
        self.possible_agents = [f"island_{i}" for i in range(self.rows * self.columns)]
        self.agents: list[str] = []
        self._sight = spaces.Box(0.0, float(self.most), (1,), np.float32)
        self._choice = spaces.Discrete(2)
        self.state_space = spaces.Box(0.0, float(self.most), (self.rows * self.columns,), np.float32)
        self.world = self.worlds(1)

    @classmethod
    def worlds(cls, n: int) -> Islands:
        return Islands(n, cls.rows, cls.columns, cls.limit, cls.most, cls.arrival)

    @classmethod
    def batched(cls, n: int) -> VectorEnv:
        return AlohaVector(cls, n)

    def observation_space(self, agent: str) -> gym.Space:
        return self._sight

    def action_space(self, agent: str) -> gym.Space:
        return self._choice

    def state(self) -> np.ndarray:
        return self.world.backlog[0].astype(np.float32)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        self.agents = list(self.possible_agents)
        self.world.begin([0], None if seed is None else [seed])
        return self._see(), {a: {} for a in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        acted = self.agents
        reward, cut = self.world.step(np.array([[int(actions[a]) for a in acted]]))
        self.agents = [] if cut[0] else acted
        pay, ends = dict.fromkeys(acted, float(reward[0])), dict.fromkeys(acted, bool(cut[0]))
        return self._see(), pay, dict.fromkeys(acted, False), ends, {a: {} for a in acted}

    def _see(self) -> dict[str, np.ndarray]:
        return {a: self.state()[i : i + 1] for i, a in enumerate(self.possible_agents)}


class SmallAloha(Aloha):
    """Four islands, each with two neighbours: at best two send at a time."""

    rows, columns = 2, 2


class AlohaVector(VectorEnv):
    """N times `Team(Aloha())`, stepped as one; every one of them does what it would do alone with the same seed."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}

    def __init__(self, kind: type[Aloha], num_envs: int) -> None:
        one = Team(kind())
        self.num_envs, self.world = num_envs, kind.worlds(num_envs)
        self.single_observation_space, self.single_action_space = one.observation_space, one.action_space
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.legal = np.ones((num_envs, 2 * self.world.islands), bool)
        self.over = self.legal & (np.arange(2 * self.world.islands) % 2 == 0)  # the agents are gone

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        """seed: one number or N. options["reset_mask"] [N] bool: begin anew only there."""
        which = (options or {}).get("reset_mask")
        if which is not None:
            self.world.begin(np.flatnonzero(which).tolist())
        else:
            seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed
            self.world.begin(range(self.num_envs), seeds)
        return self._see(), {MASK: self.legal}

    def step(self, actions: Any) -> tuple[dict[str, Any], Any, Any, Any, dict]:
        reward, cut = self.world.step(np.asarray(actions))
        mask = np.where(cut[:, None], self.over, self.legal) if cut.any() else self.legal
        return self._see(), reward, np.zeros(self.num_envs, bool), cut, {MASK: mask}

    def _see(self) -> dict[str, Any]:
        state = self.world.backlog.astype(np.float32)
        return {AGENTS: tuple(state[:, i : i + 1] for i in range(state.shape[1])), PRIVILEGED: state}

    def close(self, **kwargs: Any) -> None:
        pass


def best_return(kind: type[Aloha], fixed: np.ndarray | None = None) -> float:
    """The mean return of an episode under the best joint decisions, which see all backlogs and the clock; or, with
    `fixed` [K] bool, when these islands always send and the others never. By backward induction over all states."""
    world = kind.worlds(1)
    states = np.array(list(itertools.product(range(world.most + 1), repeat=world.islands)))
    shape = (world.most + 1,) * world.islands
    choices = [fixed] if fixed is not None else itertools.product((0, 1), repeat=world.islands)
    found = []
    for sends in choices:
        rows = np.broadcast_to(np.asarray(sends, np.int64), states.shape)
        reward, left = outcome(states, rows, world.near)
        found.append((reward, np.ravel_multi_index(tuple(left.T), shape)))
    value = np.zeros(len(states))
    for _ in range(world.limit):
        ahead = value.reshape(shape)
        for axis in range(world.islands):  # a message arrives, or not, at every island
            up = np.minimum(np.arange(world.most + 1) + 1, world.most)
            ahead = (1 - world.arrival) * ahead + world.arrival * ahead.take(up, axis)
        flat = ahead.reshape(-1)
        value = np.max([reward + flat[left] for reward, left in found], 0)
    return float(value.reshape(shape)[(1,) * world.islands])
