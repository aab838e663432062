"""The variants of learners that claims compare with: each by what it should do differently."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from actrix import credit
from actrix.claims.variants import contests
from actrix.claims.variants.answers import Raft
from actrix.claims.variants.archives import Record
from actrix.claims.variants.samples import Again, Anywhere
from actrix.claims.variants.sequences import Still
from actrix.claims.variants.steps import Shuffled, Whole
from actrix.claims.variants.teams import OwnValue
from actrix.claims.variants.tokens import Scattered
from actrix.data.batches import Steps
from actrix.envs.many import make_worlds
from actrix.run.prefixes import State
from actrix.run.trainer import RunOptions, Trainer
from actrix.spec import vector_spec
from actrix.systems.control import sequence_rl
from actrix.systems.control.sequence_rl import SRL
from actrix.systems.language import d3s, direct_advantage_po, rloo
from actrix.systems.preference import rto, spo


def rollout(obs: torch.Tensor, after: torch.Tensor, reward: torch.Tensor) -> Steps:
    """B episodes that are cut after their last step."""
    ends = torch.zeros(reward.shape, dtype=torch.bool)
    ends[:, -1] = True
    return Steps(
        obs=obs, action=torch.zeros(*reward.shape, 4), logp_behaviour=torch.zeros(*reward.shape, 4), reward=reward,
        terminated=torch.zeros_like(ends), truncated=ends, action_mask=torch.ones_like(ends), next_obs=after,
    )  # fmt: skip


def test_values_of_ones_own_see_nobody_else_and_are_credited_by_themselves() -> None:
    spec = make_worlds("pettingzoo:actrix.envs.cooperative.SmallAloha", 1).spec
    critic = OwnValue(spec, (8,), 0.05)
    torch.manual_seed(0)
    obs, after = torch.rand(2, 3, 5, spec.obs_size)
    value = critic(obs)
    assert value.shape == (3, 5, 4)
    mine = next(p for p in spec.visible if p.agent == 1)
    other = obs.clone()
    other[..., mine.start : mine.stop] += 1.0
    moved = (critic(other) != value).flatten(0, 1).any(0)
    assert moved.tolist() == [False, True, False, False]
    reward = torch.rand(3, 5)
    found = critic.credit(rollout(obs, after, reward), 0.9, 0.8)
    assert found.advantage is not None
    for n in range(4):
        steps = rollout(obs, after, reward)
        advantage, _ = credit.gae(
            reward, value[..., n], critic(after)[..., n], steps.terminated, steps.truncated, 0.9, 0.8
        )
        torch.testing.assert_close(found.advantage[..., n], advantage)


def test_raft_keeps_the_first_best_of_each_group() -> None:
    options = RunOptions(task="sort", steps=1, threads=1)
    trainer = Trainer.start("rloo", options, rloo.Config(model="micro"), variant=Raft)
    score = torch.tensor([0.1, 0.9, 0.9, 0.0, 0.0, 0.3, 0.2, 0.3])
    steps = rollout(torch.zeros(8, 1, 1), torch.zeros(8, 1, 1), score[:, None])
    steps = Steps(**{**vars(steps), "group": torch.tensor([0, 0, 0, 2, 2, 5, 5, 5])})
    learner: Any = trainer.learner
    assert learner.prepare(steps).advantage[:, 0].tolist() == [0, 1, 0, 1, 0, 1, 0, 0]
    trainer.close()


def chosen(variant: Any, **settings: Any) -> tuple[Any, Steps]:
    """A variant of D3S, and random answers in two groups of eight."""
    config = d3s.Config(model="micro", prompts=2, group=8, **settings)
    trainer = Trainer.start(
        "d3s", RunOptions(task="countdown", steps=1, threads=1, compile="no"), config, None, variant
    )
    steps, _ = trainer.feed.collect(trainer.learner)  # type: ignore[attr-defined]
    reward = torch.zeros_like(steps.reward)
    assert steps.length is not None
    reward[torch.arange(16), steps.length - 1] = torch.rand(16, generator=torch.Generator().manual_seed(0))
    trainer.close()
    return trainer.learner, Steps(**{**vars(steps), "reward": reward})


def test_chance_takes_as_many_answers_and_tokens_as_d3s_from_anywhere() -> None:
    shares = {"samples_first": 0.5, "across": 0.5, "tokens_first": 0.5}
    plain, steps = chosen(None, **shares)
    worth, judged = plain.worth(steps), torch.ones(16, dtype=torch.bool)
    assert int(plain.kept_answers(worth, judged).sum()) == 4
    mine = plain.prepare(steps)
    learner, _ = chosen(Anywhere, **shares)
    found = []
    for i in range(12):
        torch.manual_seed(i)
        rows = learner.kept_answers(worth, judged)
        mask = steps.action_mask & rows[:, None]
        tokens = learner.kept_tokens(mine, mask)
        assert int(rows.sum()) == 4
        assert int(tokens.sum()) == -(-int(mask.sum()) // 2)
        assert not (tokens & ~mask).any()
        found.append(rows)
    assert torch.stack(found).any(0).sum() > 12


def test_kept_answers_are_standardised_again_among_themselves() -> None:
    learner, steps = chosen(Again, samples_first=0.5, samples_last=0.5, across=1.0)
    done = learner.prepare(steps)
    rows, score = done.action_mask.any(1), steps.reward.sum(1)
    assert rows.view(2, 8).sum(1).tolist() == [4, 4]
    assert torch.equal(done.action_mask, steps.action_mask & rows[:, None])
    for each in (slice(0, 8), slice(8, 16)):
        kept = score[each][rows[each]]
        expected = (kept - kept.mean()) / (kept.std() + 1e-6)
        torch.testing.assert_close(done.advantage[each][rows[each]][:, 0], expected)
        order = score[each].argsort()
        wide = max(
            (torch.cat((order[:k], order[8 - (4 - k) :])) for k in range(5)), key=lambda at: score[each][at].var()
        )
        assert set(rows[each].nonzero()[:, 0].tolist()) == set(wide.tolist())


def test_the_pool_is_the_fittest_whatever_their_cell() -> None:
    draw = np.random.default_rng(0)
    record, seen = Record(5, 1, 2), []
    for _ in range(4):
        fitness = torch.from_numpy(draw.normal(size=6)).float()
        record.add(fitness[:, None], fitness, torch.zeros(6, 2))  # all in one cell
        seen += fitness.tolist()
    assert record.pool[:, 0].tolist() == sorted(seen, reverse=True)[:5]
    assert len(record.filled) == 1


def test_scattered_token_rewards_are_the_same_in_another_order() -> None:
    options = RunOptions(task="taste", steps=1, threads=1, compile="no")
    settings: dict[str, Any] = {"model": "micro", "prompts": 4, "group": 4, "warm_steps": 0, "token_clip": 1e9}
    made = Trainer.start("rto", options, rto.Config(**settings), variant=Scattered)
    learner: Any = made.learner
    with torch.no_grad():
        for p in learner.preferred.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    steps, _ = made.feed.collect(learner)  # type: ignore[attr-defined]
    with torch.no_grad():
        torch.manual_seed(0)
        moved, plain = learner.parts(steps), rto.RTO.parts(learner, steps)
    assert torch.equal(moved[1], plain[1])
    assert torch.equal(moved[2], plain[2])
    assert (moved[0][~steps.action_mask] == 0).all()
    assert not torch.equal(moved[0], plain[0])
    for mine, theirs, mask in zip(moved[0], plain[0], steps.action_mask):
        assert torch.equal(mine[mask].sort().values, theirs[mask].sort().values)


def test_a_whole_answer_is_one_step() -> None:
    options = RunOptions(task="sort", steps=1, threads=1, compile="no")
    settings: dict[str, Any] = {"model": "micro", "prompts": 4, "group": 2, "keep": 2, "warm_steps": 0}
    made = Trainer.start("direct-advantage-po", options, direct_advantage_po.Config(**settings), variant=Whole)
    feed: Any = made.feed
    problems = feed.task.prompts("train", 4, 0)
    starts = [State(p, tuple(feed.task.tokenizer.encode(p.text)), 0) for p in problems]
    _, states = feed.prefixes(starts, feed.say(made.learner, starts, 2, "solve"))
    assert states == starts
    steps = feed.beginnings(states, feed.say(made.learner, states, 5, "complete"))
    assert bool(steps.terminated.any(1).all()), "nothing follows an answer"


def test_shuffled_advantages_and_win_rates_are_those_of_others() -> None:
    class Known(direct_advantage_po.DirectAdvantagePO):
        def advantage(self, steps: Steps) -> torch.Tensor:
            return torch.arange(20.0)

    class Mixed(Shuffled, Known):
        pass

    torch.manual_seed(0)
    found = Mixed.advantage(Mixed.__new__(Mixed), None)  # type: ignore[arg-type]
    assert sorted(found.tolist()) == list(range(20)) != found.tolist()
    env = "actrix.claims.worlds:Homing-v0"
    rates = []
    for variant in (None, contests.Shuffled):
        made = Trainer.start("spo", RunOptions(env=env, steps=1, threads=1), spo.Config(horizon=20), variant=variant)
        rates.append(made.feed.collect(made.learner).reward.sum(1))  # type: ignore[attr-defined]
        made.close()
    assert rates[0].sort().values.tolist() == rates[1].sort().values.tolist()
    assert rates[0].tolist() != rates[1].tolist()


def test_a_still_model_is_judged_where_it_was_looked_from() -> None:
    learner = Still(vector_spec(3, 2), sequence_rl.Config(length=3, hidden=(8, 8), model_hidden=(8,)))
    obs, action = torch.randn(5, 3), torch.rand(5, 3, 2)
    assert torch.equal(learner.recalled(obs, action), torch.stack((obs, obs, obs), 1))
    assert not torch.allclose(SRL.recalled(learner, obs, action)[:, 1], obs)


def test_eight_steps_at_a_time_are_eight_of_the_same_action() -> None:
    slow, plain = make_worlds("actrix.claims.worlds:EightfoldPendulum-v1", 1), make_worlds("Pendulum-v1", 1)
    slow.reset([3])
    plain.reset([3])
    steps = 0
    while True:
        action = np.full((1, 1), np.cos(steps), np.float32)
        out, total = slow.step(action), 0.0
        for _ in range(8):
            one = plain.step(action)
            total += float(one.reward[0])
        steps += 1
        np.testing.assert_allclose(out.reward[0], total, rtol=1e-5)
        np.testing.assert_allclose(out.next_obs, one.next_obs)
        assert not out.terminated[0]
        assert out.truncated[0] == one.truncated[0]
        if out.truncated[0]:
            break
    assert steps == 25
