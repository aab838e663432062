"""STAC: its critic against torch's Gaussian, what it is careful of, its dropout, and the world with a risk in it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from test_contracts import SPECS, batch_of, build
from torch import distributions as D

from actrix.actors.gaussian import SoftGaussian
from actrix.claims.variants.chance import Blind
from actrix.envs.many import make_worlds
from actrix.envs.points import RiskyPoint, inside_disc, risk_at
from actrix.errors import ActrixError
from actrix.nets.mlp import MLP
from actrix.objectives.distributional import gaussian_likelihood
from actrix.rng import torch_stream
from actrix.spec import vector_spec
from actrix.systems.control import stac


def test_the_likelihood_is_that_of_torch() -> None:
    torch.manual_seed(0)
    mean, std, target = torch.randn(2, 7), torch.rand(2, 7) + 0.1, torch.randn(7)
    expected = -D.Normal(mean, std).log_prob(target).mean(1).sum()
    torch.testing.assert_close(gaussian_likelihood(mean, std, target), expected)


def test_one_gradient_step_finds_mean_and_spread_of_what_the_target_does() -> None:
    """The minimum of the loss on a sample of targets is their mean and standard deviation."""
    torch.manual_seed(0)
    target = 2.0 + 3.0 * torch.randn(500)
    mean, std = target.mean().requires_grad_(), target.std(correction=0).requires_grad_()
    loss = gaussian_likelihood(mean.expand(1, 500), std.expand(1, 500), target)
    for gradient in torch.autograd.grad(loss, [mean, std]):
        assert abs(gradient.item()) < 1e-6


def test_the_target_is_less_by_the_deviation_of_what_follows() -> None:
    found = {}
    for pessimism in (0.0, 0.4):
        learner: Any = build("stac", SPECS["box"], pessimism=pessimism, temperature=0.3)
        batch = batch_of(learner, 0)
        with torch_stream(0, "target"):
            found[pessimism] = learner.target(batch)
    with torch_stream(0, "target"):
        action, _ = learner.actor.sample(batch.next_obs, training=True)
        std = learner.target_critic(batch.next_obs, action, training=True).std[0]
    assert std.std() > 0
    expected = learner.config.discount * 0.4 * std * ~batch.terminated
    torch.testing.assert_close(found[0.0] - found[0.4], expected, rtol=1e-4, atol=1e-5)


def test_the_actor_climbs_the_mean_less_the_deviation() -> None:
    """With pessimism and no entropy its gradient is that of std, where the mean is flat."""
    gradients = []
    for pessimism in (0.2, 0.4):
        learner: Any = build("stac", SPECS["box"], pessimism=pessimism, temperature=1e-30)
        with torch.no_grad():
            learner.critic.net.layers[-1].weight[..., 0] = 0.0
        with torch_stream(0, "losses"):
            loss = learner.losses(batch_of(learner, 0)).groups["actor"]
        gradients.append(torch.autograd.grad(loss, list(learner.actor.parameters())))
    for small, large in zip(*gradients):
        torch.testing.assert_close(2 * small, large, rtol=1e-4, atol=1e-8)
    assert any((g != 0).any() for g in gradients[0])


def test_where_chance_is_not_seen_everywhere_counts_the_same() -> None:
    learner: Any = Blind(SPECS["box"], stac.Config(hidden=(16,), pessimism=0.4))
    batch = batch_of(learner, 0)
    value = learner.critic(batch.obs, batch.action)
    expected = value.mean[0] - 0.4 * value.std.mean()
    torch.testing.assert_close(learner.careful(value), expected)


def test_the_temperature_is_multiplied() -> None:
    learner: Any = build("stac", SPECS["box"], temperature=0.3, rate=0.05, target_entropy=-1.0)
    batch = batch_of(learner, 0)
    with torch_stream(0, "update"):
        figures = learner.update(batch)
    expected = 0.3 * math.exp(0.05 * 0.3 * (-1.0 - figures["entropy"].item()))
    assert abs(expected - 0.3) > 1e-3
    assert learner.temperature().item() == pytest.approx(expected, rel=1e-5)


def test_the_standard_deviation_has_a_floor() -> None:
    learner: Any = build("stac", SPECS["box"])
    with torch.no_grad():
        learner.critic.net.layers[-1].bias[..., 1] = -100.0
        learner.actor.net.layers[-1].bias[2:] = -100.0
    batch = batch_of(learner, 0)
    floor = math.log1p(math.exp(-5.0))
    torch.testing.assert_close(learner.critic(batch.obs, batch.action).std, torch.full((1, 32), floor))
    torch.testing.assert_close(learner.actor.distribution(batch.obs)[1].exp(), torch.full((32, 2), floor))


# -- dropout ---------------------------------------------


@pytest.mark.parametrize("layer_norm", [False, True])
def test_dropout_keeps_the_mean_and_is_of_calls_not_of_modes(layer_norm: bool) -> None:
    torch.manual_seed(0)
    net = MLP(3, (64,), 1, layer_norm=layer_norm, dropout=0.25)
    x = torch.randn(1, 3).expand(4_000, 3)
    for mode in (True, False):
        net.train(mode)
        torch.testing.assert_close(net(x), net(x[:1]).expand(4_000, 1))
        assert net(x, training=True).std() > 0
    if layer_norm:
        return
    # of a single linear layer with positive outputs, dropped parts are zeros and the rest is larger by 1 / 0.75
    with torch.no_grad():
        net.layers[0].bias.fill_(20.0)  # type: ignore[union-attr]
        head: Any = net.layers[1]
        inner = x[:1] @ net.layers[0].weight + net.layers[0].bias  # type: ignore[union-attr, operator]
        variance = ((inner[0] * head.weight[:, 0]) ** 2).sum() * 0.25 / 0.75
        found = net(x, training=True)
    assert found.mean().item() == pytest.approx(net(x[:1]).item(), abs=4 * (variance / 4_000).sqrt().item())
    assert found.var().item() == pytest.approx(variance.item(), rel=0.1)


def test_to_drop_everything_is_refused() -> None:
    with pytest.raises(ActrixError, match="--dropout must be at least 0 and below 1, not 1"):
        build("stac", SPECS["box"], dropout=1.0)


def test_learning_drops_and_acting_does_not() -> None:
    learner: Any = build("stac", SPECS["box"], dropout=0.5)
    batch = batch_of(learner, 0)
    assert torch.equal(learner.act(batch.obs, "mean").action, learner.act(batch.obs, "mean").action)
    same = batch.obs[:1].expand(500, 3)
    acting, learning = learner.actor.distribution(same), learner.actor.distribution(same, training=True)
    assert all(x.std(0).max() < 1e-6 for x in acting)
    assert all(x.std(0).min() > 1e-2 for x in learning)


def test_the_target_drops_too() -> None:
    """With an actor that hardly varies, targets of two draws differ by dropout alone."""
    apart = {}
    for dropout in (0.0, 0.5):
        learner: Any = build("stac", SPECS["box"], dropout=dropout, temperature=1e-30)
        with torch.no_grad():
            learner.actor.net.layers[-1].weight.zero_()
            learner.actor.net.layers[-1].bias[2:] = -100.0
        batch = batch_of(learner, 0)
        found = []
        for seed in range(2):
            with torch_stream(seed, "target"):
                found.append(learner.target(batch))
        apart[dropout] = (found[0] - found[1]).abs()[~batch.terminated].mean().item()
    assert 0 < apart[0.0] < 0.01
    assert apart[0.5] > 0.1


# -- the actor ---------------------------------------------


def test_its_density_is_that_of_torch_and_its_mean_that_of_the_squashed() -> None:
    torch.manual_seed(0)
    actor = SoftGaussian(vector_spec(3, 2), (16,)).double()
    obs = torch.randn(30, 3, dtype=torch.float64)
    mean, log_std = actor.distribution(obs)
    law = D.Independent(D.TransformedDistribution(D.Normal(mean, log_std.exp()), D.TanhTransform()), 1)
    action, logp = actor.sample(obs)
    torch.testing.assert_close(logp, law.log_prob(action), rtol=1e-5, atol=1e-5)
    u = torch.linspace(-8, 8, 4_001, dtype=torch.float64)
    weight = torch.exp(-u.square() / 2) / torch.exp(-u.square() / 2).sum()
    expected = (torch.tanh(mean[..., None] + log_std.exp()[..., None] * u) * weight).sum(-1)
    found = actor.act(obs, "mean").action
    torch.testing.assert_close(found, expected, atol=0.06, rtol=0)
    assert (found - expected).abs().mean() < 0.5 * (torch.tanh(mean) - expected).abs().mean()


# -- a risk on the way ---------------------------------------------


def test_the_risk_is_as_stated() -> None:
    env = RiskyPoint()
    env.reset(seed=0)
    for place in (np.array([0.5, 0.5]), np.array([0.65, 0.5]), np.array([0.81, 0.5])):
        paid = []
        for _ in range(4_000):
            env.place = place
            _, reward, *_ = env.step(np.zeros(2, np.float32))
            paid.append(reward)
        off = np.array(paid) + np.hypot(*place) + 0.1
        assert set(np.round(off, 6)) <= {0.0, -10.0}
        chance = risk_at(place[None])[0]
        assert (off < -1).mean() == pytest.approx(chance, abs=4 * np.sqrt(0.1 * 0.9 / 4_000))
        assert (chance > 0) == inside_disc(place[None])[0]
    assert risk_at(np.array([[0.5, 0.5], [0.65, 0.5]])) == pytest.approx([0.1, 0.1 / np.e])


def test_it_starts_outside_and_ends_at_the_goal() -> None:
    env = RiskyPoint()
    starts = np.array([env.reset(seed=i)[0] for i in range(300)])
    assert starts.min() >= 0.3
    assert not inside_disc(starts).any()
    env.place = np.array([0.12, 0.12])
    seen = [env.step(-np.ones(2, np.float32)) for _ in range(3)]
    assert [s[2] for s in seen] == [False, True, True]
    assert seen[0][1] == pytest.approx(-0.12 * np.sqrt(2) - 0.1)
    assert [s[4]["inside"] for s in seen] == [False] * 3
    worlds = make_worlds("actrix.envs.points:RiskyPoint-v0", 1)
    worlds.reset([0])
    ends = [bool(worlds.step(np.ones((1, 2), np.float32)).truncated[0]) for _ in range(200)]
    assert ends == [False] * 199 + [True]
    worlds.close()
