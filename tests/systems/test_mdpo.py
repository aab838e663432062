"""MDPO against closed forms, on-policy and off-policy."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from test_contracts import SPECS, batch_of, build, experience
from torch import distributions as D

from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import SquashedGaussian
from actrix.objectives import mirrored, reduce
from actrix.optim import Adam, Optimiser
from actrix.rng import torch_stream
from actrix.run.feeds import flatten
from actrix.spec import Choices, vector_spec


def test_divergences_are_those_of_torch() -> None:
    torch.manual_seed(0)
    obs, mask = torch.randn(20, 3), torch.rand(20, 5) < 0.6
    mask[:, [0, 2]] = True
    for kind in ("box", "multidiscrete"):
        one, other = build("mdpo", SPECS[kind], 0).actor, build("mdpo", SPECS[kind], 1).actor
        with torch.no_grad():
            for p in (*one.parameters(), *other.parameters()):
                p.add_(0.3 * torch.randn_like(p))
        found: Any = one.kl(obs, other)  # type: ignore[operator]
        if kind == "box":
            laws = [D.Normal(a(obs), a.log_std.exp()) for a in (one, other)]  # type: ignore[union-attr]
            torch.testing.assert_close(found, D.kl_divergence(*laws).sum(-1))
            continue
        for legal in (None, mask):
            pairs = zip(one.logps(obs, legal), other.logps(obs, legal))  # type: ignore[operator]
            expected = sum(D.kl_divergence(D.Categorical(logits=p), D.Categorical(logits=q)) for p, q in pairs)
            torch.testing.assert_close(one.kl(obs, other, legal), expected)  # type: ignore[operator]
    assert (found > 0).all()


def test_the_exact_objective_leads_to_the_old_policy_times_exp_of_the_advantage() -> None:
    """20 states, 4 choices, any advantages: three steps of mirror descent, each solved by gradients, all states and
    choices with the weight that the old policy gives them."""
    torch.manual_seed(0)
    states, choices, step_size = 20, 4, 0.7
    actor = Categorical(vector_spec(states, Choices((choices,), "discrete", (0,))), (), orthogonal=False).double()
    old = Categorical(vector_spec(states, Choices((choices,), "discrete", (0,))), (), orthogonal=False).double()
    obs = torch.eye(states, dtype=torch.float64)
    rows, action = obs.repeat_interleave(choices, 0), torch.arange(choices).repeat(states)[:, None]
    expected = actor.logps(obs)[0].detach()
    for _ in range(3):
        old.load_state_dict(actor.state_dict())
        advantage = torch.randn(states, choices, dtype=torch.float64)
        behaviour = old.log_prob(rows, action).detach()
        optimiser = Optimiser({"policy": (actor.parameters(), Adam(0.05))})
        optimiser.double()
        for i in range(1_200):
            optimiser.set_rate("policy", 0.05 * 0.994**i)
            divergence = actor.kl(rows, old)
            loss = mirrored(actor.log_prob(rows, action), behaviour, advantage.flatten(), divergence, step_size)
            optimiser.step({"policy": (loss * behaviour.exp()).sum()})
        expected = torch.log_softmax(expected + step_size * advantage, -1)
        torch.testing.assert_close(actor.logps(obs)[0].exp(), expected.exp(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["box", "multidiscrete"])
def test_the_first_step_of_a_batch_is_a_plain_policy_gradient_and_the_next_is_not(kind: str) -> None:
    learner: Any = build("mdpo", SPECS[kind], step_size=0.1, normalise_obs=False, normalise_advantage=False)
    batch = flatten(learner.prepare(experience(learner, 0)))
    logp, _ = learner.actor.evaluate(batch.obs, batch.action)
    batch = dataclasses.replace(batch, logp_behaviour=logp.detach())
    plain = reduce(-logp * batch.advantage, batch.action_mask)
    parameters = learner.optimiser.groups["policy"]

    def gradient(loss: torch.Tensor) -> list[torch.Tensor]:
        return [g for g in torch.autograd.grad(loss, parameters) if g is not None]

    for mine, theirs in zip(gradient(learner.losses(batch).groups["policy"]), gradient(plain)):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    learner.update(batch)
    losses = learner.losses(batch)
    assert losses.notes["kl"] > 0
    kl = reduce(learner.actor.kl(batch.obs, learner.before.copy), batch.action_mask)
    ratio = (learner.actor.log_prob(batch.obs, batch.action) - batch.logp_behaviour).exp()
    linear = reduce(-ratio * batch.advantage, batch.action_mask)
    torch.testing.assert_close(losses.groups["policy"], linear + kl / 0.1)


def test_steps_of_mirror_descent_shrink_and_never_to_nothing() -> None:
    learner: Any = build("mdpo", SPECS["box"], step_size=2.0, anneal=96)
    found = []
    for i in range(5):
        steps = experience(learner, i)
        learner.prepare(dataclasses.replace(steps, action_mask=torch.ones(4, 8, dtype=torch.bool)))
        found.append(learner.step_size.item())
    assert found == pytest.approx([2.0, 2.0 * 2 / 3, 2.0 / 3, 2.0 / 3, 2.0 / 3])


def test_the_old_policy_is_the_one_that_acted() -> None:
    learner: Any = build("mdpo", SPECS["box"])
    for i in range(2):
        batch = batch_of(learner, i)
        acted = [p.clone() for p in learner.actor.parameters()]
        learner.update(batch)
        learner.update(batch)
        for before, mine, now in zip(acted, learner.before.copy.parameters(), learner.actor.parameters()):
            assert torch.equal(before, mine)
            assert not torch.equal(before, now)


# -- off-policy ---------------------------------------------


def test_density_from_before_the_squashing_keeps_its_digits() -> None:
    actor = SquashedGaussian(vector_spec(3, 2), (8,))
    torch.manual_seed(0)
    obs = torch.randn(50, 3)
    with torch.no_grad():
        u, logp = actor.draw(obs)
        torch.testing.assert_close(actor.log_prob_before(obs, u), logp, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(actor.log_prob(obs, torch.tanh(u)), logp, rtol=1e-3, atol=1e-3)
        far = torch.full((50, 2), 12.0)  # tanh of it is 1
        exact = actor.double().log_prob_before(obs.double(), far.double())
        torch.testing.assert_close(actor.float().log_prob_before(obs, far).double(), exact, rtol=1e-5, atol=1e-3)
        assert not torch.allclose(actor.log_prob(obs, torch.tanh(far)).double(), exact, rtol=0.01)


def test_at_the_price_of_entropy_it_is_sac() -> None:
    """With temperature = price the anchor drops out: the actor's loss is SAC's, of one critic."""
    settings: dict[str, Any] = {"price": 0.2, "temperature": 0.2, "regularise": 0.0}
    mdpo: Any = build("mdpo-off-policy", SPECS["box"], **settings)
    sac: Any = build("sac", SPECS["box"], learn_temperature=False, temperature=0.2)
    sac.actor.load_state_dict(mdpo.actor.state_dict())
    sac.critic.load_state_dict(mdpo.critic.state_dict())
    with torch.no_grad():
        for critic in (mdpo.critic, sac.critic):
            critic.net.layers[-1].bias[1] += 100.0  # so that the first is the least
        for p in mdpo.before.copy.parameters():
            p.add_(1.0)
    batch = batch_of(mdpo, 0)
    with torch_stream(0, "losses"):
        mine = mdpo.losses(batch)
    with torch_stream(0, "losses"):
        theirs = sac.losses(batch)
    torch.testing.assert_close(mine.groups["actor"], theirs.groups["actor"], rtol=1e-6, atol=1e-6)


def test_what_it_pays_for_is_the_distance_from_the_old_policy() -> None:
    """Where the critics know nothing, the loss is price KL(pi || pi_k), which squashing does not change."""
    learner: Any = build("mdpo-off-policy", vector_spec(1, 1), price=0.5, temperature=0.0, regularise=0.0)
    with torch.no_grad():
        for p in learner.critic.parameters():
            p.zero_()
        learner.before.copy.net.layers[-1].bias.add_(torch.tensor([0.4, 0.3]))
    n = 40_000
    batch = dataclasses.replace(batch_of(build("mdpo-off-policy", SPECS["box"]), 0))
    zero, flag = torch.zeros(n), torch.zeros(n, dtype=torch.bool)
    obs = torch.zeros(n, 1)
    batch = dataclasses.replace(batch, obs=obs, action=obs, reward=zero, next_obs=obs, terminated=flag, truncated=flag)
    with torch_stream(0, "losses"):
        found = learner.losses(batch).groups["actor"].item()
    laws = []
    for actor in (learner.actor, learner.before.copy):
        mean, log_std = actor.distribution(obs[:1])
        laws.append(D.Normal(mean, log_std.exp()))
    assert found == pytest.approx(0.5 * D.kl_divergence(*laws).item(), abs=0.01)


def test_the_old_policy_stays_until_it_is_replaced() -> None:
    learner: Any = build("mdpo-off-policy", SPECS["box"], anchor_every=3)
    assert [learner.phase(i) for i in range(4)] == ["approach", "approach", "renew", "approach"]
    first = [p.clone() for p in learner.actor.parameters()]
    for i in range(3):
        for before, mine in zip(first, learner.before.copy.parameters()):
            assert torch.equal(before, mine)
        with torch_stream(0, "update", i):
            learner.update(batch_of(learner, i), learner.phase(i))
    for mine, now in zip(learner.before.copy.parameters(), learner.actor.parameters()):
        assert torch.equal(mine, now)


def test_the_value_is_soft_and_of_the_least_critic() -> None:
    learner: Any = build("mdpo-off-policy", SPECS["box"], temperature=0.3, rate=3e-3)
    with torch.no_grad():
        for p in learner.critic.parameters():
            p.zero_()
        learner.critic.net.layers[-1].bias.copy_(torch.tensor([2.0, 5.0])[:, None, None])
    batch = batch_of(learner, 0)
    with torch_stream(0, "losses"):
        losses = learner.losses(batch)
    with torch_stream(0, "losses"):
        _, logp = learner.actor.draw(batch.obs)
    expected = 0.5 * (learner.value(batch.obs) - (2.0 - 0.3 * logp)).square().mean()
    torch.testing.assert_close(losses.groups["value"], expected)
