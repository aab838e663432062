"""SRL against closed forms: the recurrent actor, where its gradient goes, what is recalled, and when it looks."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_contracts import SPECS, batch_of, build
from worlds import name, recorded

from actrix import registry
from actrix.actors.gaussian import gaussian_logp, squash_correction
from actrix.critics.values import Value
from actrix.data.batches import Transitions
from actrix.nets.gru import GRUCell
from actrix.rng import torch_stream
from actrix.run.trainer import RunOptions, Trainer
from actrix.spec import vector_spec


def test_the_cell_is_that_of_torch() -> None:
    torch.manual_seed(0)
    mine, theirs = GRUCell(3, 5), torch.nn.GRUCell(3, 5)
    with torch.no_grad():
        for ours, weight, bias in (
            (mine.seen, theirs.weight_ih, theirs.bias_ih), (mine.held, theirs.weight_hh, theirs.bias_hh),
        ):  # fmt: skip
            ours.weight.copy_(weight.T)
            ours.bias.copy_(bias)
    x, h = torch.randn(7, 3), torch.randn(7, 5)
    torch.testing.assert_close(mine(x, h), theirs(x, h))


def test_log_densities_are_of_each_action_given_those_before() -> None:
    learner: Any = build("sequence-rl", SPECS["box"])
    actor, obs, previous = learner.actor, torch.randn(6, 3), torch.rand(6, 2)
    with torch_stream(0, "unroll"):
        action, logp = actor.unroll(obs, previous, 3)
    h = actor.net(obs)
    for j in range(3):
        h = actor.cell(previous, h)
        mean, log_std = actor.head(h).chunk(2, -1)
        u = torch.atanh(action[:, j].double()).float()
        expected = gaussian_logp((u - mean) / log_std.exp(), log_std) - squash_correction(u)
        torch.testing.assert_close(logp[:, j], expected, rtol=1e-3, atol=1e-3)
        previous = action[:, j]
    shorter = actor.unroll(obs, torch.zeros(6, 2), 1, "mean")[0][:, 0]
    torch.testing.assert_close(learner.act(obs, "mean").action, shorter)
    torch.testing.assert_close(learner.plan(obs, "mean")[:, 0], shorter)


def test_the_actor_climbs_where_the_model_says_that_it_will_be() -> None:
    """A model that adds the first action, and critics that want it to be the opposite of the place: from s, the first
    is to be -s, and from there, 0, the others 0."""
    learner: Any = build("sequence-rl", vector_spec(1, 1), rate=1e-2, length=3, delay=1, temperature=1e-6)
    learner.target_model.forward = lambda obs, action: obs + action
    learner.critic.frozen = lambda obs, action: Value(-(obs + action).square().sum(-1)[None])
    torch.manual_seed(0)
    flag, zero = torch.zeros(64, dtype=torch.bool), torch.zeros(64)
    obs = torch.rand(64, 1) * 1.6 - 0.8
    batch = Transitions(obs, obs, zero, obs, flag, flag, previous=torch.zeros(64, 1))
    for i in range(500):
        with torch_stream(0, "update", i):
            learner.optimiser.step({"actor": learner.losses(batch, "all").groups["actor"]})
    said = learner.plan(obs, "mean")[..., 0]
    torch.testing.assert_close(said[:, :1], -obs, atol=0.12, rtol=0)
    assert said[:, 1:].abs().mean() < 0.12


def test_no_gradient_goes_through_the_model() -> None:
    """Critics that do not look at the action leave nothing to climb, however far the model carries an action."""
    learner: Any = build("sequence-rl", SPECS["box"], temperature=1e-30)
    learner.critic.frozen = lambda obs, action: Value(100 * obs.sum(-1)[None] + 0 * action.sum(-1)[None])
    losses = learner.losses(batch_of(learner, 0), "all").groups
    found = learner.optimiser.gradients({"actor": losses["actor"]})["actor"]
    assert all(g.abs().max() < 1e-12 for g in found)
    places = learner.recalled(torch.randn(4, 3), torch.rand(4, 4, 2))
    assert places.shape == (4, 4, 3)
    assert not places.requires_grad


def test_a_later_action_teaches_the_earlier_ones_through_the_recurrence() -> None:
    """A critic of the last action alone moves the first, which the network reads: the gradient with respect to it is
    not 0."""
    learner: Any = build("sequence-rl", SPECS["box"])
    actor = learner.actor
    obs, first = torch.randn(4, 3), torch.rand(4, 2, requires_grad=True)
    action, _ = actor.unroll(obs, first, 2, "mean")
    assert torch.autograd.grad(action[:, 1].sum(), first)[0].abs().min() > 0


def test_target_says_one_action_after_the_one_that_was_done() -> None:
    learner: Any = build("sequence-rl", SPECS["box"], temperature=0.5)
    batch = batch_of(learner, 0)
    with torch_stream(0, "target"):
        found = learner.target(batch)
    with torch_stream(0, "target"), torch.no_grad():
        action, logp = learner.actor.unroll(batch.next_obs, batch.action, 1)
        soft = learner.target_critic(batch.next_obs, action[:, 0]).members.amin(0) - 0.5 * logp[:, 0]
    torch.testing.assert_close(found, batch.reward + 0.99 * ~batch.terminated * soft)
    with torch_stream(0, "target"):
        other = learner.target(dataclasses.replace(batch, previous=batch.previous + 1))
    assert torch.equal(found, other)


def test_the_temperature_sees_the_mean_over_a_sequence() -> None:
    """Its loss does not grow with the length of the sequence."""
    learner: Any = build("sequence-rl", SPECS["box"], temperature=2.0)
    batch = batch_of(learner, 0)
    with torch_stream(0, "losses"):
        losses = learner.losses(batch, "all")
    expected = -np.log(2.0) * (-losses.notes["entropy"].item() - 2.0)
    assert losses.groups["temperature"].item() == pytest.approx(expected, rel=1e-5)


class Clock(gym.Env):
    """What is seen is the time, up to 11."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return np.full(1, self.t, np.float32), 0.0, False, self.t >= 11, {}


gym.register("Clock-v0", entry_point=Clock)


def test_the_replay_knows_the_action_before_and_no_episode_the_last_ones() -> None:
    config = registry.load("sequence-rl").config(hidden=(8, 8), model_hidden=(8,), batch=4, warmup=20, envs=2)
    trainer = Trainer.start("sequence-rl", RunOptions(env="Clock-v0", steps=100, compile="no", threads=1), config)
    feed: Any = trainer.feed
    feed.reset()
    while not trainer.done:
        for _ in feed.round(trainer.learner):
            feed.progress.updates += 1
    rows = feed.replay.tensors()
    for world in range(2):
        action, previous, time = (rows[k][world::2, 0] for k in ("action", "previous", "obs"))
        assert len(action) == 50
        expected = torch.where(time[1:] == 0, 0.0, action[:-1])
        torch.testing.assert_close(previous[1:], expected)
        assert previous[0] == 0
    trainer.close()


@pytest.mark.parametrize("interval", [1, 3, 4])
def test_it_looks_at_every_interval_and_plays_what_it_said(interval: int) -> None:
    """Against a plain loop, with an episode that ends in the middle of a sequence."""
    learner: Any = build("sequence-rl", SPECS["box"], length=4)
    learner.actor.interval = interval
    torch.manual_seed(0)
    obs, ends = torch.randn(14, 2, 3), {5: torch.tensor([True, False])}
    memory: Any = None
    said: list[torch.Tensor] = []
    for t in range(14):
        decided, memory = learner.exploit(obs[t], None, memory)
        said.append(decided.action)
        if t in ends:
            memory = learner.actor.forget(memory, ends[t])
    for row in range(2):
        plan, at, previous = torch.zeros(4, 2), interval, torch.zeros(1, 2)
        for t in range(14):
            if at >= interval:
                plan, at = learner.actor.unroll(obs[t, row][None], previous, 4, "mean")[0][0].detach(), 0
            torch.testing.assert_close(said[t][row], plan[at])
            previous, at = plan[at][None], at + 1
            if t in ends and ends[t][row]:
                previous, at = torch.zeros(1, 2), interval


def test_recorded_data_know_the_action_before_too() -> None:
    env = name("box")
    config = registry.load("sequence-rl").config(hidden=(8, 8), model_hidden=(8,), batch=64)
    options = RunOptions(env=env, data=recorded(env), steps=3, eval_episodes=1, compile="no", threads=1)
    trainer = Trainer.start("sequence-rl", options, config)
    data = trainer.feed.data.sources[0]  # type: ignore[attr-defined]
    previous, action = data.tensor("previous"), data.tensor("action")
    starts = set(data.starts[:-1].tolist())
    for i in range(len(data)):
        assert torch.equal(previous[i], torch.zeros(2) if i in starts else action[i - 1])
    assert list(trainer)[-1].step == 3
    trainer.close()
