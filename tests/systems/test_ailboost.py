"""AILBoost against closed forms: the discriminator, the mixture's weights, the rounds, and who is judged."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_contracts import SPECS, batch_of, build
from worlds import name, recorded

from actrix import registry
from actrix.actors.boosted import Boosted
from actrix.critics.discriminator import Discriminator
from actrix.data.replay import Replay
from actrix.data.spans import Spans, mixed
from actrix.errors import ActrixError
from actrix.objectives.adversarial import apart
from actrix.rng import torch_stream
from actrix.run.boosted import BoostedFeed
from actrix.run.trainer import RunOptions, Trainer
from actrix.spec import vector_spec

SMALL: dict[str, Any] = {
    "hidden": (8,), "discriminator_hidden": (8,), "batch": 16, "warmup": 10, "round_steps": 12, "shown_steps": 8,
    "discriminator_steps": 3, "updates_per_step": 1.0,
}  # fmt: skip


def start(folder: Path | None = None, steps: int = 70, **settings: Any) -> Trainer:
    config = registry.load("ailboost").config(**{**SMALL, **settings})
    env = name("box")
    options = RunOptions(
        env=env, data=recorded(env), steps=steps, eval_episodes=2, compile="no", threads=1, workers=0,
        checkpoint_every=20, eval_every=1_000,
    )  # fmt: skip
    return Trainer.start("ailboost", options, config, folder)


# -- the discriminator ---------------------------------------------


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_the_slope_is_that_of_autograd(hidden: tuple[int, ...], bounded: bool) -> None:
    torch.manual_seed(0)
    critic = Discriminator(vector_spec(3, 2), hidden, bounded)
    obs, action = torch.randn(11, 3, requires_grad=True), torch.rand(11, 2, requires_grad=True)
    expected = torch.cat(torch.autograd.grad(critic(obs, action).sum(), (obs, action)), -1)
    torch.testing.assert_close(critic.slope(critic.rows(obs, action)), expected, rtol=1e-5, atol=1e-6)


def test_the_penalty_is_that_of_double_backward() -> None:
    """And so is its gradient with respect to every weight."""
    torch.manual_seed(0)
    critic = Discriminator(vector_spec(3, 2), (6, 5), bounded=True)
    one, other = torch.randn(2, 9, 5)
    weights = [p for n, p in critic.named_parameters() if "layers" in n]
    with torch_stream(0, "place"):
        found = critic.penalty(one, other)
    with torch_stream(0, "place"):
        place = torch.rand(9, 1)
    rows = (place * one + (1 - place) * other).requires_grad_()
    x: Any = rows
    for i, layer in enumerate(critic.net.layers):  # plain operations, of which autograd takes any derivative
        x = x @ layer.weight + layer.bias  # type: ignore[operator]
        x = x.relu() if i < 2 else torch.tanh(x)
    slope = torch.autograd.grad(x.sum(), rows, create_graph=True)[0]
    expected = (slope.norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(found, expected)
    pairs = (torch.autograd.grad(loss, weights, allow_unused=True) for loss in (found, expected))
    for mine, theirs in zip(*pairs):
        if theirs is not None:
            torch.testing.assert_close(torch.zeros_like(theirs) if mine is None else mine, theirs, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("form", ["reverse-kl", "jensen-shannon"])
def test_the_best_discriminator_is_the_logarithm_of_the_ratio(form: str) -> None:
    """Four kinds of step, of which expert and others have known shares: a table of f descends to log(p / q)."""
    p, q = torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.3, 0.4])
    expert, other = (torch.repeat_interleave(torch.arange(4), (1_000 * x).round().long()) for x in (p, q))
    f = torch.zeros(4, requires_grad=True)
    for _ in range(3_000):
        loss = apart(f[expert], f[other], form)
        with torch.no_grad():
            f -= 0.5 * torch.autograd.grad(loss, f)[0]
    torch.testing.assert_close(f.detach(), (p / q).log(), atol=0.01, rtol=0)
    if form == "reverse-kl":
        assert loss.item() == pytest.approx(1 - float((q * (q / p).log()).sum()), abs=1e-3)
    with pytest.raises(ValueError, match="form must be one of"):
        apart(f[expert], f[other], "other")


def test_it_learns_to_reward_what_the_expert_does() -> None:
    learner: Any = build("ailboost", SPECS["box"], discriminator_rate=1e-2)
    torch.manual_seed(0)
    batch = batch_of(learner, 0)
    action = batch.action.clone()
    action[:16, 0], action[16:, 0] = 0.8, -0.8
    batch = dataclasses.replace(batch, action=action)
    before = {k: v.clone() for k, v in learner.actor.state_dict().items()}
    for i in range(150):
        with torch_stream(0, "update", i):
            figures = learner.update(batch, "discriminator")
    assert figures["expert"] > 0.4
    assert figures["mixture"] < -0.4
    assert all(torch.equal(v, before[k]) for k, v in learner.actor.state_dict().items())
    reward = learner.soft(batch).notes["reward"]
    torch.testing.assert_close(reward, (figures["expert"] + figures["mixture"]) / 2, atol=0.05, rtol=0)
    elsewhere = learner.soft(dataclasses.replace(batch, reward=batch.reward + 100))
    with torch_stream(0, "critic"):
        one = learner.soft(batch).groups["critic"]
    with torch_stream(0, "critic"):
        other = learner.soft(dataclasses.replace(batch, reward=batch.reward + 100)).groups["critic"]
    assert torch.equal(one, other), "the reward of the task is not used"
    torch.testing.assert_close(elsewhere.notes["reward"], reward)


# -- the mixture ---------------------------------------------


def test_weights_are_geometric() -> None:
    assert mixed(0, 0.1) == []
    assert mixed(1, 0.1) == [1.0]
    assert mixed(2, 0.1) == pytest.approx([0.9, 0.1])
    for count in (3, 8):
        found = mixed(count, 0.1)
        assert sum(found) == pytest.approx(1)
        assert found[0] == pytest.approx(0.9 ** (count - 1))
        assert found[1:] == pytest.approx([0.1 * 0.9 ** (count - k) for k in range(2, count + 1)])
        assert found[:-1] == pytest.approx([0.9 * w for w in mixed(count - 1, 0.1)])


def filled(rows: int, capacity: int = 100) -> Replay:
    replay = Replay(vector_spec(1, 1), capacity)
    for i in range(rows):
        one = np.full((1, 1), i, np.float32)
        flag = np.zeros(1, bool)
        replay.add(obs=one, action=one, reward=one[0], next_obs=one, terminated=flag, truncated=flag)
    return replay


def test_spans_are_drawn_by_weight_and_their_rows_evenly() -> None:
    with torch_stream(0, "spans"):
        drawn = Spans(filled(60), [(0, 10), (20, 60)], [0.7, 0.3]).sample(40_000).obs[:, 0].long()
    share = torch.bincount(drawn, minlength=60) / 40_000
    expected = torch.zeros(60)
    expected[:10], expected[20:] = 0.07, 0.0075
    torch.testing.assert_close(share, expected, atol=0.006, rtol=0)
    with torch_stream(0, "spans"):
        even = Spans(filled(60), [(0, 10), (20, 60)]).sample(40_000).obs[:, 0].long()
    assert float((even < 10).float().mean()) == pytest.approx(0.2, abs=0.01)


def test_rows_that_are_gone_are_drawn_no_more() -> None:
    """Of 130 rows the ring holds 30 to 129: of the first span the last five rows are left, of the second none went."""
    replay = filled(130)
    drawn = Spans(replay, [(0, 20), (20, 35), (90, 130)], [0.5, 0.25, 0.25]).sample(2_000).obs[:, 0]
    assert ((drawn >= 30) & (drawn < 35) | (drawn >= 90)).all()
    assert float((drawn < 35).float().mean()) == pytest.approx(0.5, abs=0.05)


def test_rounds_hold_what_they_should() -> None:
    trainer = start(steps=70)
    feed: Any = trainer.feed
    assert isinstance(feed, BoostedFeed)
    phases: list[tuple[str, ...]] = []
    feed.reset()
    lengths: list[int] = []
    while not trainer.done:
        before, rows = feed.progress.steps, len(feed.spans)
        kinds = []
        for batch, phase in feed.round(trainer.learner):
            kinds.append(phase)
            if phase == "discriminator":
                expert, other = batch.obs[:8], batch.obs[8:]
                mine = feed.replay.tensors()["obs"]
                held = mine[[i for start, stop in feed.spans for i in range(start, stop)]]
                assert all((held == row).all(1).any() for row in other)
                assert not any((mine == row).all(1).any() for row in expert)
            else:
                allowed = [i for start, stop in feed.spans for i in range(start, stop)]
                allowed += range(feed.since, feed.replay.total)
                held = feed.replay.tensors()["obs"][allowed]
                assert all((held == row).all(1).any() for row in batch.obs)
            feed.progress.updates += 1
        phases.append(tuple(kinds))
        if len(feed.spans) > rows:
            lengths.append(feed.progress.steps - before)
            assert len(trainer.learner.actor) == len(feed.spans)  # type: ignore[arg-type]
    assert feed.spans == [(10, 18), (30, 38), (50, 58)]
    assert lengths == [8, 8, 8]
    assert phases[:10] == [()] * 10
    assert phases[10] == ("discriminator",) * 3
    assert set(phases[11:23]) == {("policy",)}
    assert phases[23] == ("discriminator",) * 3
    trainer.close()


def test_what_is_kept_differs_and_is_not_the_live_policy() -> None:
    learner: Any = build("ailboost", SPECS["box"], rate=1e-2)
    obs, said = torch.randn(5, 3), []
    for i in range(4):
        learner.actor.keep()
        said.append(learner.act(obs, "mean").action)
        for k in range(3):
            with torch_stream(0, "update", i, k):
                learner.update(batch_of(learner, i), "policy")
    for i, action in enumerate(said):
        torch.testing.assert_close(learner.actor.was(i).act(obs, "mean").action, action)
        assert not torch.allclose(learner.act(obs, "mean").action, action, atol=1e-3)
        assert all(not torch.allclose(action, other, atol=1e-3) for other in said[:i])


def test_every_episode_is_played_by_one_that_is_drawn_by_weight() -> None:
    base: Any = build("ailboost", SPECS["box"]).actor.base
    actor = Boosted(base, 0.25)
    obs = torch.zeros(4_000, 3)
    assert torch.equal(actor.exploit(obs)[0].action, base.act(obs, "mean").action)
    levels = []
    for i in range(3):
        with torch.no_grad():
            for p in base.parameters():
                p.zero_()
            base.net.layers[-1].bias[:2] = 0.5 * i
        actor.keep()
        levels.append(math.tanh(0.5 * i))
    with torch_stream(0, "players"):
        first, memory = actor.exploit(obs)
        again, _ = actor.exploit(obs, None, memory)
        ended = torch.arange(4_000) < 2_000
        new = actor.forget(memory, ended)
    assert torch.equal(first.action, again.action)
    for level, share in zip(levels, (0.5625, 0.1875, 0.25)):
        assert float((first.action[:, 0] - level).abs().lt(1e-5).float().mean()) == pytest.approx(share, abs=0.03)
    assert torch.equal(new[2_000:], memory[2_000:])
    assert not torch.equal(new[:2_000], memory[:2_000])


# -- runs ---------------------------------------------


def test_a_resumed_run_plays_the_same_mixture(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole")
    list(whole)
    whole.close()
    trainer = start(tmp_path / "cut")
    for report in trainer:
        if report.step >= 55:
            break
    trainer.close()
    resumed = Trainer.resume(tmp_path / "cut")
    assert 0 < resumed.step < 55
    list(resumed)
    resumed.close()
    one, other = whole.learner.state(), resumed.learner.state()
    assert one.keys() == other.keys()
    assert len(one["actor.past_0"]) == 3
    assert all(torch.equal(v, other[k]) for k, v in one.items())


def test_it_says_what_it_needs() -> None:
    with pytest.raises(ActrixError, match="learns from recorded experience") as caught:
        Trainer.start("ailboost", RunOptions(env=name("box"), steps=10))
    assert caught.value.misuse
    with pytest.raises(ActrixError, match="--divergence is reverse-kl") as caught:
        start(divergence="chi")
    assert caught.value.misuse
