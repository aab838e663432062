"""GBRL: what its trees are fitted to, and runs that outgrow their capacity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_contracts import SPECS, batch_of, build
from worlds import name

from actrix import registry
from actrix.errors import ActrixError
from actrix.nets.boosted import Boosted, Growth, Outputs
from actrix.run.learner import Learner
from actrix.run.trainer import RunOptions, Trainer


def one_by_one(learner: Any, batch: Any) -> torch.Tensor:
    """The gradient of every row's own loss with respect to what the model says of it, written out: [B, O]."""
    config, found = learner.config, []
    for row in range(len(batch)):
        said = learner.trees(batch.obs[row]).detach().requires_grad_()
        policy, value = said[:, :-1], said[:, -1]
        if isinstance(learner.spec.action, type(SPECS["discrete"].action)):
            logp = policy.log_softmax(-1).gather(-1, batch.action[row])[:, 0]
        else:
            logp = torch.distributions.Normal(policy, learner.actor.log_std.detach().exp()).log_prob(batch.action[row])
            logp = logp.sum(-1)
        advantage = batch.advantage[row]
        if config.objective == "a2c":
            loss = -advantage * logp
        else:
            ratio = (logp - batch.logp_behaviour[row]).exp()
            loss = -torch.minimum(ratio * advantage, ratio.clamp(1 - config.clip, 1 + config.clip) * advantage)
        loss = loss + config.value_weight * 0.5 * (value - batch.target[row]) ** 2
        found.append(torch.autograd.grad(loss.sum(), said)[0])
    return torch.cat(found)


@pytest.mark.parametrize("objective", ["ppo", "a2c"])
@pytest.mark.parametrize("kind", ["discrete", "box"])
def test_a_step_fits_one_tree_to_the_gradient_of_every_row(kind: str, objective: str) -> None:
    rates = {"policy_rate": 0.3, "value_rate": 0.02, "policy_clip_norm": 1.0, "value_clip_norm": 0.5}
    learner: Any = build("gbrl", SPECS[kind], objective=objective, normalise_advantage=False, **rates)
    width = learner.width
    blocks = (Outputs(width, 0.3, 1.0), Outputs(1, 0.02, 0.5))
    for i in range(4):  # from the second on, the model says something
        batch = batch_of(learner, i)
        before = learner.trees(batch.obs).detach()
        alone = Boosted(learner.spec, blocks, Growth(capacity=64))
        alone.fit(batch.obs, one_by_one(learner, batch)[:, None])
        learner.update(batch)
        torch.testing.assert_close(learner.trees(batch.obs) - before, alone(batch.obs), rtol=1e-3, atol=2e-5)


def test_the_spread_is_adams_and_the_trees_do_not_see_it() -> None:
    learner: Any = build("gbrl", SPECS["box"], log_std_rate=0.01)
    assert torch.equal(learner.actor.log_std, torch.full((2,), -2.0))
    learner.update(batch_of(learner, 0))
    torch.testing.assert_close((learner.actor.log_std + 2).abs(), torch.full((2,), 0.01), rtol=1e-3, atol=0)
    assert "log_std" not in build("gbrl", SPECS["discrete"]).optimiser.groups


def test_structures_of_their_own_do_not_disturb_each_other() -> None:
    """A value error that is a thousand times larger changes no split of the policy, unless they share."""
    for shared in (True, False):
        splits = []
        for scale in (1.0, 1000.0):
            learner: Any = build("gbrl", SPECS["discrete"], shared=shared)
            batch = batch_of(learner, 0)
            learner.update(
                batch.map(lambda x: x) if scale == 1 else type(batch)(**{**vars(batch), "target": batch.target * scale})
            )
            splits.append(learner.trees.members[0].threshold[0].clone())
        assert torch.equal(*splits) != shared


def start(folder: Path | None, steps: int) -> Trainer:
    config = registry.load("gbrl").config(horizon=8, envs=3, minibatch=8, epochs=2, capacity=16, depth=2)
    options = RunOptions(
        env=name("discrete"), steps=steps, checkpoint_every=48, eval_episodes=1, compile="no", threads=1
    )
    return Trainer.start("gbrl", options, config, folder)


def whole(learner: Learner) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in learner.state().items()}


def test_a_run_that_outgrows_its_capacity_compresses_and_resumes_to_the_bit(tmp_path: Path) -> None:
    uninterrupted = start(tmp_path / "a", 240)
    losses, counts = [], []
    for report in uninterrupted:
        losses.append(float(report.figures["lost"]))
        counts.append(int(report.figures["count"]))
    expected = whole(uninterrupted.learner)
    uninterrupted.close()
    assert max(counts) <= 16 < uninterrupted.feed.progress.updates
    assert 0 < losses[-1] < 1
    first = start(tmp_path / "b", 96)
    for _ in first:
        pass
    first.close()
    resumed = Trainer.resume(tmp_path / "b", steps=240)
    for _ in resumed:
        pass
    found = whole(resumed.learner)
    resumed.close()
    assert all(torch.equal(found[k], v) for k, v in expected.items())


def test_what_does_not_fit_is_said_before_training() -> None:
    with pytest.raises(ActrixError, match="do not fit") as caught:
        build("gbrl", SPECS["discrete"], capacity=16, horizon=128, envs=8, minibatch=64)
    assert "--capacity" in caught.value.hint
    with pytest.raises(ActrixError, match="--objective is ppo or a2c"):
        build("gbrl", SPECS["discrete"], objective="awr")
