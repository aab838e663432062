"""Learning from paths through a world that lets gradients through."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from actrix.envs.flow import Moved
from actrix.errors import ActrixError
from actrix.rng import torch_stream
from actrix.run.feeds import flatten
from actrix.run.paths import PathFeed
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.control.shac import SHAC, Config

DT, EDGE, LIMIT = 0.1, 3.0, 40


def ahead(state: Tensor, force: Tensor) -> tuple[Tensor, Tensor]:
    """A cart [N, 2] (position, velocity) under a force [N, 1]: (state, reward [N])."""
    x, v = state.unbind(-1)
    reward = -(x.square() + 0.1 * v.square() + 0.1 * force[:, 0].square())
    return torch.stack((x + DT * v, v + DT * force[:, 0]), -1), reward


class CartFlow:
    def __init__(self, n: int) -> None:
        self.n = n

    def reset(self, seeds: Sequence[int]) -> Tensor:
        self.draw = torch.Generator().manual_seed(sum(seeds) % 2**31)
        self.state, self.clock = self._start(), torch.zeros(self.n)
        return self.state

    def _start(self) -> Tensor:
        return 2 * torch.rand(self.n, 2, generator=self.draw) - 1

    def step(self, action: Tensor) -> Moved:
        after, reward = ahead(self.state, action)
        terminated = after[:, 0].abs() > EDGE
        truncated = (self.clock >= LIMIT - 1) & ~terminated
        ended = terminated | truncated
        self.state = torch.where(ended[:, None], self._start(), after)
        self.clock = torch.where(ended, 0, self.clock + 1)
        return Moved(self.state, after, reward, terminated, truncated)

    def cut(self) -> Tensor:
        self.state = self.state.detach()
        return self.state


class Cart(gym.Env):
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def flow(self, n: int, compile: bool) -> CartFlow:
        return CartFlow(n)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.state, self.t = np.float32(self.np_random.uniform(-1, 1, 2)), 0
        return self.state, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        after, reward = ahead(torch.from_numpy(self.state)[None], torch.as_tensor(action)[None])
        self.state, self.t = after[0].numpy(), self.t + 1
        return self.state, float(reward), bool(abs(self.state[0]) > EDGE), self.t >= LIMIT, {}


gym.register("PathCart-v0", entry_point=Cart)


def start(folder: Path | None = None, steps: int = 10_000, seed: int = 0, every: int = 0, **config: Any) -> Trainer:
    settings: dict[str, Any] = {"hidden": (8,), "envs": 5, "horizon": 60, "minibatch": 0, "epochs": 1, **config}
    options = RunOptions(
        env="PathCart-v0", steps=steps, seed=seed, compile="no", threads=1, checkpoint_every=every, eval_episodes=5
    )
    return Trainer.start("shac", options, Config(**settings), folder)


@pytest.mark.parametrize("plain", [True, False])
def test_slopes_give_the_gradient_of_the_whole_path(plain: bool) -> None:
    """Against the worth of the same path, unrolled with the parameters alive, one world after the other."""
    # strong noise throws carts over the edge, and the path is longer than an episode: every kind of end is there
    trainer = start(log_std=2.0, normalise_obs=not plain)
    learner, feed = trainer.learner, trainer.feed
    assert isinstance(learner, SHAC)
    assert isinstance(feed, PathFeed)
    feed.reset()
    if not plain:
        for _ in feed.round(learner):  # gives the normaliser something
            pass
    twin = CartFlow(5)
    twin.state, twin.clock = feed.flow.state.clone(), feed.flow.clock.clone()  # type: ignore[attr-defined]
    twin.draw = torch.Generator()
    twin.draw.set_state(feed.flow.draw.get_state())  # type: ignore[attr-defined]
    at = feed.progress.steps
    with torch_stream(0, "check"):
        before = {k: v.clone() for k, v in learner.state_dict().items()}
        steps = feed.collect(learner)
        learner.load_state_dict(before)  # statistics as they were during the path
    assert {"terminated", "truncated"} == {k for k in ("terminated", "truncated") if getattr(steps, k).any()}

    total, obs = torch.zeros(()), twin.state
    parts = [[0.0, 1.0] for _ in range(5)]  # of each world: the worth of the part under way, the next weight
    sums: list[Tensor] = []
    with torch_stream(0, "act", at):
        for t in range(60):
            action = learner.actor.act(learner.perceive(obs), "sample").action
            moved = twin.step(action)
            beyond = learner.target_critic(learner.perceive(moved.next_obs))
            for i in range(5):
                worth, weight = parts[i]
                worth, weight = worth + weight * moved.reward[i], weight * 0.99
                ended = bool(moved.terminated[i] | moved.truncated[i])
                if ended or t == 59:
                    sums.append(worth if moved.terminated[i] else worth + weight * beyond[i])
                    worth, weight = 0.0, 1.0
                parts[i] = [worth, weight]
            obs = moved.obs
    total = torch.stack(sums).sum()
    assert (learner.observer is None) == plain
    wanted = torch.autograd.grad(total, list(learner.actor.parameters()))
    rows = flatten(learner.prepare(steps))
    learner.load_state_dict(before)
    found = torch.autograd.grad(-learner.losses(rows, "actor").groups["actor"], list(learner.actor.parameters()))
    for a, b in zip(found, wanted):
        torch.testing.assert_close(300 * a, b, rtol=2e-3, atol=2e-3 * float(b.abs().max()))


def riccati(discount: float) -> np.ndarray:
    """The gain of the best linear controller of the cart: force = -gain . state."""
    a, b = np.array([[1, DT], [0, 1]]), np.array([[0], [DT]])
    q, r, p = np.diag([1, 0.1]), np.array([[0.1]]), np.zeros((2, 2))
    for _ in range(2_000):
        gain = discount * np.linalg.solve(r + discount * b.T @ p @ b, b.T @ p @ a)
        p = q + discount * a.T @ p @ (a - b @ gain)
    return gain[0]


def cost(act: Any) -> float:
    """What a controller of 50 carts costs in 200 steps, discounted."""
    state, total = 2 * torch.rand(50, 2, generator=torch.Generator().manual_seed(0)) - 1, 0.0
    for t in range(200):
        state, reward = ahead(state, act(state))
        total -= 0.99**t * float(reward.mean())
    return total


def test_it_finds_the_best_controller_of_a_linear_world() -> None:
    trainer = start(steps=32 * 32 * 100, hidden=(32,), envs=32, horizon=32, minibatch=512, rate=1e-2, anneal=120_000)
    gain = torch.tensor(riccati(0.99), dtype=torch.float32)
    best = cost(lambda state: -(state @ gain)[:, None])
    assert cost(lambda state: trainer.learner.act(state, "mean").action) > 3 * best
    list(trainer)
    assert best < cost(lambda state: trainer.learner.act(state, "mean").action) < 1.1 * best


def test_episodes_are_logged_as_they_were() -> None:
    trainer = start(log_std=1.0)
    trainer.feed.reset()
    feed = trainer.feed
    assert isinstance(feed, PathFeed)
    a, b = (feed.collect(trainer.learner) for _ in range(2))
    reward, ended = (
        torch.cat((a.reward, b.reward), 1),
        torch.cat((a.terminated | a.truncated, b.terminated | b.truncated), 1),
    )
    wanted = []
    for i in range(5):
        first = 0
        for t in ended[i].nonzero()[:, 0].tolist():
            wanted.append((5 * (t + 1), float(reward[i, first : t + 1].sum()), t + 1 - first))
            first = t + 1
    assert len(wanted) > 5
    for found, expected in zip(sorted(feed.progress.episodes), sorted(wanted)):
        assert found == pytest.approx(expected, rel=1e-5)


def test_a_resumed_run_computes_the_same_bits(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole", steps=1_500, every=600)
    list(whole)
    cut = start(tmp_path / "cut", steps=600, every=600)
    list(cut)
    for trainer in (whole, cut):
        trainer.close()
    resumed = Trainer.resume(tmp_path / "cut", steps=1_500)
    list(resumed)
    resumed.close()
    for key, value in whole.learner.state().items():
        assert torch.equal(value, resumed.learner.state()[key]), key


def test_a_world_that_returns_nonsense_is_named() -> None:
    trainer = start(envs=3, horizon=4)
    flow: Any = trainer.feed.flow  # type: ignore[attr-defined]
    whole = flow.step

    def broken(action: Tensor) -> Moved:
        moved = whole(action)
        return Moved(
            moved.obs, moved.next_obs, moved.reward / torch.tensor([1.0, 0.0, 1.0]), moved.terminated, moved.truncated
        )

    flow.step = broken
    with pytest.raises(ActrixError, match=r"environment 1 \(PathCart-v0\): step returned reward of -inf"):
        list(trainer)


def test_a_world_without_gradients_is_refused() -> None:
    with pytest.raises(ActrixError, match=r"Pendulum-v1 does not say how its rewards change with actions") as caught:
        Trainer.start("shac", RunOptions(env="Pendulum-v1", steps=100))
    assert caught.value.misuse
    assert "ppo" in caught.value.hint
