"""PMOE: a mixture against torch's own, who learns and who does not, and the world with several goals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_contracts import SPECS, batch_of, build
from torch import distributions as D

from actrix.actors.mixture import SquashedMixture, component
from actrix.claims.variants.mixtures import Everyone, Gated
from actrix.envs.many import make_worlds
from actrix.envs.points import MultiGoal, goal_at
from actrix.errors import ActrixError
from actrix.rng import torch_stream
from actrix.spec import vector_spec
from actrix.systems.control import pmoe


def mixture(components: int = 3, size: int = 2) -> SquashedMixture:
    torch.manual_seed(0)
    actor = SquashedMixture(vector_spec(3, size), (8,), components, (5,)).double()
    with torch.no_grad():
        for p in actor.parameters():
            p.mul_(1.5)
    return actor


def test_the_density_is_that_of_torch() -> None:
    actor = mixture()
    obs = torch.randn(40, 3, dtype=torch.float64)
    weights, mean, log_std = actor.parts(obs)
    normal = D.Independent(D.TransformedDistribution(D.Normal(mean, log_std.exp()), D.TanhTransform()), 1)
    law = D.MixtureSameFamily(D.Categorical(logits=weights), normal)
    acted = actor.act(obs)
    assert acted.logp is not None
    torch.testing.assert_close(acted.logp, law.log_prob(acted.action), rtol=1e-5, atol=1e-5)
    _, action, logp = actor.each(obs)
    torch.testing.assert_close(logp, normal.log_prob(action), rtol=1e-5, atol=1e-5)


def test_components_are_drawn_as_often_as_the_router_says() -> None:
    actor = mixture(components=3, size=1)
    obs = torch.randn(1, 3, dtype=torch.float64).expand(20_000, 3)
    with torch.no_grad():
        actor.net.layers[-1].weight.zero_()
        actor.net.layers[-1].bias.copy_(torch.tensor([-1.0, -9.0, 0.0, -9.0, 1.0, -9.0]))  # far apart, and narrow
        weights = actor.parts(obs[:1])[0][0].exp()
        for drawn in (actor.act(obs).action, actor.exploit(obs)[0].action, actor.sample(obs)[0]):
            near = (drawn - torch.tanh(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))).abs().argmin(1)
            torch.testing.assert_close(near.bincount(minlength=3) / 20_000, weights.float(), atol=0.012, rtol=0)
        best = actor.act(obs[:1], "mean").action
        torch.testing.assert_close(best[0, 0], torch.tanh(weights.argmax() - 1.0).double())


def test_only_the_component_that_the_critics_like_best_climbs() -> None:
    """Everywhere the component with the greatest mean is the best: it alone and the router get gradients."""
    learner: Any = build("pmoe", SPECS["box"], components=3)
    with torch.no_grad():
        for p in (*learner.critic.parameters(), *learner.actor.net.parameters()):
            p.zero_()
        for layer in learner.critic.net.layers:  # Q is the sum of the actions, as far as that is positive
            layer.weight[..., -2:, 0] = 0.0
        learner.critic.net.layers[0].weight[:, -2:, 0] = 1.0
        learner.critic.net.layers[0].bias[:, :, 0] = 10.0
        for layer in learner.critic.net.layers[1:]:
            layer.weight[:, 0, 0] = 1.0
        head = learner.actor.net.layers[-1].bias.view(3, 4)
        head[:, :2] = torch.tensor([[-0.5], [1.0], [0.0]])
        head[:, 2:] = -5.0
    batch = batch_of(learner, 0)
    with torch_stream(0, "losses"):
        losses = learner.losses(batch)
    gradient, *_ = torch.autograd.grad(losses.groups["actor"], [learner.actor.net.layers[-1].bias], retain_graph=True)
    moved = gradient.view(3, 4)
    assert (moved[1] != 0).all()
    assert (moved[[0, 2]] == 0).all()
    (router,) = torch.autograd.grad(losses.groups["actor"], [learner.actor.router.layers[-1].bias])
    weights = learner.actor.parts(batch.obs)[0].exp()
    share = weights.detach().requires_grad_()
    (share - torch.tensor([0.0, 1.0, 0.0])).square().mean().backward()
    expected = (share.grad - (share.grad * share).sum(1, keepdim=True)) * share  # type: ignore[operator]
    torch.testing.assert_close(router, expected.sum(0).detach())
    assert router[1] < 0
    assert (router[[0, 2]] > 0).all()


def test_without_the_frequency_the_router_stays() -> None:
    learner: Any = build("pmoe", SPECS["box"], frequency=0.0)
    before = [p.clone() for p in learner.actor.router.parameters()]
    for i in range(3):
        with torch_stream(0, "update", i):
            learner.update(batch_of(learner, i))
    assert all(torch.equal(a, b) for a, b in zip(before, learner.actor.router.parameters()))


def test_with_one_component_it_is_sac() -> None:
    mine: Any = build("pmoe", SPECS["box"], components=1)
    sac: Any = build("sac", SPECS["box"])
    sac.actor.net.load_state_dict(mine.actor.net.state_dict())
    sac.critic.load_state_dict(mine.critic.state_dict())
    sac.target_critic.load_state_dict(mine.target_critic.state_dict())
    batch = batch_of(mine, 0)
    with torch_stream(0, "losses"):
        found = mine.losses(batch)
    with torch_stream(0, "losses"):
        expected = sac.losses(batch)
    for name in ("actor", "temperature"):
        torch.testing.assert_close(found.groups[name], expected.groups[name])


def test_the_target_is_of_the_component_that_was_drawn() -> None:
    """Its own density, not that of the mixture, which is less by the share of the component where they lie apart."""
    learner: Any = build("pmoe", SPECS["box"], components=2, temperature=0.5)
    with torch.no_grad():
        for p in (*learner.target_critic.parameters(), *learner.actor.parameters()):
            p.zero_()
        head = learner.actor.net.layers[-1].bias.view(2, 4)
        head[0], head[1] = torch.tensor([-1.0, -1.0, -6.0, -6.0]), torch.tensor([1.0, 1.0, -3.0, -3.0])
    batch = batch_of(learner, 0)
    with torch_stream(0, "target"):
        found = learner.target(batch)
    with torch_stream(0, "target"):
        action, logp = learner.actor.sample(batch.next_obs)
    narrow = action[:, 0] < 0
    assert 5 < narrow.sum() < 27
    laws = D.Normal(torch.where(narrow, -1.0, 1.0), torch.where(narrow, -6.0, -3.0).exp())
    u = torch.atanh(action.double())
    density = (laws.log_prob(u.T) - torch.log(1 - action.T.double().square())).sum(0)
    torch.testing.assert_close(logp.double(), density, rtol=0.02, atol=0.02)
    worth = batch.reward - learner.config.discount * 0.5 * logp * ~batch.terminated
    torch.testing.assert_close(found, worth)
    share = learner.actor.log_prob(batch.obs, action) - logp
    torch.testing.assert_close(share, torch.full((32,), 0.5).log(), atol=0.02, rtol=0)


def test_a_mixture_of_nothing_is_refused() -> None:
    with pytest.raises(ActrixError, match="--components must be at least 1, not 0"):
        build("pmoe", SPECS["box"], components=0)


def test_component_picks_rows() -> None:
    each = torch.arange(24.0).reshape(2, 3, 4)
    assert component(each, torch.tensor([2, 0])).tolist() == [[8, 9, 10, 11], [12, 13, 14, 15]]
    assert component(each[..., 0], torch.tensor([2, 0])).tolist() == [8, 12]


# -- several goals ---------------------------------------------


@pytest.mark.parametrize("goal", range(4))
def test_every_goal_is_as_good_as_the_others(goal: int) -> None:
    env = MultiGoal()
    env.reset(seed=0)
    env.place = np.zeros(2)
    direction = 0.9 * MultiGoal.goals[goal] / 5
    obs, total, steps, there = np.zeros(2), 0.0, 0, False
    while not there:
        assert goal_at(obs[None]).tolist() == [-1]
        obs, reward, there, cut, _ = env.step(direction)
        total, steps = total + reward, steps + 1
        assert not cut
    assert steps == 5
    assert total == pytest.approx(-4.1 - 3.2 - 2.3 - 1.4 - 0.5 + 10)
    assert goal_at(obs[None]).tolist() == [goal]


def test_the_plane_has_an_end_and_so_has_an_episode() -> None:
    worlds = make_worlds("actrix.envs.points:MultiGoal-v0", 1)
    worlds.reset([0])
    for step in range(30):
        out = worlds.step(np.ones((1, 2), np.float32))
        if step >= 7:
            assert out.reward[0] == pytest.approx(-np.hypot(7, 2))
        assert (bool(out.terminated[0]), bool(out.truncated[0])) == (False, step == 29)
    worlds.close()


# -- the variants of its claim ---------------------------------------------


def test_experts_that_are_gated_are_one_gaussian() -> None:
    learner: Any = Gated(SPECS["box"], pmoe.Config(hidden=(16,), components=3))
    mixture = SquashedMixture(SPECS["box"], (16,), 3)
    mixture.load_state_dict(learner.actor.state_dict())
    batch = batch_of(learner, 0)
    weights, mean, log_std = mixture.parts(batch.obs)
    one, middle, spread = learner.actor.parts(batch.obs)
    assert (one == 0).all()
    torch.testing.assert_close(middle[:, 0], torch.einsum("bk,bka->ba", weights.exp(), mean))
    torch.testing.assert_close(spread[:, 0].exp(), torch.einsum("bk,bka->ba", weights.exp(), log_std.exp()))
    router = list(learner.actor.router.parameters())
    with torch_stream(0, "losses"):
        found = torch.autograd.grad(learner.losses(batch).groups["actor"], router)
    assert all(g.abs().sum() > 0 for g in found), "it learns by what the critics say of the average"


def test_where_everyone_learns_every_component_has_a_gradient() -> None:
    learner: Any = Everyone(SPECS["box"], pmoe.Config(hidden=(16,), components=3))
    with torch_stream(0, "losses"):
        loss = learner.losses(batch_of(learner, 0)).groups["actor"]
    gradient, router = torch.autograd.grad(
        loss, [learner.actor.net.layers[-1].bias, learner.actor.router.layers[-1].bias]
    )
    assert (gradient != 0).all()
    assert (router != 0).all()
