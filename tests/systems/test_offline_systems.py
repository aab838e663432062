"""The offline systems against closed forms: what each adds to the parts that it is made of."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from test_contracts import SPECS, batch_of, build, make_constant
from worlds import name as name_of
from worlds import recorded

from actrix import registry
from actrix.data.batches import Transitions
from actrix.errors import ActrixError
from actrix.rng import torch_stream
from actrix.run.engine import compiled
from actrix.run.learner import Learner
from actrix.run.trainer import RunOptions, Trainer
from actrix.spec import vector_spec


def updated(learner: Learner, batch: Transitions, updates: int) -> None:
    for i in range(updates):
        with torch_stream(0, "update", i):
            learner.update(batch, learner.phase(i))


def test_bc_learns_mean_and_spread_of_what_was_done() -> None:
    learner: Any = build("bc", vector_spec(1, 2), rate=1e-2)
    torch.manual_seed(0)
    n = 512
    action = torch.randn(n, 2)
    action = (action - action.mean(0)) / action.std(0, correction=0)
    action = torch.tensor([0.3, -0.2]) + torch.tensor([0.2, 0.05]) * action
    zero, flag = torch.zeros(n), torch.zeros(n, dtype=torch.bool)
    updated(learner, Transitions(zero[:, None], action, zero, zero[:, None], flag, flag), 600)
    torch.testing.assert_close(
        learner.act(torch.zeros(1, 1), "mean").action[0], torch.tensor([0.3, -0.2]), atol=0.01, rtol=0
    )
    torch.testing.assert_close(learner.actor.log_std.exp(), torch.tensor([0.2, 0.05]), atol=0.01, rtol=0)


def test_bc_stays_within_the_box_however_the_data_pull() -> None:
    for actor in ("gaussian", "deterministic"):
        learner: Any = build("bc", SPECS["box"], actor=actor, rate=1e-2)
        batch = batch_of(learner, 0)
        updated(learner, dataclasses.replace(batch, action=torch.full_like(batch.action, 5.0)), 200)
        assert learner.act(batch.obs, "mean").action.abs().max() <= 1.0


def test_bc_goes_either_way_where_the_data_do() -> None:
    """Past an obstacle, left or right: a Gaussian's best guess is to run into it; flow and diffusion find both ways."""
    torch.manual_seed(0)
    n = 2_048
    side = torch.where(torch.rand(n, 1) < 0.5, -0.7, 0.7)
    action = torch.cat((side, torch.full((n, 1), 0.4)), 1) + 0.08 * torch.randn(n, 2)
    zero, flag = torch.zeros(n), torch.zeros(n, dtype=torch.bool)
    batch = Transitions(zero[:, None], action, zero, zero[:, None], flag, flag)
    ahead = torch.zeros(1_000, 1)
    for actor in ("gaussian", "deterministic", "diffusion", "flow"):
        learner: Any = build("bc", vector_spec(1, 2), actor=actor, rate=1e-2, hidden=(64, 64))
        for i in range(600):
            with torch_stream(0, "update", i):
                learner.update(batch[torch.randint(n, (256,))])
        with torch_stream(0, "act"):
            x = learner.exploit(ahead)[0].action[:, 0]
            sampled = learner.act(ahead).action[:, 0]
        left, right, between = ((x < -0.25).float().mean(), (x > 0.25).float().mean(), (x.abs() < 0.25).float().mean())
        if actor in ("gaussian", "deterministic"):
            assert between == 1
            assert (sampled.abs() < 0.25).float().mean() > 0.2, "nor does its noise find the ways"
            continue
        assert between < 0.08, actor
        assert left.item() == pytest.approx(0.5, abs=0.15)
        assert right.item() == pytest.approx(0.5, abs=0.15)
        fixed = learner.act(ahead[:2], "mean").action[:, 0]
        assert fixed[0] == fixed[1]
        assert fixed[0].abs() > 0.25


@pytest.mark.parametrize("actor", ["diffusion", "flow"])
def test_bc_with_a_generative_actor_is_captured_saved_and_run(actor: str) -> None:
    captured, eager = (build("bc", SPECS["box"], actor=actor) for _ in range(2))
    update = compiled(captured.update, "eager")
    for i in range(3):
        batch = batch_of(eager, i)
        for learner, step in ((captured, update), (eager, eager.update)):
            with torch_stream(0, "update", i):
                step(batch, learner.phase(i))
    for name, value in eager.state().items():
        torch.testing.assert_close(captured.state()[name], value, rtol=2e-4, atol=2e-5, msg=name)
    entry = registry.load("bc")
    config = entry.config(actor=actor, hidden=(16,), batch=16, denoising_steps=4)
    env = name_of("box")
    scores = []
    for _ in range(2):
        options = RunOptions(env=env, data=recorded(env), steps=20, eval_episodes=3, compile="no", threads=1)
        trainer = Trainer.start("bc", options, config)
        reports = list(trainer)
        trainer.close()
        assert reports[-1].evaluation is not None
        scores.append(reports[-1].evaluation["scores"])
    assert scores[0] == scores[1], "an evaluation draws from its own stream"


@pytest.mark.parametrize("actor", ["diffusion", "flow"])
def test_bc_refuses_a_generative_actor_where_there_is_none(actor: str) -> None:
    for kind in ("unbounded box", "discrete"):
        with pytest.raises(ActrixError, match="boxes with bounds"):
            build("bc", SPECS[kind], actor=actor)
    with pytest.raises(ActrixError, match="not 'flows'"):
        build("bc", SPECS["box"], actor="flows")


def test_td3_bc_does_not_care_for_the_scale_of_the_values() -> None:
    learner: Any = build("td3-bc", SPECS["box"])
    batch = batch_of(learner, 0)

    def gradient() -> list[torch.Tensor]:
        losses = learner.losses(batch, "both").groups
        return learner.optimiser.gradients({"actor": losses["actor"]})["actor"]

    before = gradient()
    with torch.no_grad():
        head = learner.critic.net.layers[-1]
        head.weight *= 50
        head.bias *= 50
    for a, b in zip(before, gradient()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_td3_bc_without_value_is_behaviour_cloning() -> None:
    learner: Any = build("td3-bc", SPECS["box"], weight=0.0)
    batch = batch_of(learner, 0)
    loss = learner.losses(batch, "both").groups["actor"]
    expected = torch.nn.functional.mse_loss(learner.actor(learner.perceive(batch.obs)), batch.action)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_iql_weighs_imitation_by_advantage_up_to_a_bound() -> None:
    learner: Any = build("iql", SPECS["box"], advantage_scale=2.0)
    batch = batch_of(learner, 0)
    for critic, state, expected in ((1.5, 1.0, math.e), (0.0, 1.0, math.exp(-2)), (9.0, 0.0, 100.0)):
        make_constant(learner.target_critic, critic)
        make_constant(learner.value, state)
        losses = learner.losses(batch)
        assert losses.notes["weight"].item() == pytest.approx(expected, rel=1e-5)
        imitation = -learner.actor.log_prob(batch.obs, batch.action).mean()
        assert losses.groups["actor"].item() == pytest.approx(expected * imitation.item(), rel=1e-4)


def test_iql_never_asks_about_other_actions() -> None:
    """Its losses are a function of the data's actions only: the same whatever the actor would do."""
    learner: Any = build("iql", SPECS["box"])
    batch = batch_of(learner, 0)
    before = learner.losses(batch).groups
    with torch.no_grad():
        for p in learner.actor.parameters():
            p.add_(torch.randn_like(p))
    after = learner.losses(batch).groups
    assert before["critic"].item() == after["critic"].item()
    assert before["value"].item() == after["value"].item()


def soft(learner: Any, batch: Transitions) -> torch.Tensor:
    with torch_stream(0, "update"):
        return learner.soft_maximum(batch)


def test_cal_ql_integrates_over_actions() -> None:
    """Of a critic that says c of everything: the 3 K terms have mean exp(c) 2^A each."""
    learner: Any = build("cal-ql", SPECS["box"], samples=4_000, calibrated=False)
    make_constant(learner.critic, 1.7)
    expected = 1.7 + 2 * math.log(2.0) + math.log(3 * 4_000)
    torch.testing.assert_close(soft(learner, batch_of(learner, 0)), torch.full((2, 32), expected), atol=0.1, rtol=0)


def test_cal_ql_does_not_push_values_below_the_return() -> None:
    """Where the policy's actions are worth less than what was earned they feel no push; without a bound they do."""
    learner: Any = build("cal-ql", SPECS["box"], samples=8)
    make_constant(learner.critic, -30.0)
    batch = batch_of(learner, 0)

    def push(returns: float) -> float:
        """d soft maximum / d value: the share of the terms that still move."""
        bias = learner.critic.net.layers[-1].bias
        value = soft(learner, dataclasses.replace(batch, returns=torch.full((32,), returns))).mean(1).sum()
        return torch.autograd.grad(value, bias)[0].sum().item() / 2

    assert push(-math.inf) == pytest.approx(1.0, rel=1e-4)
    assert push(-40.0) == pytest.approx(1.0, rel=1e-4), "the values are above it"
    assert push(0.0) < 1e-6
    plain: Any = build("cal-ql", SPECS["box"], samples=8, calibrated=False)
    plain.load_state_dict(learner.state_dict())
    bounded = soft(learner, dataclasses.replace(batch, returns=torch.full((32,), -math.inf)))
    torch.testing.assert_close(soft(plain, batch), bounded)


def test_cal_ql_takes_the_best_of_several_next_actions() -> None:
    for best in (True, False):
        learner: Any = build("cal-ql", SPECS["box"], samples=64, max_target=best)
        batch = batch_of(learner, 0)
        batch = dataclasses.replace(batch, terminated=torch.zeros(32, dtype=torch.bool))
        values = []
        for i in range(40):
            with torch_stream(i, "target"):
                values.append(learner.target(batch))
        spread = torch.stack(values).std(0).mean()
        if best:
            top, least = torch.stack(values).mean(0), spread
        else:
            assert (top >= torch.stack(values).mean(0)).all()
            assert least < 0.5 * spread, "the best of many varies less than one"


SMALL = {"proposals": 4, "keep": 3, "ascent": 2, "step": 0.1, "members": 3, "samples": 2, "denoising_steps": 2}


@pytest.mark.parametrize("actor", ["gaussian", "autoregressive"])  # a diffusion has the contract tests
def test_pa_rl_improves_any_class_in_one_graph_and_no_value_moves_the_policy(actor: str) -> None:
    captured, eager = (build("pa-rl", SPECS["box"], actor=actor, **SMALL) for _ in range(2))
    update = compiled(captured.update, "eager")
    for i in range(2):
        batch = batch_of(eager, i)
        for learner, step in ((captured, update), (eager, eager.update)):
            with torch_stream(0, "update", i):
                step(batch, learner.phase(i))
    for name, value in eager.state().items():
        torch.testing.assert_close(captured.state()[name], value, rtol=2e-4, atol=2e-5, msg=name)
    loss = eager.losses(batch_of(eager, 9)).groups["actor"]
    reached = torch.autograd.grad(loss, list(eager.critic.parameters()), allow_unused=True)  # type: ignore[union-attr]
    assert all(g is None for g in reached)


def test_pa_rl_bootstraps_from_the_best_particle() -> None:
    """With one critic that is its own target: no target is below that of a plain proposal, and most are above."""
    plain: Any = build("pa-rl", SPECS["box"], actor="gaussian", members=1, proposals=1, keep=1, ascent=0)
    best: Any = build("pa-rl", SPECS["box"], actor="gaussian", members=1, proposals=64, ascent=5, step=0.3)
    assert torch.equal(best.critic.net.layers[0].weight, plain.critic.net.layers[0].weight)
    batch = dataclasses.replace(batch_of(plain, 0), terminated=torch.zeros(32, dtype=torch.bool))
    low, high = plain.target(batch), best.target(batch)
    assert (high > low).float().mean() > 0.9
    particles = best.actor.improve(batch.next_obs)
    assert (particles[1].amax(-1) - (best.target(batch, particles) - batch.reward) / 0.99).abs().max() < 1e-4


def test_pa_rl_without_improvement_is_behaviour_cloning() -> None:
    learner: Any = build("pa-rl", SPECS["box"], actor="gaussian", proposals=1, ascent=0, distill=False)
    batch = batch_of(learner, 0)
    assert {learner.phase(i) for i in range(5)} == {"imitate"}
    loss = learner.losses(batch, "imitate").groups["actor"]
    assert loss.item() == pytest.approx(learner.actor.base.imitate(batch.obs, batch.action).item())
    with torch_stream(0, "act"):
        acted = learner.exploit(batch.obs)[0].action
    with torch_stream(0, "act"):
        assert torch.equal(acted, learner.actor.base.candidates(batch.obs, 1)[:, 0])
    warm: Any = build("pa-rl", SPECS["box"], actor="gaussian", imitation=3)
    assert [warm.phase(i) for i in range(5)] == ["imitate"] * 3 + ["improve"] * 2


def test_pa_rl_is_pessimistic_down_to_the_return() -> None:
    """A critic that says c of everything has a soft maximum of c; one far below the returns has theirs, by the share
    of the policy's actions among the 3 K + 1."""
    learner: Any = build("pa-rl", SPECS["box"], actor="gaussian", samples=5)
    batch = batch_of(learner, 0)

    def soft_of(value: float, returns: float) -> torch.Tensor:
        make_constant(learner.critic, value)
        found = dataclasses.replace(batch, returns=torch.full((32,), returns))
        particles = learner.actor.improve(batch.obs)
        taken = learner.critic(batch.obs, batch.action).members
        return learner.soft_maximum(found, taken, particles, particles)

    torch.testing.assert_close(soft_of(1.7, -math.inf), torch.full((10, 32), 1.7))
    torch.testing.assert_close(soft_of(-40.0, 2.0), torch.full((10, 32), 2.0 + math.log(10 / 16)))


def test_pa_rl_with_the_critic_of_iql_never_asks_about_other_actions() -> None:
    learner: Any = build("pa-rl", SPECS["box"], actor="gaussian", critic="iql", subset=10)
    batch = batch_of(learner, 0)
    before = learner.losses(batch).groups
    with torch.no_grad():
        for p in learner.actor.parameters():
            p.add_(torch.randn_like(p))
    after = learner.losses(batch).groups
    assert before["critic"].item() == after["critic"].item()
    assert before["value"].item() == after["value"].item()
    expected = batch.reward + 0.99 * learner.value(batch.next_obs) * ~batch.terminated
    torch.testing.assert_close(learner.target(batch), expected)
    updated(learner, batch, 2)


def test_pa_rl_says_what_it_cannot_do() -> None:
    for settings, says in (({"actor": "deterministic"}, "not 'deterministic'"), ({"critic": "sarsa"}, "not 'sarsa'")):
        with pytest.raises(ActrixError, match=says):
            build("pa-rl", SPECS["box"], **settings)
