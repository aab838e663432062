"""Direct advantage: steps and states, what is known of them, and the loss against loops by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from answers import drifted, gradient
from torch import Tensor

from actrix.data.batches import Steps
from actrix.errors import ActrixError
from actrix.language.steps import Segments
from actrix.language.tasks import make_task
from actrix.run.prefixes import Drawn, State, balanced
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.language.direct_advantage_po import Config


@pytest.fixture(scope="module")
def made() -> Trainer:
    """After a warm start so short that steps of any form are said."""
    small: dict[str, Any] = {"model": "micro", "prompts": 6, "group": 4, "keep": 3, "completions": 4, "warm_steps": 12}
    options = RunOptions(task="arith-trace", steps=1, threads=1, compile="no")
    found = Trainer.start("direct-advantage-po", options, Config(**small, warm_batch=16))
    for batch, phase, _ in found.feed.prelude(found.learner):
        found.learner.update(batch, phase)
    with torch.no_grad():  # a critic that says different things
        found.learner.critic.head.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr, operator]
    return found


@pytest.fixture(scope="module")
def told(made: Trainer) -> tuple[Steps, list[State], list[list[Drawn]], Steps]:
    """Solutions with their states, what follows the states, and the steps that it begins with."""
    feed: Any = made.feed
    prompts = feed.task.prompts("train", 6, 0)
    starts = [State(p, tuple(feed.task.tokenizer.encode(p.text)), 0) for p in prompts]
    kept = [balanced(each, 3) for each in feed.say(made.learner, starts, 4, "solve")]
    judged, states = feed.prefixes(starts, kept)
    follows = feed.say(made.learner, states, 4, "complete")
    return judged, states, follows, feed.beginnings(states, follows)


def test_steps_end_with_a_mark() -> None:
    task = make_task("arith-trace")
    cut = Segments(task.tokenizer, task.marks)
    tokens = task.tokenizer.encode("3 + 1 > 4 ; 4 * 2 > 3 ; ans 3")
    texts = [
        task.tokenizer.decode(tokens[a:b])
        for a, b in zip(cut.starts(tokens), [*cut.starts(tokens)[1:], len(tokens)], strict=True)
    ]
    assert texts == ["3 + 1 > 4 ;", "4 * 2 > 3 ;", "ans 3"]
    assert cut.first(tokens) == 6
    assert cut.first(tokens[12:]) == 2
    assert cut.starts(tokens[:6]) == [0], "nothing follows a mark at the end"
    sums = make_task("arithmetic")
    tokens = sums.tokenizer.encode("7+8+0=15,5+6+1=12#125")
    assert Segments(sums.tokenizer, sums.marks).starts(tokens) == [0, 9, 18]
    assert Segments(sums.tokenizer, "\n").starts(tokens) == [0]


@pytest.mark.parametrize(
    ("right", "wrong", "kept"), [(8, 8, (3, 3)), (1, 8, (1, 5)), (8, 1, (5, 1)), (0, 8, (0, 6)), (2, 1, (2, 1))]
)
def test_solutions_are_kept_as_evenly_as_may_be(right: int, wrong: int, kept: tuple[int, int]) -> None:
    drawn = [Drawn((i,), (0.0,), i < right) for i in range(right + wrong)]
    found = balanced(drawn, 6)
    assert (sum(d.correct for d in found), sum(not d.correct for d in found)) == kept
    assert len({d.tokens for d in found}) == len(found)


def test_every_prefix_of_whole_steps_is_a_state_once(
    made: Trainer, told: tuple[Steps, list[State], list[list[Drawn]], Steps]
) -> None:
    """By brute force over all prefixes of the rows."""
    judged, states, _, _ = told
    semicolon = made.feed.task.tokenizer.encode(";")[0]  # type: ignore[attr-defined]
    colon = made.feed.task.tokenizer.encode(":")[0]  # type: ignore[attr-defined]
    expected = set()
    assert judged.length is not None
    for row, length in zip(judged.obs.tolist(), judged.length.tolist()):
        start = row.index(colon) + 1
        expected |= {tuple(row[:n]) for n in range(start, length) if n == start or row[n - 1] == semicolon}
    assert {s.tokens for s in states} == expected
    assert len(states) == len(expected) == int(judged.action_mask.sum())
    at = judged.action_mask.nonzero().tolist()
    assert [tuple(judged.obs[row, :column].tolist()) for row, column in at] == [s.tokens for s in states]


def test_steps_are_different_and_their_verdicts_those_of_the_whole(
    made: Trainer, told: tuple[Steps, list[State], list[list[Drawn]], Steps]
) -> None:
    _, states, follows, steps = told
    task = made.feed.task  # type: ignore[attr-defined]
    assert steps.group is not None
    assert steps.length is not None
    seen = set()
    for i in range(len(steps)):
        state = states[int(steps.group[i])]
        row = tuple(steps.obs[i, : int(steps.length[i])].tolist())
        assert row[: len(state.tokens)] == state.tokens
        assert int(steps.action_mask[i].sum()) == len(row) - len(state.tokens)
        assert row not in seen, "a step is there twice"
        seen.add(row)
        whole = [d for d in follows[int(steps.group[i])] if state.tokens + d.tokens == row]
        last = bool(steps.terminated[i].any())
        assert last == (row[-1] == task.tokenizer.eos or len(row) - len(state.tokens) + state.begun == task.utterance)
        answer = task.tokenizer.decode(row[len(state.tokens) - state.begun :])
        assert float(steps.reward[i].sum()) == float(last and task.verify(state.prompt, answer).correct)
        assert not last or whole
    every = {
        s.tokens + d.tokens[: Segments(task.tokenizer, ";").first(d.tokens)] for s, f in zip(states, follows) for d in f
    }
    assert seen == every
    with torch.no_grad():  # the policy of when they were drawn is the reference
        gap = (made.learner.log_prob(steps) - steps.logp_behaviour) * steps.action_mask  # type: ignore[operator]
    assert gap.abs().max() < 1e-5


def credited(made: Trainer, steps: Steps, **settings: Any) -> Steps:
    """Verdicts of all kinds, credit given."""
    learner: Any = made.learner
    draws = torch.rand(len(steps), generator=torch.Generator().manual_seed(2)).round()
    reward = torch.zeros_like(steps.reward)
    assert steps.length is not None
    reward[torch.arange(len(steps)), steps.length - 1] = draws
    before = learner.config
    learner.config = replace(before, **settings)
    found: Steps = learner.prepare(replace(steps, reward=reward))
    learner.config = before
    return found


def test_advantages_are_differences_of_values_or_of_verdicts(
    made: Trainer, told: tuple[Steps, list[State], list[list[Drawn]], Steps]
) -> None:
    """Row by row, with texts of their own; and states in which steps differ little are left out."""
    learner: Any = made.learner
    steps = credited(made, told[3], gap=0.0)
    assert steps.advantage is not None
    assert steps.length is not None
    assert steps.group is not None

    def value(tokens: Tensor) -> float:
        with torch.no_grad():
            return float(learner.critic(torch.cat((tokens, torch.tensor([0])))[None])[0, -1].sigmoid())

    by_state: dict[int, list[float]] = {}
    for i in range(len(steps)):
        stop = int(steps.length[i])
        start = stop - int(steps.action_mask[i].sum())
        after = float(steps.reward[i].sum()) if steps.terminated[i].any() else value(steps.obs[i, :stop])
        expected = after - value(steps.obs[i, :start])
        assert float(steps.advantage[i, stop - 1]) == pytest.approx(expected, abs=1e-5)
        by_state.setdefault(int(steps.group[i]), []).append(expected)
    gaps = sorted(max(a) - min(a) for a in by_state.values())
    middle = (gaps[len(gaps) // 2 - 1] + gaps[len(gaps) // 2]) / 2
    fewer = credited(made, told[3], gap=middle)
    assert fewer.group is not None
    kept = [a for a in by_state.values() if max(a) - min(a) >= middle]
    assert 0 < len(kept) < len(by_state)
    assert len(fewer) == sum(map(len, kept))
    assert fewer.group.unique().tolist() == list(range(len(kept)))


def test_the_loss_is_the_mean_over_states_of_the_mean_over_steps(
    made: Trainer, told: tuple[Steps, list[State], list[list[Drawn]], Steps]
) -> None:
    steps = credited(made, told[3], gap=0.0)
    learner: Any = made.learner
    assert steps.advantage is not None
    assert steps.group is not None
    steps = replace(steps, groups=torch.tensor(len(steps.group.unique())))
    beta, before = learner.config.beta, {k: v.clone() for k, v in learner.state().items()}

    def by_hand(inner: Any) -> Tensor:
        states: dict[int, list[Tensor]] = {}
        logp = learner.log_prob(steps)
        for i in range(len(steps)):
            acted = steps.action_mask[i]
            ratio = logp[i][acted].sum() - steps.logp_behaviour[i][acted].sum()
            states.setdefault(int(steps.group[i]), []).append(inner(ratio, steps.advantage[i][acted][0]))  # type: ignore[index]
        return torch.stack([torch.stack(each).mean() for each in states.values()]).mean()

    # where the policy is the reference: the policy gradient, over beta
    found = gradient(learner, learner.losses(steps).groups["actor"])
    expected = gradient(learner, by_hand(lambda ratio, advantage: -ratio * advantage / beta))
    torch.testing.assert_close(found / expected.norm(), expected / expected.norm(), rtol=1e-3, atol=1e-4)
    drifted(learner)
    loss = learner.losses(steps).groups["actor"]
    torch.testing.assert_close(loss, by_hand(lambda ratio, advantage: 0.5 * (advantage / beta - ratio) ** 2))
    learner.restore(before)


def test_the_critic_learns_shares(made: Trainer, told: tuple[Steps, list[State], list[list[Drawn]], Steps]) -> None:
    """Fitted to the labels of a few states, it says them; elsewhere there is no label, and no gradient."""
    learner: Any = made.learner
    judged = told[0]
    target = torch.rand(judged.obs.shape, generator=torch.Generator().manual_seed(1)).round(decimals=1)
    steps = replace(judged, target=target, total=judged.action_mask.sum())
    elsewhere = replace(steps, target=torch.where(judged.action_mask, target, 1 - target))
    assert torch.equal(learner.judging(steps).groups["critic"], learner.judging(elsewhere).groups["critic"])
    before = {k: v.clone() for k, v in learner.state().items()}
    for _ in range(150):
        learner.update(steps, "critic")
    with torch.no_grad():
        error = (learner.critic(steps.obs).sigmoid() - target)[judged.action_mask].abs()
    assert error.mean() < 0.1
    learner.restore(before)


def test_what_cannot_be_is_refused() -> None:
    for name in ("beta", "completions", "keep"):
        settings: dict[str, Any] = {"model": "micro", name: 0}
        with pytest.raises(ActrixError, match=f"--{name}") as caught:
            Trainer.start("direct-advantage-po", RunOptions(task="arith-trace", steps=1), Config(**settings))
        assert caught.value.misuse
