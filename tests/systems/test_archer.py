"""ArCHer against what can be worked out: values of a small game, where its targets come from, and its gradient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from actrix.data.batches import Steps, Utterances
from actrix.language.tokens import pad_right
from actrix.rng import seed_of, torch_stream
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.agent.archer import ArCHer, Config

SMALL: dict[str, Any] = {"model": "micro", "prompts": 6, "batch": 8, "critic_steps": 1, "actor_steps": 1,
                         "critic_warmup": 0, "warm_steps": 0}  # fmt: skip
# Two turns. In s0 the utterance a leads to s1 at a cost, b ends the game; in s1 a earns 1 and b nothing.
A, B, END = 6, 7, 8
S0, S1 = [5], [5, A, END, 9]
PLAYED = [(S0, A, [9], -0.1, False), (S0, B, [9], 0.0, True), (S1, A, [9], 1.0, True), (S1, B, [9], 0.0, True)]


def made(**settings: Any) -> Trainer:
    options = RunOptions(task="twentyq", steps=2, threads=1, compile="no", eval_episodes=2)
    return Trainer.start("archer", options, Config(**{**SMALL, **settings}))


def learner(**settings: Any) -> ArCHer:
    found = made(**settings).learner
    assert isinstance(found, ArCHer)
    return found


def game(fresh: tuple[int, ...] = (A, B)) -> Utterances:
    """Every move, with each of these utterances drawn afresh: a policy that makes each of them as often."""
    rows = [(s, a, reply, r, done, new) for s, a, reply, r, done in PLAYED for new in fresh]
    whole = [[*s, a, END, *reply] for s, a, reply, _, _, _ in rows]
    return Utterances(
        torch.tensor(pad_right(whole, 0)),
        torch.tensor([len(s) for s, *_ in rows]),
        torch.tensor([len(s) + 2 for s, *_ in rows]),
        torch.tensor([len(w) for w in whole]),
        torch.tensor([r for *_, r, _, _ in rows]),
        torch.tensor([done for *_, done, _ in rows]),
        torch.tensor(pad_right([[*s, new, END] for s, *_, new in rows], 0)),
        torch.tensor([len(s) + 2 for s, *_ in rows]),
        torch.tensor(len(rows)),
    )


@pytest.fixture(scope="module")
def fitted() -> ArCHer:
    found = learner(critic_rate=3e-3, discount=0.9)
    batch = game()
    for i in range(300):
        if i == 200:
            found.optimiser.set_rate("critic", 3e-4)
        found.update(batch, "critic")
    return found


def judged(found: ArCHer, batch: Utterances) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        q, v = found.critic(batch.tokens, batch.start, batch.stop)
    return q.reduce("min")[::2], v.reduce("min")[::2]


def test_the_critic_finds_the_values_of_a_game_of_two_turns(fitted: ArCHer) -> None:
    """Of the even policy: V(s1) = 1/2, Q(s0, a) = -0.1 + 0.9 / 2, V(s0) half of that."""
    q, v = judged(fitted, game())
    torch.testing.assert_close(q, torch.tensor([0.35, 0.0, 1.0, 0.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(v, torch.tensor([0.175, 0.175, 0.5, 0.5]), atol=0.03, rtol=0)


def test_advantages_are_nought_on_average_under_the_policy(fitted: ArCHer) -> None:
    q, v = judged(fitted, game())
    advantage = (q - v).view(2, 2)
    assert advantage.mean(1).abs().max() < 0.02
    assert (advantage[:, 0] > 0.1).all()
    assert (advantage[:, 1] < -0.1).all()


def test_values_of_states_are_of_what_the_policy_says_now() -> None:
    """Targets of V are the slow Q of the fresh utterance, whatever the replay says was said; those of Q are not."""
    found = learner()
    both = game()
    for fresh, kept in ((True, learner()), (False, learner(fresh=False))):
        with torch.no_grad():
            for p in kept.target.parameters():
                p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
            q, v = kept.critic(both.tokens, both.start, both.stop)
            after = kept.target(both.tokens, both.length, both.length)[1].members
            now = kept.target(both.fresh, both.start, both.fresh_stop)[0].members
            then = kept.target(both.tokens, both.start, both.stop)[0].members
        q_target = both.reward + kept.config.discount * ~both.terminated * after
        expected = (q.members - q_target).square().mean(1).sum()
        expected = expected + (v.members - (now if fresh else then)).square().mean(1).sum()
        torch.testing.assert_close(kept.losses(both, "critic").groups["critic"], expected)
    assert not torch.equal(
        found.losses(game((A, A)), "critic").groups["critic"], found.losses(game((B, B)), "critic").groups["critic"]
    )


def test_utterances_are_drawn_afresh_from_the_policy_of_the_moment() -> None:
    trainer = made(prompts=4)
    feed: Any = trainer.feed
    model = trainer.learner
    assert isinstance(model, ArCHer)
    moves = feed.round(model)
    first, phase = next(moves)
    assert phase == "critic"
    with torch.no_grad(), torch_stream(0, "noise"):
        for p in model.actor.parameters():  # the policy moves: what it says now, it would not have said before
            p.add_(0.3 * torch.randn_like(p))
    steps, phase = next(moves)
    assert phase == "actor"
    with torch.no_grad():
        logp = model.log_prob(steps)
    torch.testing.assert_close(logp * steps.action_mask, steps.logp_behaviour, atol=1e-5, rtol=0)
    states = [row[:n] for row, n in zip(first.tokens.tolist(), first.start.tolist())]
    for row, state, stop in zip(first.fresh.tolist(), states, first.fresh_stop.tolist()):
        assert row[: len(state)] == state
        assert stop > len(state)


def test_the_replay_holds_every_utterance_with_what_came_of_it() -> None:
    trainer = made(prompts=5)
    feed: Any = trainer.feed
    task = feed.task
    prompts = task.prompts("train", 5, seed_of(0, "prompts", 0))
    model: Any = trainer.learner
    traces = model.play(task, prompts, seed_of(0, "speak", 0))
    next(iter(feed.round(model)))
    spoken = [(t, i) for t in traces for i, m in enumerate(t.messages) if m.role == "actor"]
    assert len(feed.ring) == len(spoken)
    rows = feed.ring.columns(torch.arange(len(spoken)))
    for at, (trace, index) in enumerate(spoken):
        reply = trace.children(index)[0]
        whole = trace.context(reply)
        assert rows["tokens"][at].tolist()[: len(whole)] == whole
        start, stop, length = (int(rows[name][at]) for name in ("start", "stop", "length"))
        assert whole[start:stop] == list(trace[index].tokens)
        assert length == len(whole)
        assert float(rows["reward"][at]) == pytest.approx(trace.rewards[index])
        assert bool(rows["terminated"][at]) == (index in trace.verdicts)


@pytest.mark.parametrize("baseline", [False, True])
def test_the_actor_s_gradient_is_reinforce_with_the_critic_s_advantage(baseline: bool) -> None:
    trainer = made(baseline=baseline)
    model: Any = trainer.learner
    if baseline:
        with torch.no_grad():
            model.baseline.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    steps: Steps = next(batch for batch, phase in trainer.feed.round(model) if phase == "actor")
    mask, logp = steps.action_mask, model.log_prob(steps)
    start = steps.length - mask.sum(1)  # type: ignore[operator]
    with torch.no_grad():
        q, v = model.critic(steps.obs, start, steps.length)
        advantage = torch.minimum(*q.members) - torch.minimum(*v.members)
        weight = advantage[:, None] - (model.baseline(steps.obs) if baseline else 0.0)
    expected = -(weight * logp * mask).sum(1).mean()
    found = model.losses(steps, "actor").groups
    torch.testing.assert_close(found["actor"], expected)
    assert ("baseline" in found) == baseline
    if baseline:
        error = ((model.baseline(steps.obs) - advantage[:, None]).square() * mask).sum() / mask.sum()
        torch.testing.assert_close(found["baseline"], error)
    half = replace(steps[torch.arange(4)], total=steps.total, rows=steps.rows)
    assert not torch.equal(model.losses(half, "actor").groups["actor"], expected)
