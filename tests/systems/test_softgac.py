"""SoftGAC: the cost of a path against closed forms, its reference, its critics without a target, its batches."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from test_contracts import SPECS, batch_of, build
from torch.distributions import Normal, kl_divergence
from worlds import name

from actrix import registry
from actrix.actors.bridge import Bridge, paths
from actrix.critics.distributions import CategoricalValue
from actrix.rng import torch_stream
from actrix.run.feeds import ReplayFeed
from actrix.run.trainer import RunOptions, Trainer
from actrix.spec import vector_spec


def reference(steps: int, actions: int = 1) -> Bridge:
    """A bridge whose steps are those of the reference."""
    bridge = Bridge(vector_spec(1, actions), 8, steps)
    for step in bridge.steps:
        step.forward = lambda features, place: (-2 * torch.tanh(place), torch.ones_like(place))  # type: ignore[method-assign]
    return bridge


def test_cost_is_the_kl_of_every_step() -> None:
    torch.manual_seed(0)
    bridge = Bridge(vector_spec(3, 2), 16, 5)
    with torch.no_grad():
        for p in bridge.parameters():
            p.add_(0.2 * torch.randn_like(p))
    obs, noise = torch.randn(64, 3), bridge.noise(64, torch.zeros(1))
    end, cost = bridge.path(obs, noise)
    place, expected, h = noise[:, 0], torch.zeros(64), 1 / 5
    for k, step in enumerate(bridge.steps):
        drift, std = step(obs, place)
        mine = Normal(place + h * drift, math.sqrt(2 * h) * std)
        expected += kl_divergence(mine, Normal(place - 2 * h * torch.tanh(place), math.sqrt(2 * h))).sum(-1)
        place = mine.mean + mine.stddev * noise[:, k + 1]
    torch.testing.assert_close(cost, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(end, place)
    assert cost.min() > 0


def test_the_reference_costs_nothing_and_its_end_is_uniform() -> None:
    """The better the smaller the steps are: the largest distance of the distribution functions."""
    distance = []
    for steps in (1, 4, 16, 64):
        torch.manual_seed(0)
        action, cost = reference(steps).sample(torch.zeros(100_000, 1))
        assert cost.abs().max() < 1e-5
        place = (action[:, 0].sort().values + 1) / 2
        distance.append((place - torch.linspace(0, 1, len(place))).abs().max().item())
    assert distance[0] > distance[1] > distance[2] > distance[3]
    assert distance[2] < 0.02
    assert distance[3] < 0.01


def test_the_first_steps_have_noise_of_one_and_mean_has_none() -> None:
    torch.manual_seed(0)
    bridge = Bridge(vector_spec(3, 2), 16, 4)
    obs = torch.randn(5, 3)
    for step in bridge.steps:
        torch.testing.assert_close(step(obs, torch.randn(5, 2))[1], torch.ones(5, 2))
    still = bridge.sample(obs, torch.zeros(5, 5, 2))[0]
    torch.testing.assert_close(bridge.act(obs, "mean").action, still)
    assert not torch.equal(bridge.act(obs).action, bridge.act(obs).action)


def test_antithetic_paths_are_pairs_of_one_observation() -> None:
    torch.manual_seed(0)
    bridge, obs = Bridge(vector_spec(3, 2), 16, 4), torch.randn(6, 3)
    rows = paths(obs, 4)
    noise = bridge.noise(len(rows), rows, antithetic=True)
    assert torch.equal(noise[:12], -noise[12:])
    assert torch.equal(rows[:12], rows[12:])
    assert len(bridge.noise(5, rows, antithetic=True)) == 5
    first = torch.tanh(bridge.noise(20_000, rows)[:, 0, 0])
    assert first.mean().item() == pytest.approx(0, abs=0.02)
    assert first.var().item() == pytest.approx(1 / 3, abs=0.01)


def tilted(temperature: float, updates: int) -> torch.Tensor:
    """Ends of a bridge that has learned to climb `worth` at the price of its cost."""
    torch.manual_seed(0)
    bridge = Bridge(vector_spec(2, 1), 32, 8)
    optimiser = torch.optim.Adam(bridge.parameters(), 3e-3)
    obs = torch.tensor([[1.0, -1.0]]).expand(256, -1)
    for _ in range(updates):
        action, cost = bridge.sample(obs)
        loss = (temperature * cost - worth(action[:, 0])).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return bridge.sample(obs[:1].expand(20_000, -1))[0][:, 0]


def worth(action: torch.Tensor) -> torch.Tensor:
    """Two bumps, the right one higher by 0.5."""
    return 2 * (-((action + 0.5) / 0.2).square()).exp() + 2.5 * (-((action - 0.5) / 0.2).square()).exp()


def test_the_best_bridge_ends_as_the_soft_maximum() -> None:
    """Density ~ exp(worth / temperature): both modes, in their proportion, which a Gaussian cannot have."""
    action = tilted(2.0, 300)
    grid = torch.linspace(-1, 1, 2_001)
    density = (worth(grid) / 2).exp()
    density /= density.sum()
    for low, high in ((-0.8, -0.2), (-0.2, 0.2), (0.2, 0.8)):
        expected = density[(grid > low) & (grid < high)].sum().item()
        found = ((action > low) & (action < high)).float().mean().item()
        assert found == pytest.approx(expected, abs=0.08)


def test_one_pass_judges_both_pairs_and_the_target_is_the_mean_of_the_members() -> None:
    """By hand: 2B rows in training mode, the second half of which is backed up, member by member."""
    learner: Any = build("softgac", SPECS["box"], bound=5.0, temperature=0.3)
    batch = batch_of(learner, 0)
    with torch_stream(0, "judged"):
        taken, target = learner.judged(batch)
    with torch_stream(0, "judged"):
        action, cost = learner.actor.sample(batch.next_obs)
    both = learner.critic(torch.cat((batch.obs, batch.next_obs)), torch.cat((batch.action, action)), training=True)
    torch.testing.assert_close(taken.logp, both.logp[:, :32])
    cost = 0.3 * cost.detach()
    parts = []
    for member in both.logp[:, None, 32:].detach():
        value = CategoricalValue.of_logp(member, learner.critic.atoms)
        parts.append(value.backup(batch.reward, batch.terminated, 0.99, cost).logp.exp())
    torch.testing.assert_close(target.logp.exp(), (parts[0] + parts[1]) / 2)
    assert target.logp.shape == (1, 32, 101)
    alone = learner.critic(batch.obs, batch.action, training=True).logp
    assert not torch.allclose(alone, taken.logp, atol=1e-3), "they are normalised together"


def test_the_actor_climbs_by_running_statistics_which_it_does_not_move() -> None:
    learner: Any = build("softgac", SPECS["box"], paths=4, antithetic=True)
    batch = batch_of(learner, 0)
    asked: list[bool] = []
    forward = learner.critic.net.forward

    def watched(x: torch.Tensor, training: bool = False, frozen: bool = False) -> torch.Tensor:
        asked.append(training)
        return forward(x, training, frozen)

    learner.critic.net.forward = watched
    learner.update(batch, "both")
    assert asked == [True, False]
    assert learner.critic.net.norms[0].passes == 1


def test_temperature_rises_while_paths_cost_more_than_their_budget() -> None:
    for share, up in ((0.0, True), (50.0, False)):
        learner: Any = build("softgac", SPECS["box"], cost_share=share)
        before = learner.temperature().item()
        learner.update(batch_of(learner, 0), "both")
        assert (learner.temperature().item() > before) == up
    learner = build("softgac", SPECS["box"], cost_share=0.2, bridge_steps=3)
    assert learner.temperature.target_entropy == pytest.approx(-0.2 * 3 * 2)


def test_one_row_in_five_is_new() -> None:
    config = registry.load("softgac").config(
        warmup=50, batch=20, newest=10, newest_share=0.2, hidden=(8,), actor_width=8, bridge_steps=2, bound=5.0
    )
    options = RunOptions(env=name("box"), steps=60, eval_every=60, eval_episodes=1, compile="no", threads=1)
    trainer = Trainer.start("softgac", options, config)
    list(trainer)
    trainer.close()
    feed = trainer.feed
    assert isinstance(feed, ReplayFeed)
    kept, shares = feed.replay.tensors()["obs"], []
    for _ in range(200):
        drawn = feed.sample(20)
        shares.append((drawn.obs[:, None] == kept[None, -10:]).all(-1).any(1).float().mean())
    assert torch.stack(shares).mean().item() == pytest.approx(0.2 + 0.8 * 10 / len(kept), abs=0.02)
    assert torch.stack(shares).min() >= 0.2


def test_a_fixed_temperature_stays() -> None:
    learner: Any = build("softgac", SPECS["box"], learn_temperature=False)
    assert set(learner.optimiser.groups) == {"critic", "actor"}
    learner.update(dataclasses.replace(batch_of(learner, 0)), "both")
    assert learner.temperature().item() == pytest.approx(0.1)
