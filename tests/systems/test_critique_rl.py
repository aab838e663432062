"""Critique-RL: its rewards, its stages, what is trained and what is not; and the task that it is tried on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from actrix.errors import ActrixError
from actrix.language.programs import Refine, chosen
from actrix.language.tasks import make_task
from actrix.language.tasks.arith_trace import SIGNS, ArithTrace, write
from actrix.language.tasks.base import Verdict
from actrix.language.traces import rows
from actrix.run.critique import refined
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.critique.critique_rl import Config, CritiqueRL

SMALL: dict[str, Any] = {"model": "micro", "prompts": 6, "group": 4, "pool": 24, "stage_one": 1, "warm_steps": 0,
                         "epochs": 1}  # fmt: skip


def made(**settings: Any) -> tuple[Any, CritiqueRL]:
    options = RunOptions(task="arith-trace", steps=3, threads=1, compile="no", eval_episodes=2)
    trainer = Trainer.start("critique-rl", options, Config(**{**SMALL, **settings}))
    assert isinstance(trainer.learner, CritiqueRL)
    return trainer.feed, trainer.learner


def said(sound: bool | None, correct: bool) -> Verdict:
    return ArithTrace(1).review(correct, {True: "ok", False: "bad step 1", None: "bad bad"}[sound])


@pytest.mark.parametrize(
    ("aid", "combine", "expected"),
    [  # (o, v, o'): (1, ok, 1) (1, bad, 0) (0, bad, 1) (0, bad, 0) (0, ok, 0) (0, none, 1)
        ("refine", "override", (1.2, -1.0, 1.2, 0.2, -1.0, -1.0)),
        ("delta", "override", (0.2, -1.0, 1.2, 0.2, -1.0, -1.0)),
        ("correct", "override", (0.4, -1.0, 1.2, 0.2, -1.0, -1.0)),
        ("refine", "sum", (1.2, -0.2, 1.2, 0.2, -0.2, 0.8)),
        ("delta", "sum", (0.2, -1.2, 1.2, 0.2, -0.2, 0.8)),
        ("refine", "none", (1.0, 0.0, 1.0, 0.0, 0.0, 1.0)),
    ],
)
def test_rewards(aid: str, combine: str, expected: tuple[float, ...]) -> None:
    learner = made(aid=aid, combine=combine)[1]
    cases = [(True, True, True), (True, False, False), (False, False, True), (False, False, False)]
    cases += [(False, True, False), (False, None, True)]  # type: ignore[list-item]
    found = [learner.worth(2, o, said(v, o), after) for o, v, after in cases]
    assert found == pytest.approx(expected)
    assert [learner.worth(1, o, said(v, o), None) for o, v, _ in cases] == [1, -1, 1, 1, -1, -1]


def test_the_reference_becomes_the_critic_when_stage_two_begins_and_the_author_never_learns() -> None:
    feed, learner = made(rate=1e-2)
    author = [p.clone() for p in learner.author.parameters()]
    start = [p.clone() for p in learner.actor.parameters()]

    def same(a: Any, b: Any) -> bool:
        return all(torch.equal(x, y) for x, y in zip(a, b))

    for batch, phase in feed.round(learner):
        assert same(learner.reference.copy.parameters(), start)
        learner.update(batch, phase)
    critic = [p.clone() for p in learner.actor.parameters()]
    assert not same(critic, start)
    for _ in range(2):
        for batch, phase in feed.round(learner):
            learner.update(batch, phase)
            assert same(learner.reference.copy.parameters(), critic)
    assert not same(learner.actor.parameters(), critic)
    assert same(learner.author.parameters(), author)


def test_credit_is_leave_one_out_less_the_divergence_to_come() -> None:
    feed, learner = made(kl=0.5)
    with torch.no_grad():
        for p in learner.reference.copy.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    _, traces = feed.draw(learner, learner.players(feed.task, 0.7))
    players = learner.players(feed.task, 0.7)
    critiques = Refine().criticise(feed.task, [(t, 1) for t in traces], players, 3, 4)
    draws = torch.rand(len(critiques), generator=torch.Generator().manual_seed(0))
    for (trace, index), value in zip(critiques, draws.tolist()):
        trace.reward(index, value)
    steps, _ = rows(traces, "critic", 0)
    with torch.no_grad():
        anchor = learner.reference.copy.log_prob(steps.obs, steps.length, 0.7)
    expected = {}
    for row in range(len(steps)):
        group = [i for i in range(len(steps)) if steps.group[i] == steps.group[row] and i != row]  # type: ignore[index]
        outcome = float(draws[row] - draws[group].mean())
        running = 0.0
        for t in reversed(steps.action_mask[row].nonzero()[:, 0].tolist()):
            running -= 0.5 * float(steps.logp_behaviour[row, t] - anchor[row, t])
            expected[row, t] = outcome + running
    numbers = torch.tensor(list(expected.values()))
    scaled = (numbers - numbers.mean()) / numbers.std()
    done = learner.prepare(steps).advantage
    assert done is not None
    torch.testing.assert_close(torch.stack([done[at] for at in expected]), scaled, rtol=1e-3, atol=1e-3)
    assert not done[~steps.action_mask].any()


def test_critiques_are_sampled_by_the_critic_and_revised_by_the_author_greedily() -> None:
    feed, learner = made(stage_one=0)
    batch, _ = next(iter(feed.round(learner)))
    with torch.no_grad():
        again = learner.log_prob(batch)
    torch.testing.assert_close(again * batch.action_mask, batch.logp_behaviour, atol=1e-5, rtol=0)
    task = feed.task
    prompts = task.prompts("test", 3, 0)
    traces = Refine().play(task, prompts, learner.players(task, 0.7), 1, 2)
    for trace in traces:
        assert [m.role for m in trace.messages[:2]] == ["task", "actor"]
        assert len(trace.children(1)) == 2
        for critique in trace.children(1):
            (revision,) = trace.children(critique)
            context = trace.context(critique) + task.tokenizer.encode(task.cues["revision"])
            tokens = list(trace[revision].tokens[2:])
            for i, token in enumerate(tokens[:3]):
                logits = learner.author.logits(torch.tensor([context + tokens[:i]]))
                assert int(logits[0, -1].argmax()) == token


def test_answers_are_drawn_half_right_half_wrong_and_stay_the_same() -> None:
    feed, learner = made()
    players = learner.players(feed.task, 0.7)
    feed.draw(learner, players)
    for i, (_, trace) in enumerate(feed._pool):  # (a model that learned nothing is never right)
        trace.verdicts[1] = Verdict(None, {"correct": float(i % 8 == 0)})
    _, traces = feed.draw(learner, players)
    assert sum(t.verdicts[1].correct for t in traces) == 3
    pooled = {t[1].tokens for _, t in feed._pool}
    assert all(t[1].tokens in pooled and len(t) == 2 for t in traces)


def test_figures_of_a_refinement() -> None:
    task = ArithTrace(1)
    traces = Refine().lessons(task, 8, 0, 0.5)[4:]
    outcomes = [(1, 1, 1), (1, 0, 0), (0, 1, 1), (0, 1, 0)]
    for trace, (first, verdict, after) in zip(traces, outcomes):
        for index, value in zip((1, 2, 3), (first, verdict, after)):
            trace.judge(index, Verdict(None, {"correct": float(value)}))
    scores, figures = refined(Refine(), traces)
    assert scores.tolist() == [1, 0, 1, 0]
    assert figures == {"first": 0.5, "verdicts": 0.75, "mended": 0.25, "spoilt": 0.25}


def test_revisions_do_what_critiques_say() -> None:
    """Steps before the named one stay; its result becomes right if it was false, else wrong; the rest follows."""
    task = ArithTrace(2)
    kinds = set()
    known = {p.text: p for p, _ in task._problems("train", 300, 3, "revisions")}
    for text, answer, critique, revision in task.revisions(300, 3):
        prompt = known[text]
        before, after = task.read(prompt, answer), task.read(prompt, revision)
        assert before is not None
        assert after is not None
        if critique == "ok" or before == after:
            assert before == after
            kinds.add("kept")
            continue
        k = int(critique.split()[-1]) - 1
        assert after[:k] == before[:k]
        assert task.true(after[k]) != task.true(before[k])
        assert after == task.work(prompt, after[: k + 1])
        kinds.add("mended" if task.true(after[k]) else "spoilt")
    assert kinds == {"kept", "mended", "spoilt"}


def test_the_verifier_of_chains_agrees_with_python() -> None:
    task = make_task("arith-trace", 3)
    assert isinstance(task, ArithTrace)
    for prompt, completion in task._problems("train", 100, 0, "demonstrations"):
        value = prompt.meta["numbers"][0]
        for sign, number in zip(prompt.meta["signs"], prompt.meta["numbers"][1:]):
            value = eval(f"({value} {sign} {number}) % 17")
        assert completion.endswith(f"ans {value}")
        steps = task.read(prompt, completion)
        assert steps is not None
        for place in range(6):
            left, sign, right, result = steps[place]
            wrong = (*steps[:place], (left, sign, right, (result + 1) % 17))
            text = write(task.work(prompt, wrong))
            judged = task.verify(prompt, text)
            assert judged.components["steps"] == pytest.approx(5 / 6)
            assert judged.text == f"step {place + 1} is false"
            assert task.fault(task.read(prompt, text)) == place  # type: ignore[arg-type]
            assert judged.correct == text.endswith(f"ans {value}")
        for broken in (completion + " ; ans 1", completion.replace(";", ">"), completion[2:], f"ans {value}"):
            assert not task.verify(prompt, broken).correct
    assert set(SIGNS) == {"+", "-", "*"}


def test_reviewers_are_wrong_as_often_as_it_says() -> None:
    task = ArithTrace(2)
    wrong = blamed = found = 0
    lengths = set()
    for text, answer, critique in task.reviews(3000, 1):
        prompt = task.problem(text)
        lengths.add(len(prompt.meta["signs"]))
        correct = task.verify(prompt, answer).correct
        wrong += not task.review(correct, critique).correct
        steps = task.read(prompt, answer)
        assert steps is not None
        if len(steps) == 4 and task.fault(steps) is not None and critique != "ok":
            blamed += 1
            found += critique == f"bad step {task.fault(steps) + 1}"  # type: ignore[operator]
    assert lengths == {1, 2, 3, 4}
    assert abs(wrong / 3000 - 0.3) < 0.03
    assert abs(found / blamed - (0.6 + 0.4 / 4)) < 0.07


def test_cues_are_given_and_lessons_end() -> None:
    task = ArithTrace(1)
    for trace in Refine().reviews(task, 5, 0):
        steps, _ = rows([trace], "critic", 0)
        mine = steps.obs[0][steps.action_mask[0]].tolist()
        assert mine[-1] == task.tokenizer.eos
        assert task.tokenizer.decode(mine) == chosen(task, trace, 2)
        assert len(mine) <= task.critique_length
    steps, _ = rows(Refine().lessons(task, 10, 0, 0.5), "actor", 0)
    assert all(int(n) == task.max_new for n in steps.action_mask.sum(1))


def test_a_simulated_author_errs_as_often_as_it_says_and_only_the_critic_is_a_model() -> None:
    feed, learner = made(author="simulated", warm_slips=0.4, pool=400)
    assert learner.author is None
    assert [group for group, _, _ in feed.courses()] == ["imitate"]
    feed.draw(learner, learner.players(feed.task, 0.7))
    right = sum(trace.verdicts[1].correct for _, trace in feed._pool) / 400
    assert 0.53 < right < 0.72  # (with a modulus of 5 some faults cancel)
    task = feed.task
    prompts = task.prompts("test", 8, 0)
    traces = Refine().play(task, prompts, learner.players(task, 0.7), 1, 3)
    for prompt, trace in zip(prompts, traces):
        for critique in trace.children(1):
            (revision,) = trace.children(critique)
            assert task.read(prompt, chosen(task, trace, revision)) is not None
    again = Refine().play(task, prompts, learner.players(task, 0.7), 1, 3)
    assert [t.messages for t in again] == [t.messages for t in traces]


def test_misuse() -> None:
    with pytest.raises(ActrixError, match="combine"):
        made(combine="all")
    with pytest.raises(ActrixError, match="nobody knows how to criticise"):
        Trainer.start("critique-rl", RunOptions(task="sort", steps=1))
