"""Gymnasium spaces <-> canonical rows: every space is mapped once, here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from actrix.errors import ActrixError
from actrix.spec import Box, Choices, Part, Spec, size_of

Flatten = Callable[[Any], np.ndarray]
PRIVILEGED = "privileged"  # the key of a Dict observation under which is what only critics may see
AGENTS = "agents"  # the key of a Dict observation under which is a Tuple: what each of several agents sees


def is_image(space: gym.Space) -> bool:
    """A uint8 box of two or three dimensions whose sides are at least 8 pixels."""
    if not (isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)):
        return False
    return sorted(space.shape)[-2] >= 8


def leaves(space: gym.Space, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], gym.Space]]:
    """(keys that lead to it, leaf space) for every leaf of a possibly nested space, in a fixed order."""
    if isinstance(space, spaces.Dict):
        return [leaf for key, inner in space.spaces.items() for leaf in leaves(inner, (*path, key))]
    if isinstance(space, spaces.Tuple):
        return [leaf for i, inner in enumerate(space.spaces) for leaf in leaves(inner, (*path, i))]
    return [(path, space)]


def one_hot(name: str, value: Any, start: np.ndarray, sizes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    choice = checked(name, value, shape).reshape(-1).astype(np.int64) - start
    if (choice < 0).any() or (choice >= sizes).any():
        raise ActrixError(
            f"the environment returned {name!r} of {value}, which is outside its space",
            "fix the environment's observation_space or what its reset and step return",
        )
    row = np.zeros(int(sizes.sum()), np.float32)
    row[np.concatenate(([0], np.cumsum(sizes)[:-1])) + choice] = 1.0
    return row


def leaf_row(name: str, space: gym.Space) -> tuple[tuple[int, ...], Flatten]:
    """Width and shape of a leaf as a row, and the function that makes the row."""
    if isinstance(space, spaces.Box):
        shape, whole = space.shape, is_image(space)
        return shape, lambda o: checked(name, o, shape, whole).reshape(-1)
    if isinstance(space, spaces.Discrete):
        n, start = np.array([space.n]), np.array([space.start])
        return (int(space.n),), lambda o: one_hot(name, o, start, n, ())
    if isinstance(space, spaces.MultiDiscrete):
        shape, nvec, starts = space.nvec.shape, space.nvec.reshape(-1), np.asarray(space.start).reshape(-1)
        return (int(nvec.sum()),), lambda o: one_hot(name, o, starts, nvec, shape)
    if isinstance(space, spaces.MultiBinary):
        shape = space.shape
        return (size_of(shape),), lambda o: checked(name, o, shape).reshape(-1)
    raise ActrixError(
        f"observation {name!r} is a {type(space).__name__} space, which has no fixed-width form",
        "wrap the environment so that it returns Box, Discrete, MultiDiscrete, MultiBinary, or Dict/Tuple of these",
    )


def checked(name: str, value: Any, shape: tuple[int, ...], image: bool = False) -> np.ndarray:
    """The value as an array, which must have the shape, and for images the type, that its space promises."""
    array = np.asarray(value)
    if array.shape != shape:
        raise ActrixError(
            f"the environment returned {name!r} of shape {array.shape}, but its space says {shape}",
            "fix the environment's observation_space or what its reset and step return",
        )
    if image and array.dtype != np.uint8:
        raise ActrixError(
            f"the environment returned the image {name!r} as {array.dtype}, but its space says uint8",
            "fix the environment's observation_space or what its reset and step return",
        )
    return array


class ObsMap:
    """An observation space as rows: `parts`, `size`, `dtype`, and `row(obs) -> [D]`."""

    def __init__(self, space: gym.Space) -> None:
        found = leaves(space)
        self.dtype = np.dtype(np.uint8 if all(is_image(s) for _, s in found) else np.float32)
        self.parts: tuple[Part, ...] = ()
        self._makers: list[tuple[int, int, tuple[Any, ...], Flatten]] = []
        start = 0
        for path, leaf in found:
            hidden = PRIVILEGED in path
            name = ".".join(("obs", *map(str, path)))
            shape, make = leaf_row(name, leaf)
            stop = start + size_of(shape)
            agent = path[1] if path[:1] == (AGENTS,) and len(path) > 1 and isinstance(path[1], int) else None
            choices = isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
            self.parts += (Part(name, start, stop, shape, is_image(leaf), hidden, agent, choices),)
            self._makers.append((start, stop, path, make))
            start = stop
        if start == 0:
            raise ActrixError("the environment's observation space is empty", "a policy needs something to see")
        self.size = start
        # the usual case, a plain vector: no copy but the one into the row
        self.plain = space.shape if isinstance(space, spaces.Box) else None
        self._image = self.dtype == np.uint8
        # where all leaves are plain numbers, a batch of observations is written part by part
        self._boxes = all(isinstance(s, spaces.Box) for _, s in found)
        self.may_lack = False  # whether observations may come without their privileged parts, which are then zeros

    def write(self, obs: Any, row: np.ndarray) -> None:
        """Write one observation into `row` [D]."""
        if self.plain is not None:
            row[:] = checked("obs", obs, self.plain, self._image).reshape(-1)
            return
        for start, stop, path, make in self._makers:
            value = obs
            try:
                for key in path:
                    value = value[key]
            except KeyError:
                if not (self.may_lack and PRIVILEGED in path):
                    raise
                row[start:stop] = 0
                continue
            row[start:stop] = make(value)

    def row(self, obs: Any) -> np.ndarray:
        row = np.empty(self.size, self.dtype)
        self.write(obs, row)
        return row

    def rows(self, tree: Any) -> np.ndarray:
        """Many observations, held as arrays [N, ...] at the leaves of the space: [N, D]. Where all leaves are numbers,
        rows [N, D] that hold leaf after leaf in the order of the space are taken as they are."""
        if self.plain is not None:
            array = np.asarray(tree)
            if array.shape[1:] != self.plain and size_of(array.shape[1:]) != self.size:
                raise ActrixError(f"observations have the shape {array.shape[1:]}, not {self.plain}")
            if self._image and array.dtype != np.uint8:
                raise ActrixError(f"observations are {array.dtype}, but the space says uint8 images")
            return np.ascontiguousarray(array.reshape(len(array), self.size), self.dtype)
        if isinstance(tree, np.ndarray):
            if not self._boxes or tree.shape[1:] != (self.size,):
                raise ActrixError(f"observations have the shape {tree.shape[1:]}, and the space has several parts")
            return np.ascontiguousarray(tree, self.dtype)
        try:
            n = min(len(pick(tree, path)) for _, _, path, _ in self._makers)
            rows = np.empty((n, self.size), self.dtype)
            for start, stop, path, make in self._makers:
                leaf = pick(tree, path)[:n]
                if self._boxes:
                    rows[:, start:stop] = np.asarray(leaf).reshape(n, -1)
                    continue
                for i, value in enumerate(leaf):
                    rows[i, start:stop] = make(value)
        except (KeyError, IndexError, TypeError) as error:
            raise ActrixError(f"observations have no part {error}, which the space has") from error
        return rows


def pick(tree: Any, path: tuple[Any, ...]) -> Any:
    """The leaf of a nested observation."""
    for key in path:
        tree = tree[key]
    return tree


class ActionMap:
    """An action space: canonical rows `[A]` or `[K]` to what the environment takes, and back."""

    def __init__(self, space: gym.Space) -> None:
        self.space = space
        self.spec: Box | Choices
        if isinstance(space, spaces.Box):
            low, high = space.low.astype(np.float64).reshape(-1), space.high.astype(np.float64).reshape(-1)
            # float32's largest number is how some environments say "unbounded"
            bounded = bool(np.all(np.abs(low) < 1e30) and np.all(np.abs(high) < 1e30))
            bounds = (tuple(low.tolist()), tuple(high.tolist())) if bounded else (None, None)
            self.spec = Box(len(low), space.shape, *bounds)
            self._low, self._high, self._bounded = low, high, bounded
            if bounded:
                self._centre, self._half = (high + low) / 2, (high - low) / 2
        elif isinstance(space, spaces.Discrete):
            self.spec = Choices((int(space.n),), "discrete", (int(space.start),))
        elif isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
            self.spec = Choices(tuple(map(int, space.nvec)), "multidiscrete", tuple(map(int, space.start)))
        elif isinstance(space, spaces.MultiBinary) and len(space.shape) == 1:
            self.spec = Choices((2,) * int(space.shape[0]), "multibinary", (0,) * int(space.shape[0]))
        else:
            raise ActrixError(
                f"no actor can act in this action space: {' '.join(str(space).split())}",
                "action spaces must be Box, Discrete, or one-dimensional MultiDiscrete or MultiBinary",
            )
        if isinstance(self.spec, Choices):
            self._start = np.array(self.spec.start)

    def to_env(self, row: np.ndarray) -> Any:
        """One canonical action to the environment's own form; boxes are clipped to their bounds."""
        if isinstance(self.spec, Choices):
            if self.spec.space == "discrete":
                return self._start[0] + row[0]
            return (row + self._start).astype(self.space.dtype)
        return self._scaled(row).reshape(self.spec.shape)

    def to_env_rows(self, rows: np.ndarray) -> Any:
        """Canonical actions [N, A] as a vector environment takes them."""
        if isinstance(self.spec, Choices):
            chosen = (rows + self._start).astype(self.space.dtype)
            return chosen[:, 0] if self.spec.space == "discrete" else chosen
        return self._scaled(rows).reshape(len(rows), *self.spec.shape)

    def _scaled(self, row: np.ndarray) -> np.ndarray:
        """Numbers [..., A] in the units, bounds and type of the box."""
        value = self._centre + self._half * np.clip(row, -1.0, 1.0) if self._bounded else row.astype(np.float64)
        value = np.clip(value, self._low, self._high)
        dtype: Any = self.space.dtype
        return (np.rint(value) if dtype.kind in "iu" else value).astype(dtype)

    def from_env(self, action: Any) -> np.ndarray:
        """The inverse of `to_env` (up to its clipping, and the rounding of whole-numbered boxes)."""
        return self.rows(np.asarray(action)[None])[0]

    def rows(self, actions: Any) -> np.ndarray:
        """`from_env` of many: [N, ...] -> [N, A]; ActrixError where they are not actions of this space."""
        raw = np.asarray(actions)
        raw = raw.reshape(len(raw), -1)
        width = self.spec.size if isinstance(self.spec, Box) else len(self.spec.sizes)
        if raw.shape[1] != width:
            raise ActrixError(f"actions have {raw.shape[1]} numbers, not {width}")
        if isinstance(self.spec, Choices):
            picks = (raw - self._start).astype(np.int64)
            wrong = np.argwhere((picks < 0) | (picks >= np.array(self.spec.sizes)))
            if len(wrong):
                raise ActrixError(f"action {raw[wrong[0][0]].tolist()} is not among the choices of {self.space}")
            return picks
        value = raw.astype(np.float64)
        if self._bounded:
            value = (value - self._centre) / np.where(self._half > 0, self._half, 1.0)
        return value.astype(np.float32)


class Maps:
    """Both maps of a task, for many rows at once (see `data.datasets`)."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.obs_map, self.action_map = ObsMap(observation_space), ActionMap(action_space)
        self.spec = Spec(self.obs_map.parts, self.action_map.spec, self.obs_map.dtype.name)

    def obs_rows(self, tree: Any) -> np.ndarray:
        """Observations as arrays [N, ...] at the leaves of their space: [N, D]."""
        return self.obs_map.rows(tree)

    def action_rows(self, values: Any) -> tuple[np.ndarray, int]:
        """Actions [N, ...] to canonical rows [N, A] within the bounds, and how many rows had to be brought there."""
        rows = self.action_map.rows(values)
        if self.spec.action_kind != "box":
            return rows, 0
        outside = int((np.abs(rows) > 1.0 + 1e-4).any(1).sum())
        return rows.clip(-1.0, 1.0), outside
