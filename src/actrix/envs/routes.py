"""Ways through the worlds of `envs.plane`: exact shortest paths, players that take a way of their choice, recordings.

A shortest path among boxes bends at their corners only, so it is found in the graph of corners that see each other
(Lozano-Perez & Wesley 1979, An Algorithm for Planning Collision-Free Paths Among Polyhedral Obstacles). As the first
disc meets boxes that are wider by its radius, the length is exact for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from actrix.data.formats import Episode
from actrix.envs import draws
from actrix.envs.plane import (
    DAMPING,
    FORCE,
    PUSHED,
    RADIUS,
    SPEED,
    Array,
    Level,
    Plane,
    Pushers,
    grown,
    length,
)
from actrix.errors import ActrixError

NEAR = 0.12  # of the cell that makes a route: near enough to have taken it


def sees(a: Array, b: Array, walls: Array) -> np.ndarray:
    """Whether the straight lines from a to b [..., 2] (broadcast together) cross no open box [W, 4]: [...] bool."""
    enter, leave = np.array(-np.inf), np.array(np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        for axis in (0, 1):
            start = a[..., axis, None]
            step = b[..., axis, None] - start
            one, other = (walls[:, axis] - start) / step, (walls[:, axis + 2] - start) / step
            # 0 / 0 is a line along a side, which is not inside: the NaN stays, and compares as no crossing
            enter = np.maximum(enter, np.minimum(one, other))
            leave = np.minimum(leave, np.maximum(one, other))
        crosses: np.ndarray = (enter < leave - 1e-9) & (enter < 1 - 1e-9) & (leave > 1e-9)
    return np.asarray(~crosses.any(-1))


class Paths:
    """Shortest paths of a disc of this radius in a level. `clearance` keeps their corners away from the walls."""

    def __init__(self, level: Level, radius: float = RADIUS, clearance: float = 0.0) -> None:
        self.walls = grown(level.walls, radius)[4:]  # inside the square, its sides are in nobody's way
        left, low, right, high = grown(level.walls, radius + clearance).T
        found = np.concatenate([np.stack(c, 1) for c in ((left, low), (left, high), (right, low), (right, high))])
        boxes = grown(level.walls, radius + clearance - 1e-9)
        x, y = found[:, 0, None], found[:, 1, None]
        inside = (x > boxes[:, 0]) & (x < boxes[:, 2]) & (y > boxes[:, 1]) & (y < boxes[:, 3])
        self.corners = np.unique(found[~inside.any(1) & (np.abs(found) < 1).all(1)], axis=0)  # [C, 2]
        a, b = self.corners[:, None], self.corners[None]
        self.between = np.where(sees(a, b, self.walls), length(b - a), np.inf)  # [C, C]
        for k in range(len(self.corners)):
            self.between = np.minimum(self.between, self.between[:, k, None] + self.between[None, k])

    def onward(self, target: Array) -> Array:
        """How far it is from every corner to the targets [N, 2]: [N, C]."""
        seen = sees(target[:, None], self.corners, self.walls)
        last = np.where(seen, length(target[:, None] - self.corners), np.inf)
        return np.asarray((self.between[None] + last[:, None]).min(2)) if len(self.corners) else last

    def ahead(self, place: Array, target: Array, onward: Array) -> tuple[Array, Array]:
        """Where to go first from places [N, 2] to targets [N, 2], and how far it is in all: [N, 2], [N].

        onward: that of the targets. The length is infinite where there is no way.
        """
        marks = np.concatenate((np.repeat(self.corners[None], len(place), 0), target[:, None]), 1)
        seen = sees(place[:, None], marks, self.walls)
        rest = np.concatenate((onward, np.zeros((len(place), 1))), 1)
        total = np.where(seen, length(marks - place[:, None]) + rest, np.inf)
        best = total.argmin(1)
        rows = np.arange(len(place))
        return marks[rows, best], total[rows, best]

    def shortest(self, place: Array, target: Array, via: Array | None = None) -> Array:
        """Length of the shortest paths from places to targets, by way of `via` if given: all [N, 2] -> [N]."""
        if via is not None:
            return self.shortest(place, via) + self.shortest(via, target)
        return self.ahead(place, target, self.onward(target))[1]


class Expert:
    """A player of the mazes and of the pusher: it takes a way of its choice to the goal, and walks a little unsteadily.

    chances: of the level's routes, for each episode anew (none: the shortest way). noise: standard deviation of what
    is added to every action. lost: share of the episodes that are spent wandering. What it does is a function of the
    episode's key, so it differs between episodes, and not between runs. Called at every step, it finds out by itself
    which episodes have begun: `Expert(plane)() -> actions [N, 2] float32`.
    """

    def __init__(
        self, plane: Plane, chances: Sequence[float] | None = None, noise: float = 0.2, lost: float = 0.0
    ) -> None:
        self.plane, self.noise, self.lost = plane, noise, lost
        if not (len(plane.goals) or plane.aim == "anywhere"):
            raise ActrixError("there is no goal in this level", misuse=True)
        known = plane.level.routes
        if chances is not None and (len(chances) != len(known) or min(chances) < 0 or sum(chances) <= 0):
            raise ActrixError(f"this level has {len(known)} routes; chances are {list(chances)}", misuse=True)
        self.chances = None if chances is None else np.cumsum(chances) / np.sum(chances)
        pusher = isinstance(plane, Pushers)
        # a disc that is pushed needs room for the one behind it
        self.paths = Paths(plane.level, PUSHED if pusher else RADIUS, 2 * RADIUS + 0.02 if pusher else 0.02)
        self.places = np.array([plane.level.at(*cell) for cell in known]).reshape(-1, 2)
        n = plane.num_envs
        self.route = np.full(n, -1)  # which each takes; -1: the shortest way, -2: it wanders
        self.via, self.side = np.zeros(n, bool), np.ones(n)  # still on the way to the route's cell; which way round
        self.target, self.onward = np.zeros((n, 2)), np.zeros((n, len(self.paths.corners)))

    def __call__(self) -> np.ndarray:
        plane = self.plane
        self._begin(np.flatnonzero(plane.clock == 0))
        lead = plane.bodies[:, -1]
        through = np.flatnonzero(self.via & (length(lead - self.target) < NEAR))
        if len(through):
            self.via[through] = False
            self._aim(through, plane.goal[through])
        mark, _ = self.paths.ahead(lead, self.target, self.onward)
        ahead = self._behind(mark) if isinstance(plane, Pushers) else mark - lead
        wish = ahead / np.maximum(length(ahead), 1e-9)[:, None] * np.minimum(length(ahead), SPEED)[:, None]
        action = (0.6 * wish - DAMPING * plane.speed) / FORCE if plane.control == "force" else wish / SPEED
        key = torch.from_numpy(plane.key)
        shaken = self.noise * draws.normal(key, torch.from_numpy(plane.clock) + 1_000, 2).numpy().T
        drift = 2 * draws.uniform(key, torch.from_numpy(plane.clock // 8) + 100, 2).numpy().T - 1
        action = np.where((self.route == -2)[:, None], drift, action)
        return np.clip(action + shaken, -1.0, 1.0).astype(np.float32)

    def _begin(self, at: np.ndarray) -> None:
        u = draws.uniform(torch.from_numpy(self.plane.key[at]), 50, 3).numpy()
        self.route[at] = -1 if self.chances is None else np.searchsorted(self.chances, u[0], side="right")
        self.route[at[u[1] < self.lost]] = -2
        self.side[at] = np.where(u[2] < 0.5, -1.0, 1.0)
        self.via[at] = self.route[at] >= 0
        target = self.plane.goal[at].copy()
        chosen = self.route[at] >= 0
        target[chosen] = self.places[self.route[at[chosen]]]
        self._aim(at, target)

    def _aim(self, at: np.ndarray, target: Array) -> None:
        self.target[at], self.onward[at] = target, self.paths.onward(target)

    def _behind(self, mark: Array) -> Array:
        """For the pusher: where to go, so that the disc goes to the mark: round it first, then straight on."""
        hand, disc = self.plane.bodies[:, 0], self.plane.bodies[:, 1]
        way = mark - disc
        way = way / np.maximum(length(way), 1e-9)[:, None]
        at = hand - disc
        forward, aside = (at * way).sum(1), way[:, 0] * at[:, 1] - way[:, 1] * at[:, 0]
        angle = np.arctan2(aside, -forward)  # 0: right behind it
        turn = np.where(np.abs(angle) > 2.5, self.side, np.sign(angle))  # in front of it: either way round
        new = np.where(np.abs(angle) > 2.5, self.side * 2.2, angle - turn * np.minimum(np.abs(angle), 0.6))
        far = RADIUS + PUSHED + 0.03
        around = disc + far * (
            -np.cos(new)[:, None] * way + np.sin(new)[:, None] * np.stack((-way[:, 1], way[:, 0]), 1)
        )
        offset = aside[:, None] * np.stack((-way[:, 1], way[:, 0]), 1)
        straight = SPEED * way - offset
        return np.where((np.abs(angle) < 0.3)[:, None], straight, around - hand)


def recorded(plane: Plane, act: Callable[[], Any], episodes: int, seed: int = 0) -> list[Episode]:
    """Play so many whole episodes, all worlds at once, and record them (they are `seed`, `seed` + 1, ...).

    act: () -> actions [N, 2], an `Expert` for example. Every world plays the same number (the last ones may be left
    out), so that short episodes are not more frequent than they are.
    """
    n = plane.num_envs
    each = -(-episodes // n)
    found: list[Episode] = []
    for turn in range(each):
        obs, _ = plane.reset(seed=seed + turn * n)
        seen, done, rewards, ends, endings = [obs], list[Any](), list[Any](), list[Any](), list[Any]()
        over = np.zeros(n, bool)
        while not over.all():
            action = act()
            obs, reward, terminated, truncated, _ = plane.step(action)
            seen.append(obs)
            done.append(action)
            rewards.append(reward)
            ends.append((terminated | truncated) & ~over)
            endings.append(terminated)
            over |= terminated | truncated
        stop = np.stack(ends).argmax(0) + 1
        states, actions, paid = np.stack(seen, 1), np.stack(done, 1), np.stack(rewards, 1)
        for i in range(min(n, episodes - len(found))):
            t = int(stop[i])
            end, rows = bool(endings[t - 1][i]), list(states[i, : t + 1])
            number = seed + turn * n + i
            found.append(Episode(rows, list(actions[i, :t]), paid[i, :t].tolist(), end, not end, number))
    return found
