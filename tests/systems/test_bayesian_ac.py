"""Bayesian actor-critic: its update is the posterior mean of the gradient, and it learns."""

from __future__ import annotations

import pytest
import torch
from test_contracts import SPECS, build, experience

from actrix.critics import bayesian
from actrix.errors import ActrixError
from actrix.run.feeds import flatten
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.control.bayesian_ac import BayesianAC, Config


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("kind", ["discrete", "box"])
def test_a_step_is_along_the_posterior_mean(kind: str, natural: bool) -> None:
    """With scores and information in parameter space, from per-step gradients."""
    settings = {"natural": natural, "ridge": 0.3, "noise": 0.2, "scale_reward": False, "clip_norm": 1e9, "rate": 1.0}
    learner = build("bayesian-ac", SPECS[kind], **settings)
    for i in range(3):
        learner.update(flatten(learner.prepare(experience(learner, 7 + i))))
    steps = experience(learner, 0)
    acts = steps.action_mask
    over = steps.terminated | steps.truncated
    follows = torch.cat((acts[:, 1:], torch.zeros_like(acts[:, :1])), 1)
    parameters = list(learner.actor.parameters())
    rows = []
    for n, t in acts.nonzero().tolist():
        logp, _ = learner.actor.evaluate(steps.obs[n : n + 1, t], steps.action[n : n + 1, t])  # type: ignore[operator]
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(logp.sum(), parameters)]))
    u = torch.stack(rows).double()
    ridge = 0.3 * u.square().sum(1).mean() / len(u)
    inverse = (u.T @ u / len(u) + ridge * torch.eye(u.shape[1], dtype=u.dtype)).inverse()
    kernel = bayesian.gaussian_kernel(steps.obs[acts], learner.config.length) + u @ inverse @ u.T
    links = (acts & ~over & follows)[acts], steps.terminated[acts]
    weight = bayesian.gptd(kernel, steps.reward[acts], *links, learner.config.discount, 0.2)
    expected = u.T @ weight
    expected = inverse @ expected if natural else expected
    before = torch.cat([p.detach().flatten() for p in parameters])
    learner.update(flatten(learner.prepare(steps)))
    after = torch.cat([p.detach().flatten() for p in parameters])
    torch.testing.assert_close((after - before).double(), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_more_steps_than_a_matrix_holds_are_refused() -> None:
    with pytest.raises(ActrixError, match="4104 steps a round"):
        BayesianAC(SPECS["box"], Config(horizon=513, envs=8))


@pytest.mark.slow
def test_it_learns() -> None:
    """CartPole-v1: an untrained policy, all of whose logits are 0, always does the same and falls after ten steps."""
    options = RunOptions(env="CartPole-v1", steps=16_000, eval_every=16_000, compile="no", threads=1)
    trainer = Trainer.start("bayesian-ac", options, Config(features=0, rate=0.3, clip_norm=1e9))
    before = trainer.evaluate()["mean"]
    after = [report.evaluation for report in trainer if report.evaluation][-1]["mean"]
    trainer.close()
    assert before < 20
    assert after > 150, f"{before:.0f} -> {after:.0f}"
