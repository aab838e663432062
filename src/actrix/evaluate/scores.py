"""Episodes -> scores: play a policy from fixed evaluation starts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from actrix.envs.worlds import Worlds
from actrix.evaluate.episodes import Scores, episode_seed

ActRows = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


def score(act: ActRows, worlds: Worlds, episodes: int, seed: int) -> Scores:
    """Play `episodes` episodes, as many at a time as there are worlds, each from its own fixed start.

    act: (canonical observations [N, D], legal choices [N, C] or None) -> canonical actions [N, A]. A start depends
    only on `seed` and the episode's number, so two policies meet the same ones.
    """
    returns, lengths = np.zeros(episodes), np.zeros(episodes, np.int64)
    terminated = np.zeros(episodes, bool)
    seeds = [episode_seed(seed, i) for i in range(episodes)]
    for first in range(0, episodes, worlds.n):
        # a world without an episode of its own in the last block repeats the first start, uncounted
        block = [first + i if first + i < episodes else first for i in range(worlds.n)]
        playing = np.array([first + i < episodes for i in range(worlds.n)])
        obs, mask = worlds.reset([seeds[i] for i in block])
        while playing.any():
            out = worlds.step(act(obs, mask))
            counted = playing & out.valid
            for i in np.flatnonzero(counted):
                episode = block[i]
                returns[episode] += out.reward[i]
                lengths[episode] += 1
                if out.terminated[i] or out.truncated[i]:
                    terminated[episode], playing[i] = out.terminated[i], False
            obs, mask = out.obs, out.mask
    return Scores(returns, lengths, terminated, tuple(seeds))
