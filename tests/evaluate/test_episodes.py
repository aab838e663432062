"""Episodes: fixed starts, the same scores however many worlds play, and clear errors."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from actrix.envs.many import make_worlds
from actrix.envs.worlds import LocalWorlds
from actrix.errors import ActrixError
from actrix.evaluate.episodes import Scores, episode_seed, score


class Countdown(gymnasium.Env[np.ndarray, int]):
    """Lasts 3 to 9 steps, drawn at reset; pays the action; `bad` is paid instead at step 3."""

    observation_space = gymnasium.spaces.Box(0, 10, (1,))
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, bad: float | None = None, forever: bool = False) -> None:
        self.bad, self.forever = bad, forever

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.left, self.age = int(self.np_random.integers(3, 10)), 0
        return np.array([self.left], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.left, self.age = self.left - 1, self.age + 1
        reward = self.bad if self.bad is not None and self.age == 3 else float(action)
        return np.array([max(self.left, 0)], np.float32), reward, self.left <= 0 and not self.forever, False, {}


def play(choose: Any, episodes: int, seed: int, worlds: int = 1, max_steps: int = 10_000, **env: Any) -> Scores:
    made = LocalWorlds([lambda: Countdown(**env)] * worlds, "Countdown")
    try:
        return score(
            lambda obs, mask, memory: (choose(obs).astype(np.int64).reshape(-1, 1), None),
            made,
            episodes,
            seed,
            max_steps,
        )
    finally:
        made.close()


def test_scores_are_returns_and_lengths() -> None:
    scores = play(lambda obs: np.full(len(obs), 2), 20, seed=0)
    np.testing.assert_array_equal(scores.returns, 2.0 * scores.lengths)
    assert len(set(scores.lengths)) > 3
    assert scores.terminated.all()
    assert scores.interval().low <= scores.mean <= scores.interval().high


def test_the_same_however_many_worlds_play() -> None:
    one = play(lambda obs: obs[:, 0] % 3, 11, seed=4)
    many = play(lambda obs: obs[:, 0] % 3, 11, seed=4, worlds=4)
    np.testing.assert_array_equal(one.returns, many.returns)
    np.testing.assert_array_equal(one.lengths, many.lengths)
    assert play(lambda obs: obs[:, 0] % 3, 11, seed=5).seeds != one.seeds


def test_seeds_are_fixed_and_distinct() -> None:
    seeds = [episode_seed(s, i) for s in range(10) for i in range(100)]
    assert len(set(seeds)) == 1000
    assert all(0 <= s < 2**31 for s in seeds)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rewards_that_are_not_finite_are_an_error(bad: float) -> None:
    with pytest.raises(ActrixError, match="reward") as error:
        play(lambda obs: np.zeros(len(obs)), 5, seed=0, bad=bad)
    assert error.value.hint


def test_endless_episodes_and_empty_evaluations_are_errors() -> None:
    with pytest.raises(ActrixError, match="did not end"):
        play(lambda obs: np.zeros(len(obs)), 1, seed=0, max_steps=50, forever=True)
    with pytest.raises(ActrixError, match="at least one"):
        play(lambda obs: np.zeros(len(obs)), 0, seed=0)


def test_time_limits_are_not_terminations() -> None:
    worlds = make_worlds("Pendulum-v1", 2)
    scores = score(lambda obs, mask, memory: (np.zeros((len(obs), 1), np.float32), None), worlds, 2, seed=0)
    worlds.close()
    assert not scores.terminated.any()
    assert (scores.lengths == 200).all()


def test_memory_begins_with_the_episodes_and_is_handed_on() -> None:
    """Of 5 episodes in 2 worlds there are 3 beginnings; in between, what the policy returned comes back to it."""
    made = LocalWorlds([Countdown] * 2, "Countdown")
    beginnings, last = 0, None

    def act(obs: Any, mask: Any, memory: Any) -> Any:
        nonlocal beginnings, last
        assert memory is None or memory is last
        beginnings += memory is None
        last = [] if memory is None else [*memory, len(memory)]
        return np.full((len(obs), 1), len(last) % 3, np.int64), last

    scores = score(act, made, 5, 0)
    made.close()
    assert beginnings == 3
    # the action of a step is its number in the episode, from 0, modulo 3
    np.testing.assert_array_equal(scores.returns, [sum(t % 3 for t in range(n)) for n in scores.lengths])
