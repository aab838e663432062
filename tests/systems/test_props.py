"""PROPS: its behaviour against PPO and against counting, and what its feed learns from."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_contracts import SPECS, batch_of, build, experience
from torch import Tensor

from actrix.data.batches import joined
from actrix.errors import ActrixError
from actrix.run.feeds import flatten
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.control import props


class Arms(gym.Env):
    """Three arms, and nothing to be seen or won."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.ones(1, np.float32), 0.0, True, False, {}


gym.register("PropsArms-v0", entry_point=Arms)
SMALL = {"hidden": (), "horizon": 60, "minibatch": 0, "epochs": 1, "normalise_obs": False, "adapt_kl": 1e9}


def trainer_of(**settings: Any) -> Trainer:
    options = RunOptions(env="PropsArms-v0", steps=10_000, compile="no", threads=1)
    trainer = Trainer.start("props", options, props.Config(**{**SMALL, **settings}))
    with torch.no_grad():
        actor: Any = trainer.learner.actor
        actor.net.layers[-1].bias.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
        actor.net.layers[-1].weight.zero_()
        trainer.learner.restart()  # type: ignore[operator]
    trainer.feed.reset()
    return trainer


def test_where_actions_are_as_often_as_they_should_be_the_behaviour_stays() -> None:
    """The gradient of the mean ratio is that of sum_a p(a) r(a) = 1, where the sample has the policy's proportions."""
    learner: Any = trainer_of(regularise=0.0).learner
    for counts, still in (((5, 3, 2), True), ((6, 3, 1), False)):
        action = torch.arange(3).repeat_interleave(torch.tensor(counts))[:, None]
        obs = torch.ones(10, 1)
        logp = learner.actor.evaluate(obs, action)[0].detach()
        mask = torch.ones(10, 1, dtype=torch.bool)
        batch = dataclasses.replace(
            flatten(experience(learner, 0)[:2, :5]), obs=obs[:, None], action=action[:, None],
            logp_behaviour=logp[:, None], action_mask=mask, mask=None,
        )  # fmt: skip
        loss = learner.losses(batch, "behaviour").groups["behaviour"]
        (gradient,) = torch.autograd.grad(loss, [learner.behaviour.net.layers[-1].bias])
        assert loss.item() == pytest.approx(1.0)
        assert (gradient.abs().max() < 1e-6) == still
        if not still:  # what was done too often becomes less likely, what was done too seldom more
            torch.testing.assert_close(gradient, torch.tensor([0.1, 0.0, -0.1]), atol=1e-6, rtol=0)


def test_a_probability_falls_by_the_bound_and_no_further() -> None:
    learner: Any = trainer_of(regularise=0.0, adapt_clip=0.3, adapt_rate=3e-3).learner
    batch = flatten(experience(learner, 0))
    obs, action = torch.ones(len(batch), 1, 1), torch.zeros(len(batch), 1, 1, dtype=torch.int64)
    batch = dataclasses.replace(batch, obs=obs, action=action, logp_behaviour=torch.full((len(batch), 1), 0.5).log())
    policy = [p.clone() for p in learner.actor.parameters()]
    ratios = []
    for _ in range(400):
        learner.update(batch, "behaviour")
        ratios.append(learner.behaviour.log_prob(obs[0], action[0]).item() - np.log(0.5))
    ratios = np.exp(ratios).tolist()
    assert ratios[0] < 1
    assert 0.6 < ratios[-1] < 0.7  # beyond the bound there is no gradient; Adam's moments carry a little on
    assert ratios[-1] == pytest.approx(ratios[-50], abs=0.005)
    assert all(torch.equal(a, b) for a, b in zip(policy, learner.actor.parameters()))


def test_the_divergence_holds_the_behaviour_near() -> None:
    found = []
    for weight in (0.0, 3.0):
        learner: Any = build("props", SPECS["box"], adapt_rate=0.02, regularise=weight)
        batch = batch_of(learner, 0)
        for _ in range(60):
            learner.update(batch, "behaviour")
        found.append(learner.actor.kl(batch.obs, learner.behaviour).mean().item())
    assert found[1] < 0.5 * found[0]


def shares(action: Tensor) -> Tensor:
    return action.flatten().bincount(minlength=3) / action.numel()


def kl(empirical: Tensor, policy: Tensor) -> float:
    return float((empirical * (empirical / policy).clamp(min=1e-12).log()).sum())


def test_what_is_gathered_is_nearer_to_the_policy_than_a_sample() -> None:
    """Three arms, 96 pulls, 6 times: KL(empirical || policy), whose mean for a sample is 2 / (2 n)."""
    policy = torch.tensor([0.5, 0.3, 0.2])
    errors: dict[int, list[float]] = {0: [], 4: []}
    for every, found in errors.items():
        trainer = trainer_of(adapt_every=every, horizon=96, adapt_rate=0.05, adapt_epochs=8, adapt_minibatches=1)
        for _ in range(6):
            steps = trainer.feed.collect(trainer.learner)  # type: ignore[attr-defined]
            found.append(kl(shares(steps.action), policy))
            logp = policy.log()[steps.action[..., 0]]
            torch.testing.assert_close(steps.logp_behaviour, logp, rtol=1e-4, atol=1e-4)  # the policy's, not its own
        trainer.close()
    assert np.mean(errors[0]) == pytest.approx(1 / 96, rel=0.9)
    assert np.mean(errors[4]) < 0.35 * np.mean(errors[0])


def test_batches_of_the_past_are_learned_from_and_forgotten_in_time() -> None:
    trainer = trainer_of(batches=3, adapt_every=0)
    learner: Any = trainer.learner
    sizes, firsts = [], []
    for _ in range(5):
        (batch,) = [b for b, phase in trainer.feed.round(learner) if phase == "policy"]
        sizes.append(len(batch))
        firsts.append(batch.action[-60:])
        if len(firsts) > 2:  # the two before it, in their order
            torch.testing.assert_close(batch.action[:120], torch.cat(firsts[-3:-1]))
        # whoever gathered them: the ratio is one, and targets are of the present value
        logp = learner.actor.evaluate(batch.obs, batch.action)[0]
        torch.testing.assert_close(logp, batch.logp_behaviour)
        with torch.no_grad():
            torch.testing.assert_close(batch.target - batch.advantage, learner.critic(batch.obs))
            learner.actor.net.layers[-1].bias.add_(0.1 * torch.randn(3))
            learner.critic.net.layers[-1].bias.add_(1.0)
    assert sizes == [60, 120, 180, 180, 180]
    trainer.feed.reset()
    (batch,) = [b for b, _ in trainer.feed.round(learner)]
    assert len(batch) == 60
    trainer.close()


def test_the_behaviour_begins_at_the_policy_and_stops_at_its_distance() -> None:
    trainer = trainer_of(adapt_every=10, adapt_rate=0.05, adapt_kl=1e-3, adapt_minibatches=1, adapt_epochs=50)
    learner: Any = trainer.learner
    began: list[bool] = []
    restart = learner.restart

    def watched() -> None:
        restart()
        pairs = zip(learner.behaviour.parameters(), learner.actor.parameters())
        began.append(all(torch.equal(a, b) for a, b in pairs))

    learner.restart = watched
    for round in range(2):
        list(trainer.feed.round(learner))
        assert began == [True] * 6 * (round + 1)
        figures = trainer.feed.progress.figures
        assert 1e-3 < figures["behaviour_distance"] < 0.05
        assert 1 < figures["behaviour_steps"] < 50
    trainer.close()


def test_without_a_behaviour_and_a_buffer_it_is_ppo() -> None:
    mine: Any = build("props", SPECS["box"], value_clip=None, entropy_weight=0.0)
    ppo: Any = build("ppo", SPECS["box"], rate=1e-3)
    ppo.actor.load_state_dict(mine.actor.state_dict())
    ppo.critic.load_state_dict(mine.critic.state_dict())
    steps = experience(mine, 0)
    steps = dataclasses.replace(steps, logp_behaviour=mine.actor.evaluate(steps.obs, steps.action)[0].detach())
    batches = [flatten(learner.prepare(steps)) for learner in (mine, ppo)]
    for _ in range(2):
        mine.update(batches[0], "policy")
        ppo.update(batches[1])
    for a, b in zip((*mine.actor.parameters(), *mine.critic.parameters()),
                    (*ppo.actor.parameters(), *ppo.critic.parameters())):  # fmt: skip
        torch.testing.assert_close(a, b)


def test_joined_batches_keep_their_rows() -> None:
    learner = build("props", SPECS["box"])
    one, other = (flatten(experience(learner, i)) for i in range(2))
    both = joined([one, other])
    assert len(both) == len(one) + len(other)
    assert torch.equal(both[len(one) :].action, other.action)
    assert both.advantage is None
    assert joined([one]) is one


def test_a_behaviour_that_does_not_move_gathers_what_the_policy_would() -> None:
    """To the bit, over several rounds with a buffer: its own shuffles are drawn from a stream of their own."""
    found = []
    for every in (0, 10):
        trainer = trainer_of(adapt_every=every, adapt_rate=0.0, adapt_minibatches=2, adapt_epochs=2, minibatch=20)
        batches = []
        for _ in range(3):
            for batch, phase in trainer.feed.round(trainer.learner):
                trainer.learner.update(batch, phase)
                batches.append(batch)
        found.append(batches)
        trainer.close()
    assert len(found[0]) == len(found[1]) == 3 + 6 + 6
    for one, other in zip(*found):
        for name in ("obs", "action", "logp_behaviour", "advantage", "target"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("name", ["batches", "adapt_minibatches", "adapt_epochs"])
def test_numbers_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(ActrixError, match=f"--{name.replace('_', '-')} must be at least 1, not 0") as caught:
        trainer_of(**{name: 0})
    assert caught.value.misuse
