"""Play whole episodes on fixed evaluation seeds: the only source of scores in the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actrix.errors import ActrixError
from actrix.evaluate.statistics import Array, Interval, interval
from actrix.rng import numpy_stream, seed_of


@dataclass(frozen=True)
class Scores:
    """What the episodes gave, in episode order; every array is `[episodes]`.

    `returns` are undiscounted sums of reward. `terminated` is True where the environment ended the
    episode itself and False where a time limit cut it off. `successes` is there only where the
    environment reports `info["is_success"]` (or `"success"`) at the end of every episode.
    """

    returns: Array
    lengths: npt.NDArray[np.int64]
    terminated: npt.NDArray[np.bool_]
    seeds: tuple[int, ...]
    successes: Array | None = None

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


def run_episodes(
    act: Callable[[Any], Any],
    make_env: Callable[[], Any],
    episodes: int,
    seed: int,
    *,
    envs: int = 1,
    max_steps: int = 1_000_000,
) -> Scores:
    """Play `episodes` episodes and return their scores.

    Episode number i always resets with `episode_seed(seed, i)`, whoever plays it and in how many
    environments, so two policies meet the same starts and a repeated evaluation gives the same scores.

    act: `obs -> action` of one environment; with `envs > 1`, `obs [n, ...] -> actions [n, ...]` where n
        is the number of environments still playing (dictionary and tuple observations are batched by leaf).
    make_env: makes one fresh Gymnasium environment; each is closed at the end.
    max_steps: an episode longer than this never ends, and is an error.

    Raises ActrixError for a NaN or infinite reward and for an episode that does not end.
    """
    if episodes < 1:
        raise ActrixError(f"an evaluation needs at least one episode, got {episodes}", "raise the number")
    width = min(envs, episodes)
    worlds = [make_env() for _ in range(width)]
    try:
        return _play(act, worlds, episodes, seed, max_steps, batched=envs > 1)
    finally:
        for world in worlds:
            world.close()


def _play(
    act: Callable[[Any], Any], worlds: list[Any], episodes: int, seed: int, max_steps: int, batched: bool
) -> Scores:
    seeds = tuple(episode_seed(seed, i) for i in range(episodes))
    returns, lengths = np.zeros(episodes), np.zeros(episodes, np.int64)
    terminated = np.zeros(episodes, np.bool_)
    successes: list[float | None] = [None] * episodes
    waiting = iter(range(episodes))
    playing: dict[int, int] = {}  # slot -> episode
    obs: dict[int, Any] = {}

    def start(slot: int) -> None:
        episode = next(waiting, None)
        playing.pop(slot, None)
        obs.pop(slot, None)
        if episode is not None:
            playing[slot] = episode
            obs[slot] = worlds[slot].reset(seed=seeds[episode])[0]

    for slot in range(len(worlds)):
        start(slot)
    while playing:
        slots = sorted(playing)
        actions = act(stack([obs[s] for s in slots])) if batched else [act(obs[slots[0]])]
        for slot, action in zip(slots, actions, strict=True):
            episode = playing[slot]
            obs[slot], reward, end, cut, info = worlds[slot].step(action)
            returns[episode] += checked(reward, episode, int(lengths[episode]))
            lengths[episode] += 1
            if lengths[episode] >= max_steps and not (end or cut):
                raise ActrixError(
                    f"evaluation episode {episode} did not end within {max_steps:,} steps",
                    "give the environment a time limit (gymnasium.make(..., max_episode_steps=N))",
                )
            if end or cut:
                terminated[episode] = bool(end)
                won = info.get("is_success", info.get("success"))
                successes[episode] = None if won is None else float(np.asarray(won).item())
                start(slot)
    known = [s for s in successes if s is not None]
    won_all = np.array(known) if len(known) == episodes else None
    return Scores(returns, lengths, terminated, seeds, won_all)


def checked(reward: Any, episode: int, step: int) -> float:
    """The reward as a float; ActrixError where it is NaN or infinite."""
    value = float(reward)
    if not np.isfinite(value):
        raise ActrixError(
            f"the environment returned reward {value} at step {step} of evaluation episode {episode}",
            "check the environment's reward; a score that contains it would mean nothing",
        )
    return value


def stack(items: Sequence[Any]) -> Any:
    """Observations of several environments as one batch: dictionaries and tuples leaf by leaf."""
    first = items[0]
    if isinstance(first, dict):
        return {key: stack([item[key] for item in items]) for key in first}
    if isinstance(first, tuple):
        return tuple(stack(list(part)) for part in zip(*items, strict=True))
    return np.stack([np.asarray(item) for item in items])


def random_policy(env: Any, seed: int) -> Callable[[Any], Any]:
    """A policy that draws actions from the environment's action space: the floor to compare scores with."""
    env.action_space.seed(int(numpy_stream(seed, "random-policy").integers(2**31)))
    return lambda obs: env.action_space.sample()
