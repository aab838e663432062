"""Play whole episodes on fixed evaluation seeds: the only source of scores in the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actrix.errors import ActrixError
from actrix.evaluate.statistics import Array, Interval, interval
from actrix.rng import seed_of

if TYPE_CHECKING:
    from actrix.envs.worlds import Worlds

ActRows = Callable[[npt.NDArray[Any], npt.NDArray[np.bool_] | None, Any], tuple[npt.NDArray[Any], Any]]
"""(canonical observations [N, D], legal choices [N, C] or None, memory) -> canonical actions [N, A], memory: what the
policy carries from moment to moment; None where the episodes of all rows begin."""


@dataclass(frozen=True)
class Scores:
    """What the episodes gave, in episode order; every array is `[episodes]`.

    `returns` are undiscounted sums of reward. `terminated` is True where the environment ended the
    episode itself and False where a time limit cut it off.
    """

    returns: Array
    lengths: npt.NDArray[np.int64]
    terminated: npt.NDArray[np.bool_]
    seeds: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    def interval(self) -> Interval:
        """Mean return with its 95 % interval: Student-t below ten episodes, bootstrap from ten on."""
        return interval(self.returns, "student" if len(self.returns) < 10 else "bootstrap")


def episode_seed(seed: int, episode: int) -> int:
    """The reset seed of evaluation episode number `episode`, below 2**31 as environments want it."""
    return seed_of(seed, "evaluate", episode) % 2**31


def score(act: ActRows, worlds: Worlds, episodes: int, seed: int, max_steps: int = 1_000_000) -> Scores:
    """Play `episodes` episodes, as many at a time as there are worlds, each from its own fixed start.

    Episode number i always resets with `episode_seed(seed, i)`, whoever plays it and in how many worlds, so two
    policies meet the same starts and a repeated evaluation gives the same scores.

    max_steps: an episode longer than this never ends, and is an error.

    Raises ActrixError for an episode that does not end (and, from the worlds, for a reward that is not finite).
    """
    if episodes < 1:
        raise ActrixError(f"an evaluation needs at least one episode, got {episodes}", "raise the number", misuse=True)
    returns, lengths = np.zeros(episodes), np.zeros(episodes, np.int64)
    terminated = np.zeros(episodes, np.bool_)
    seeds = tuple(episode_seed(seed, i) for i in range(episodes))
    for first in range(0, episodes, worlds.n):
        # a world without an episode of its own in the last block repeats the first start, uncounted
        block = [first + i if first + i < episodes else first for i in range(worlds.n)]
        playing = np.array([first + i < episodes for i in range(worlds.n)])
        obs, mask = worlds.reset([seeds[i] for i in block])
        memory = None
        while playing.any():
            action, memory = act(obs, mask, memory)
            out = worlds.step(action)
            for i in np.flatnonzero(playing & out.valid):
                episode = block[i]
                returns[episode] += out.reward[i]
                lengths[episode] += 1
                if out.terminated[i] or out.truncated[i]:
                    terminated[episode], playing[i] = out.terminated[i], False
                elif lengths[episode] >= max_steps:
                    raise ActrixError(
                        f"evaluation episode {episode} did not end within {max_steps:,} steps",
                        "give the environment a time limit (gymnasium.make(..., max_episode_steps=N))",
                    )
            obs, mask = out.obs, out.mask
    return Scores(returns, lengths, terminated, seeds)


def checked(reward: Any, episode: int, step: int) -> float:
    """The reward as a float; ActrixError where it is NaN or infinite."""
    value = float(reward)
    if not np.isfinite(value):
        raise ActrixError(
            f"the environment returned reward {value} at step {step} of evaluation episode {episode}",
            "check the environment's reward; a score that contains it would mean nothing",
        )
    return value
