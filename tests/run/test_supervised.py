"""Acting under supervision, against a plain loop over what should happen; and RLIF, which learns from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_offline import bits, start
from torch import Tensor

from actrix.data.formats import write_flat
from actrix.envs.make import make_env
from actrix.envs.many import make_worlds
from actrix.errors import ActrixError
from actrix.rng import torch_stream
from actrix.run.collect import record
from actrix.run.supervised import Judge, Supervised
from actrix.run.trainer import Trainer

LENGTH = 23
SMALL: dict[str, Any] = {
    "hidden": (8,), "batch": 8, "members": 2, "compile": "no", "threads": 1, "workers": 0, "env": "Watched-v0",
    "steps": 2, "eval_episodes": 1, "attention": 1.0, "slip": 0.0,
}  # fmt: skip


class Watched(gym.Env):
    """What is seen are the place in the episode and the last action; the task's reward is 77. The supervisor would do
    0.25, and objects at places that are multiples of 3 or 7."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return np.array([self.t, action[0]], np.float32), 77.0, False, self.t >= LENGTH, {}

    @staticmethod
    def supervise(obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        place = obs[:, 0].long()
        return (place % 3 == 0) | (place % 7 == 0), torch.full_like(action, 0.25)


gym.register("Watched-v0", entry_point=Watched)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One episode of random actions."""
    file, env = tmp_path_factory.mktemp("data") / "watched.npz", make_env("Watched-v0")
    found = record(lambda obs, mask: env.action_space.sample(), env, 1, 0)
    write_flat(file, found, (env.observation_space, env.action_space), {"env": "Watched-v0"})
    return str(file)


def expected(steps: int, hold: int, blamed: bool) -> tuple[list[bool], list[float]]:
    """Who makes each of so many steps, and its reward: by a plain loop."""
    led: list[bool] = []
    reward: list[float] = []
    left = 0
    for i in range(steps):
        place = i % LENGTH
        if place == 0:
            left = 0
        free = left == 0 and (place == 0 or not led[-1])
        begins = free and (place % 3 == 0 or place % 7 == 0)
        left = hold if begins else left
        led.append(left > 0)
        if place and (begins or (blamed and led[-1])):
            reward[-1] = -1.0
        reward.append(0.0)
        left = max(left - 1, 0)
    return led, reward


@pytest.mark.parametrize("envs", [1, 2])
@pytest.mark.parametrize(("hold", "blamed"), [(1, False), (4, False), (4, True)])
def test_takeovers_and_their_price(hold: int, blamed: bool, envs: int, data: str) -> None:
    """Who acts, what is stored, what it costs, and that no reward of the task is ever seen."""
    steps = 3 * LENGTH + 5
    trainer = start("rlif", **SMALL, data=(data,), online_steps=steps * envs, envs=envs, hold=hold, blamed=blamed)
    rewards: set[float] = set()
    shares = []
    feed: Any = trainer.feed
    feed.reset()
    while not trainer.done:
        for batch, _ in feed.round(trainer.learner):
            rewards |= set(batch.reward.tolist())
            feed.progress.updates += 1
        if feed.begun and feed.online.started:
            shares.append(float(feed.progress.figures["supervised"]))
    assert isinstance(feed.online, Supervised)
    led, reward = expected(steps, hold, blamed)
    found = feed.online.replay.tensors()
    for world in range(envs):
        assert found["reward"][world::envs].tolist() == reward
        assert (found["action"][world::envs, 0] == 0.25).tolist() == led
        assert found["obs"][world::envs, 0].tolist() == [i % LENGTH for i in range(steps)]
    assert shares == [float(x) for x in led]
    assert rewards == {0.0, -1.0}
    trainer.close()


def test_attention_and_slips_are_chances(data: str) -> None:
    """With holds of one step, every step after one of the policy's is one at which the supervisor may begin."""
    for attention, slip in ((0.8, 0.1), (0.3, 0.3)):
        chances = {"attention": attention, "slip": slip}
        trainer = start("rlif", **{**SMALL, **chances}, data=(data,), online_steps=10, hold=1, envs=4_000)
        online: Any = trainer.feed
        online = online.online
        online.reset()
        online.stale = False
        for place in range(8):
            could = ~online.led
            with torch_stream(0, "act", place):
                online.obs = np.full((4_000, 2), place, np.float32)
                online.chosen(torch.zeros(4_000, 1))
            chance = attention if place % 3 == 0 or place % 7 == 0 else slip
            assert online.led[could].mean() == pytest.approx(chance, abs=0.04)
            assert not online.led[~could].any()
        trainer.close()


def test_the_replay_begins_with_the_data(data: str) -> None:
    """Of 23 recorded rows and n of the replay, the latter are n / (23 + n) of the half that is replay's."""
    trainer = start("rlif", **{**SMALL, "batch": 500}, data=(data,), online_steps=30)
    feed: Any = trainer.feed
    feed.reset()
    recorded = feed.data.sources[0].data.tensor("action")
    assert len(recorded) == LENGTH
    while not trainer.done:
        for drawn, _ in feed.round(trainer.learner):
            batch = drawn
            feed.progress.updates += 1
    fresh = ~(batch.action == recorded[:, 0]).any(1)
    assert float(fresh.float().mean()) == pytest.approx(0.5 * 30 / (30 + LENGTH), abs=0.003)
    trainer.close()


def test_a_resumed_run_under_supervision_has_the_same_bits(data: str, tmp_path: Path) -> None:
    settings = {**SMALL, "data": (data,), "online_steps": 58, "checkpoint_every": 20, "eval_every": 60, "slip": 0.2}
    whole = start("rlif", tmp_path / "whole", **settings)
    list(whole)
    whole.close()
    trainer = start("rlif", tmp_path / "cut", **settings)
    for report in trainer:
        if report.step >= 51:
            break
    trainer.close()
    resumed = Trainer.resume(tmp_path / "cut")
    assert resumed.step == 40
    list(resumed)
    resumed.close()
    assert bits(tmp_path / "cut") == bits(tmp_path / "whole")


def test_a_run_supervises(data: str, tmp_path: Path) -> None:
    """It objects exactly where its critics' mean says that its own action is better by more than the margin."""
    sac = start("sac", tmp_path / "sac", env="Watched-v0", steps=30, warmup=10, batch=8, hidden=(8,), eval_episodes=1,
                compile="no", threads=1, workers=0)  # fmt: skip
    list(sac)
    sac.close()
    judge = Judge(str(tmp_path / "sac"), sac.regime.worlds, 0.0)  # type: ignore[attr-defined]
    obs, action = torch.randn(64, 2), torch.rand(64, 1) * 2 - 1
    own = sac.learner.act(obs, "mean").action
    critic: Any = sac.learner.critic
    gap = (critic(obs, own).members - critic(obs, action).members).mean(0).detach()
    for margin in (0.0, float(gap.median())):
        judge.margin = margin
        objects, better = judge(obs, action)
        assert torch.equal(better, own)
        sure = (gap - margin).abs() > 1e-6
        assert torch.equal(objects[sure], (gap > margin)[sure])
    supervised = start("rlif", **SMALL, data=(data,), online_steps=3, supervisor=str(tmp_path / "sac"))
    assert list(supervised)[-1].step == 5
    supervised.close()
    with pytest.raises(ActrixError, match="does not have the spaces of Pendulum-v1") as caught:
        Judge(str(tmp_path / "sac"), make_worlds("Pendulum-v1", 1), 0.0)
    assert caught.value.misuse


def test_without_a_supervisor_it_says_what_to_do(data: str, tmp_path: Path) -> None:
    env = make_env("Pendulum-v1")
    found = record(lambda obs, mask: env.action_space.sample(), env, 1, 0)
    write_flat(tmp_path / "a.npz", found, (env.observation_space, env.action_space), {"env": "Pendulum-v1"})
    plain = {**SMALL, "env": "Pendulum-v1", "data": (str(tmp_path / "a.npz"),)}
    with pytest.raises(ActrixError, match="has nobody who supervises") as caught:
        start("rlif", **plain, online_steps=3)
    assert caught.value.misuse
    assert "--supervisor" in caught.value.hint
    with pytest.raises(ActrixError, match=r"nowhere"):
        start("rlif", **plain, online_steps=3, supervisor=str(tmp_path / "nowhere"))
    for name, value in (("attention", 1.5), ("slip", -0.1), ("hold", 0)):
        with pytest.raises(ActrixError, match=f"--{name} must be"):
            start("rlif", **{**plain, name: value}, online_steps=3)


def test_rlif_pays_nothing_for_entropy_in_its_target(data: str) -> None:
    trainer = start("rlif", **SMALL, data=(data,), temperature=5.0)
    learner: Any = trainer.learner
    with torch.no_grad():
        for p in learner.target_critic.copy.parameters():
            p.zero_()
        learner.target_critic.copy.net.layers[-1].bias.copy_(torch.tensor([-3.0, -1.0])[:, None, None])
    batch, _ = next(trainer.feed.round(learner))
    torch.testing.assert_close(learner.target(batch), torch.full((8,), 0.99 * -3.0) * ~batch.terminated)
    trainer.close()
