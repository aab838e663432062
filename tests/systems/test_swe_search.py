"""SWE-Search and best of n: the search restores, spends and chooses as it says; both train, evaluate and resume."""

from __future__ import annotations

from collections import Counter
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import actrix.api as api
from actrix.errors import ActrixError
from actrix.language.sampler import Sampling
from actrix.language.tasks import ListDsl
from actrix.language.tasks.base import Verdict
from actrix.language.tasks.list_dsl import EVERY, edited, passed
from actrix.run.loaded import load_learner
from actrix.run.trainer import RunOptions, Trainer
from actrix.search.guided import Search
from actrix.systems.agent.swe_search import Config, SWESearch
from actrix.systems.language.best_of_n import BestOfN
from actrix.systems.language.best_of_n import Config as Best


def search(problem: int = 0, **settings: Any) -> Search:
    task = ListDsl(2)
    made = Search(task.open(task.prompts("train", 9, 0)[problem]), Config(**settings))
    made.learn(Verdict(0.3, {"0": 0.2, "1": 0.8}), 0)
    return made


def play(made: Search, actions: list[str], scores: list[float]) -> list[str]:
    asked = []
    for action, score in zip(actions, scores):
        if made.over:
            break
        asked.append(made.ask())
        if made.act(action):
            made.learn(Verdict(score, {"0": 0.2, "1": 0.8}), len(made.tree) - 1)
    return asked


ACTIONS = [f"{place}{operator}" for operator in EVERY for place in range(3)]


@pytest.mark.parametrize("kind", ["tree", "line", "runs"])
def test_every_node_is_the_edits_of_its_path(kind: str) -> None:
    """Snapshots are restored on every backtrack: replaying a path from the start gives the node's program."""
    made = search(search=kind, calls=40, finished=99, depth=4)
    root = made.tree[0].state.program
    play(made, ACTIONS, [(i * 37 % 100) / 100 for i in range(40)])
    assert len(made.tree) > 10
    for index in range(1, len(made.tree)):
        program = root
        for step in made.tree.path(index)[1:]:
            after = edited(program, made.tree[step].action)
            assert after is not None
            program = after
        assert program == made.tree[index].state.program
    depth = max(n.depth for n in made.tree.nodes)
    assert depth > 4 if kind == "line" else depth <= 4
    assert made.budget.spent.calls <= 40
    assert made.budget.spent.judgements == len(made.tree)


def test_feedback_comes_from_the_siblings_and_from_nothing_else() -> None:
    made = search(calls=40, finished=99)
    plain = search(calls=40, finished=99, feedback=False)
    for each in (made, plain):
        play(each, ["0a5"], [0.0])
        each.at = 0
        each.world.restore(each.tree[0].state)
    node = made.tree[1]
    assert node.text == "!0a50?1"
    assert (node.reward, made.tree[0].visits, made.tree[0].total) == (-100.0, 2, -40.0 - 100.0)
    made.pick = plain.pick = lambda: 0  # type: ignore[method-assign]
    assert made.ask() == made.world.text("!0a50?1")
    assert plain.ask() == plain.world.text()
    play(made, ["0a6"], [0.5])
    assert made.ask().endswith("!0a50?1!0a64?1:")


def test_a_call_for_nothing_is_spent_and_leaves_no_node() -> None:
    made = search(calls=3)
    play(made, ["99", "", "0a0"], [0.0] * 3)
    assert made.over
    assert len(made.tree) == 1
    assert made.budget.spent.calls == 3
    assert made.answer(0) == ""


def test_no_verdict_leaves_a_node_without_value() -> None:
    made = search(calls=9)
    made.ask()
    made.act("0a5")
    made.learn(Verdict(None, {}), 1)
    assert made.tree[1].reward is None
    assert made.tree[1].visits == 0
    made.ask()


def test_it_hands_in_what_the_majority_agrees_with() -> None:
    """Three finished programs: two compute the same, the third has the highest value."""
    made = search(calls=40)
    tree, root = made.tree, made.tree[0].state
    same = (("s0", "r0", "a3"), ("r0", "s0", "a3"), ("s0", "a3", "r0"))  # 1st and 3rd: the same function
    for program, value in zip(same, (10.0, 90.0, 20.0)):
        state = type(root)(program, ("x",), False)
        index = tree.add(0, state, "".join(program), terminal=True)
        tree[index].reward = value
    made.world.restore(tree[made.tree[0].children[0]].state)
    agreed = made.debate([1, 2, 3], 0)
    assert agreed[0] == agreed[2] == 10 > agreed[1]
    made.answer(0)
    assert made.world.snapshot().program == same[2], "the tie goes to the higher value"
    made.config = Config(choose="value")
    made.answer(0)
    assert made.world.snapshot().program == same[1]


def test_the_value_agent_never_sees_hidden_tests() -> None:
    """Problems that differ in their hidden tests only are searched alike."""
    task = ListDsl(2)
    trainer = Trainer.start("swe-search", RunOptions(task="list-dsl", level=2, steps=1, threads=1), Config(calls=5))
    learner = trainer.learner
    assert isinstance(learner, SWESearch)
    prompts = task.prompts("train", 4, 0)
    blind = [type(p)(p.text, p.answer, p.key, {**p.meta, "hidden": ()}) for p in prompts]
    assert learner.attempts(task, prompts, 2, 7) == learner.attempts(task, blind, 2, 7)
    assert len(learner.attempts(task, prompts, 2, 7)) == 8
    trainer.close()


def test_it_learns_runs_and_resumes(tmp_path: Path) -> None:
    """The value agent fits, `eval` searches, and a resumed run is the uninterrupted one."""
    small = {"task": "list-dsl", "quiet": True, "threads": 1, "eval_episodes": 4, "eval_every": 4, "lessons": 3}
    small |= {"calls": 3, "batch": 16, "checkpoint_every": 2}
    whole = api.train("swe-search", folder=tmp_path / "a", steps=4, **small)
    result = api.evaluate(whole.folder, episodes=5)
    assert len(result["scores"]) == 5
    assert set(result) >= {"pass@1", "mean", "low", "high"}
    assert result == api.evaluate(whole.folder, episodes=5)
    small.pop("quiet")
    of_config = {k: small.pop(k) for k in ("lessons", "calls", "batch")}
    options = RunOptions(**{**small, "steps": 4})
    trainer = api.begin("swe-search", options, Config(**of_config), tmp_path / "b")
    for report in trainer:
        if report.step == 3:  # one round after the checkpoint
            break
    trainer.close()
    again = api.resume(tmp_path / "b", quiet=True)
    assert again.step == 4
    one, other = (load_learner(folder)[0].state() for folder in (whole.folder, again.folder))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    policy = api.load(whole.folder)
    prompt = ListDsl(1).prompts("test", 1, 0)[0].text
    assert policy.act(prompt) == policy.act(prompt)
    assert len({policy.act(prompt, "sample") for _ in range(5)}) > 1


def test_tasks_without_a_world_are_refused() -> None:
    with pytest.raises(ActrixError, match="no judged states"):
        Trainer.start("swe-search", RunOptions(task="sort", steps=1))
    with pytest.raises(ActrixError, match="--search"):
        Trainer.start("swe-search", RunOptions(task="list-dsl", steps=1), Config(search="none"))


def test_best_of_n_keeps_what_the_samples_agree_on(monkeypatch: pytest.MonkeyPatch) -> None:
    options = RunOptions(task="sort", steps=1, threads=1)
    answers = {}
    for n, choose in ((1, "vote"), (6, "vote"), (6, "likely")):
        trainer = Trainer.start("best-of-n", options, Best(n=n, choose=choose, model="mini"))
        learner = trainer.learner
        assert isinstance(learner, BestOfN)
        task = trainer.regime.task  # type: ignore[attr-defined]
        prompts = task.prompts("test", 3, 0)
        answers[n, choose] = learner.attempts(task, prompts, 2, 5)
        assert len(answers[n, choose]) == 6
        trainer.close()
    assert answers[6, "vote"] != answers[6, "likely"]


def test_votes_are_for_answers_and_not_for_their_working() -> None:
    """Here an answer is a text's first letter: the oracle counts letters among the same samples."""
    options = RunOptions(task="sort", steps=1, threads=1)
    trainer = Trainer.start("best-of-n", options, Best(n=9, choose="vote", model="micro"))
    learner: Any = trainer.learner
    task = copy(trainer.regime.task)  # type: ignore[attr-defined]
    task.conclusion = lambda text: text[:1]
    prompts = task.prompts("test", 6, 0)
    kept = learner.attempts(task, prompts, 1, 7)
    samples = learner.speak([task.tokenizer.encode(p.text) for p in prompts], Sampling(task.max_new, n=9), 7)
    texts = [task.tokenizer.decode(tokens) for tokens in samples.completions()]
    differs = False
    for i, text in enumerate(kept):
        group = texts[9 * i : 9 * i + 9]
        letters = Counter(t[:1] for t in group)
        assert letters[text[:1]] == max(letters.values()) > 1
        assert text == next(t for t in group if t[:1] == text[:1])
        differs |= Counter(group).most_common(1)[0][0] != text
    assert differs  # from what a vote for whole texts would keep
    trainer.close()


def test_passing_is_what_ends_an_episode() -> None:
    task = ListDsl(2)
    for prompt, repair in task._problems("train", 20, 0, "prompts"):
        made = Search(task.open(prompt), Config(search="line"))
        made.learn(Verdict(0.5, {"0": 1.0}), 0)
        play(made, repair.split(","), [0.5, 0.5])
        assert made.over
        assert passed(made.tree[len(made.tree) - 1].state.program, prompt.meta["visible"]) == 1.0
        assert task.verify(prompt, made.answer(0)).correct
    assert torch.is_grad_enabled()
