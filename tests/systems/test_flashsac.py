"""FlashSAC: norms after every step, shared batch statistics, the scale of rewards, and resuming."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_contracts import SPECS, batch_of, build
from torch import Tensor
from worlds import name

from actrix import registry
from actrix.nets.unit import UnitBatchNorm, UnitLinear, UnitRMSNorm
from actrix.rng import torch_stream
from actrix.run.trainer import RunOptions, Trainer


def test_norms_hold_after_every_step() -> None:
    learner: Any = build("flashsac", SPECS["box"], rate=0.1, final_rate=0.1)
    for i in range(4):
        learner.update(batch_of(learner, i), learner.phase(i))
        for net in (learner.critic.net, learner.actor.net):
            parts = list(net.modules())
            rows = [m.weight.norm(dim=1) for m in parts if isinstance(m, UnitLinear)]
            rows += [
                (m.scale.square() + m.shift.square()).mean(-1).sqrt() for m in parts if isinstance(m, UnitBatchNorm)
            ]
            rows += [m.scale.square().mean(-1).sqrt() for m in parts if isinstance(m, UnitRMSNorm)]
            assert max((r - 1).abs().max().item() for r in rows) < 1e-5


@pytest.mark.parametrize("cross", [True, False])
def test_both_critics_see_both_pairs_as_one_batch(cross: bool) -> None:
    """By hand: one pass over 2B rows in training mode, the halves taken apart afterwards."""
    learner: Any = build("flashsac", SPECS["box"], cross_batch=cross)
    batch = batch_of(learner, 0)
    action = torch.rand_like(batch.action)
    obs = torch.cat((batch.obs, batch.next_obs + 3))
    batch = dataclasses.replace(batch, next_obs=obs[32:])
    for critic in (learner.critic, learner.target_critic.copy):
        together = critic(obs, torch.cat((batch.action, action)), training=True).mean
        for half in (0, 1):
            got = learner.judged(critic, batch, action, half).mean
            assert torch.allclose(got, together[:, 32 * half : 32 * half + 32], atol=1e-5) == cross


def test_the_actor_learns_from_statistics_of_both_states_and_bootstraps_from_running_ones() -> None:
    learner: Any = build("flashsac", SPECS["box"])
    calls: list[tuple[int, bool]] = []
    forward = learner.actor.net.forward

    def watched(x: Tensor, training: bool = False, frozen: bool = False) -> Tensor:
        calls.append((len(x), training))
        return forward(x, training, frozen)

    learner.actor.net.forward = watched
    learner.losses(batch_of(learner, 0), "both")
    assert calls == [(32, False), (64, True)]


def feed(learner: Any, scale: float) -> None:
    """Rewards of three environments over some steps, as the learner sees them when they are gathered."""
    for i in range(20):
        batch = batch_of(learner, i)[:3]
        learner.observe(dataclasses.replace(batch, reward=scale * batch.reward), torch.ones(3, dtype=torch.bool))


def test_the_scale_of_rewards_does_not_matter() -> None:
    """A hundred times the reward: the same updates, to rounding. Without scaling they differ."""

    def learned(scale: float, scales: bool) -> dict[str, Tensor]:
        learner = build("flashsac", SPECS["box"], scale_reward=scales)
        feed(learner, scale)
        for i in range(3):
            batch = batch_of(learner, 100 + i)
            with torch_stream(0, "update", i):
                learner.update(dataclasses.replace(batch, reward=scale * batch.reward), learner.phase(i))
        return {k: v for k, v in learner.state().items() if k.startswith("critic.")}

    for scales in (True, False):
        plain, hundred = learned(1.0, scales), learned(100.0, scales)
        same = all(torch.allclose(v, hundred[k], rtol=1e-3, atol=1e-4) for k, v in plain.items())
        assert same == scales


def test_rewards_are_scaled_when_they_are_used() -> None:
    """The same stored rewards, after the statistics have changed, are worth less."""
    learner: Any = build("flashsac", SPECS["box"])
    batch = batch_of(learner, 0)
    batch = dataclasses.replace(batch, terminated=torch.ones_like(batch.terminated))
    feed(learner, 1.0)
    before = learner.target(batch).mean[0]
    feed(learner, 10.0)
    after = learner.target(batch).mean[0]
    torch.testing.assert_close(after, learner.scaler(batch.reward), rtol=1e-4, atol=1e-5)
    assert (after.abs() < 0.5 * before.abs()).all()


def test_the_temperature_seeks_its_entropy() -> None:
    learner: Any = build("flashsac", SPECS["box"], sigma=0.15)
    wanted = torch.distributions.Normal(torch.zeros(2), 0.15).entropy().sum().item()
    assert learner.temperature.target_entropy == pytest.approx(wanted, rel=1e-6)
    found = learner.losses(batch_of(learner, 0), "both")
    gap = found.notes["entropy"].item() - wanted
    assert found.groups["temperature"].item() == pytest.approx(0.01 * gap, rel=1e-4)


def test_the_rate_falls_along_a_cosine() -> None:
    learner: Any = build("flashsac", SPECS["box"], rate=3e-4, final_rate=1e-4, anneal=4)
    rates = []
    for i in range(6):
        learner.update(batch_of(learner, i), learner.phase(i))
        rates.append(learner.optimiser.actor_rate.item())
    expected = [1e-4 + 1e-4 * (1 + math.cos(math.pi * min(i, 4) / 4)) for i in range(1, 7)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("slug", ["flashsac", "dsac-t"])
def test_resumed_runs_end_with_the_same_bits(slug: str, tmp_path: Path) -> None:
    """Several environments, few updates: everything that a run carries is in its checkpoint or starts anew there."""
    entry = registry.load(slug)
    small = {"hidden": (8,), "actor_width": 8, "critic_width": 8, "blocks": 1, "anneal": 50}
    small |= {"warmup": 30, "batch": 8, "envs": 3, "updates_per_step": 0.3}
    config = entry.config(**{k: v for k, v in small.items() if k in config_fields(entry.config)})
    options = RunOptions(env=name("box"), steps=240, eval_episodes=1, eval_every=240, checkpoint_every=60,
                         compile="no", threads=1)  # fmt: skip
    whole = Trainer.start(slug, options, config, tmp_path / "whole")
    list(whole)
    whole.close()
    cut = Trainer.start(slug, options, config, tmp_path / "cut")
    for report in cut:
        if report.step > 150:
            break
    cut.close()
    resumed = Trainer.resume(tmp_path / "cut")
    assert 0 < resumed.step < 150
    list(resumed)
    resumed.close()
    state = resumed.learner.state()
    for key, value in whole.learner.state().items():
        assert torch.equal(value, state[key]), key
    assert whole.feed.progress.updates == resumed.feed.progress.updates == round((240 - 30 + 3) * 0.3 - 0.5)


class Steady(gym.Env[np.ndarray, np.ndarray]):
    """Pays 1 at every step, for ever."""

    observation_space = action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), 1.0, False, False, {}


@pytest.mark.parametrize("slug", ["flashsac", "ppo", "gbrl"])
def test_the_scale_of_rewards_starts_anew_at_a_barrier(slug: str) -> None:
    """Environments do, at every checkpoint: the last return is of the 20 steps since, not of all 60."""
    gym.register("Steady-v0", entry_point=Steady) if "Steady-v0" not in gym.registry else None
    entry = registry.load(slug)
    small = {"warmup": 100, "horizon": 10, "envs": 1, "discount": 0.9, "epochs": 1, "scale_reward": True}
    config = entry.config(**{k: v for k, v in small.items() if k in config_fields(entry.config)})
    options = RunOptions(env="Steady-v0", steps=60, checkpoint_every=20, eval_every=100, compile="no", threads=1)
    trainer = Trainer.start(slug, options, config)
    trainer.regime.judged = False  # its episodes never end
    list(trainer)
    trainer.close()
    scaler = trainer.learner.scaler
    assert scaler is not None
    assert scaler.running.tolist() == pytest.approx([0.9 * (1 - 0.9**20) / (1 - 0.9)])


def config_fields(config: type) -> set[str]:
    return {f.name for f in dataclasses.fields(config)}
