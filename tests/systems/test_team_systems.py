"""MAPPO and BN-MAPPO: what the contract tests do not ask."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from test_contracts import batch_of, build, experience

from actrix import registry
from actrix.critics.values import ScaledValue
from actrix.run.trainer import RunOptions, Trainer
from actrix.spec import Choices, Part, Spec

pytest.importorskip("pettingzoo")

TEAM = Spec(
    (
        Part("a", 0, 1, (1,), agent=0),
        Part("b", 1, 2, (1,), agent=1),
        Part("hidden", 2, 3, (1,), privileged=True),
    ),
    Choices((2, 3), "multidiscrete", (0, 0)),
)
MATCHING = "pettingzoo:actrix.envs.cooperative.Matching"


def test_ratios_are_clipped_agent_by_agent() -> None:
    """Against the sum written out: one agent's ratio may be cut while another's is not."""
    learner: Any = build("mappo", TEAM, normalise_advantage=False, entropy_weight=0.0)
    batch = batch_of(learner, 0)
    batch = dataclasses.replace(
        batch, logp_behaviour=batch.logp_behaviour + 0.5 * torch.randn_like(batch.logp_behaviour)
    )
    loss = learner.losses(batch).groups["actor"].item()
    logps = learner.actor.logps(batch.obs)[:, 0]
    terms = []
    for i in range(len(batch)):
        for n in range(2):
            ratio = (logps[i, n, batch.action[i, 0, n]] - batch.logp_behaviour[i, 0, n]).exp().item()
            gain = batch.advantage[i, 0].item()
            terms.append(-min(ratio * gain, min(max(ratio, 0.8), 1.2) * gain))
    assert loss == pytest.approx(sum(terms) / len(terms), rel=1e-4)


def test_nothing_is_learned_from_an_agent_that_is_gone() -> None:
    """With one legal action its probability is 1, whatever it sees; so its ratio and its gradient say nothing."""
    learner: Any = build("mappo", TEAM)
    obs = torch.randn(6, 3)
    mask = torch.tensor([True, True, True, False, False]).expand(6, 5)
    action = torch.stack((torch.randint(2, (6,)), torch.zeros(6, dtype=torch.int64)), -1)
    logp, entropy = learner.actor.evaluate(obs, action, mask)
    assert (logp[:, 1] == 0).all()
    assert (entropy[:, 1] == 0).all()
    assert (torch.autograd.grad(logp[:, 1].sum(), learner.actor.net.layers[-1].bias)[0] == 0).all()


def test_the_critic_sees_what_is_privileged_and_the_actor_does_not() -> None:
    for slug in ("mappo", "bn-mappo"):
        learner: Any = build(slug, TEAM, normalise_obs=False)
        obs = torch.randn(5, 3)
        other = obs + torch.tensor([0.0, 0.0, 1.0])
        assert torch.equal(learner.act(obs, "mean").logp, learner.act(other, "mean").logp)
        assert (learner.critic(obs) != learner.critic(other)).all()


def test_popart_moves_its_units_and_not_its_values() -> None:
    torch.manual_seed(0)
    critic = ScaledValue(TEAM, (8,), rate=0.25)
    obs, mask = torch.randn(50, 3), torch.rand(10, 5) < 0.7
    targets = [5 + 3 * torch.randn(10, 5) for _ in range(3)]
    for target in targets:
        before = critic(obs)
        critic.follow(target, mask)
        torch.testing.assert_close(critic(obs), before, rtol=1e-4, atol=1e-4)
    kept = torch.cat([t[mask] for t in targets])
    assert critic.mean.item() == pytest.approx(kept.mean().item(), rel=1e-4)
    assert critic.std.item() == pytest.approx(kept.std(correction=0).item(), rel=1e-4)
    for _ in range(60):  # and it forgets: by a quarter with each call
        critic.follow(torch.full((10, 5), -2.0), mask)
    assert critic.mean.item() == pytest.approx(-2.0, abs=1e-3)
    still = ScaledValue(TEAM, (8,), rate=0.0)
    still.follow(targets[0], mask)
    assert (still.mean.item(), still.std.item()) == (0.0, 1.0)


def test_the_wanted_density_falls_and_then_there_is_no_edge() -> None:
    learner: Any = build("bn-mappo", TEAM, anneal=64, normalise_advantage=False)
    steps = dataclasses.replace(experience(learner, 0), action_mask=torch.ones(4, 8, dtype=torch.bool))
    wanted = []
    for _ in range(3):
        batch = learner.prepare(steps)
        wanted.append(learner.density().item())
        # the penalty is the squared distance of every state's density, and nothing else has changed
        free = build("bn-mappo", TEAM, normalise_advantage=False)
        free.restore(learner.state())
        surplus = (learner.actor.density(batch.obs) - wanted[-1]).square().mean().item()
        gap = learner.losses(batch).groups["actor"] - free.losses(batch).groups["actor"]
        assert gap.item() == pytest.approx(surplus, rel=1e-3)
    assert wanted == [0.5, 0.0, 0.0]
    obs = torch.randn(200, 3)
    assert learner.actor.adjacency(obs, "sample").sum() == 0
    # what was gathered with edges is still judged with them
    adjacency = learner.actor.graph(learner.actor.all(steps.obs), steps.condition)[0]
    assert adjacency.sum() > 0
    again: Any = build("bn-mappo", TEAM, seed=1, anneal=64)
    again.restore(learner.state())
    assert again.actor.adjacency(obs, "sample").sum() == 0, "it is saved with the learner"


@pytest.mark.parametrize("slug", ["mappo", "bn-mappo"])
def test_a_team_learns_to_say_the_same(slug: str) -> None:
    """At random four agents agree once in 27 times, and lose 0.45 on average. All seeds from 0 to 2 get to an option of
    which all are sure: 0.8, 0.9 or 1."""
    config = registry.load(slug).config(
        hidden=(32, 32), envs=32, horizon=4, epochs=5, actor_rate=5e-3, critic_rate=5e-3, entropy_weight=0.003
    )
    options = RunOptions(env=MATCHING, steps=3_840, eval_every=3_840, compile="no", threads=1)
    trainer = Trainer.start(slug, options, config)
    scores = [report.evaluation["mean"] for report in trainer if report.evaluation]
    trainer.close()
    assert scores[-1] > 0.75
