"""Traces and programs: the very tokens that were sampled, each trained once; and who speaks when."""

from __future__ import annotations

import math
import random
from itertools import product
from typing import Any

import pytest
import torch

from actrix.errors import ActrixError
from actrix.language.convert import make_model
from actrix.language.programs import Answer, Dialogue, Player, program_of
from actrix.language.sampler import Samples, Sampling, generate
from actrix.language.tasks import TwentyQ, Verdict, make_task
from actrix.language.tasks.twentyq import QUESTIONS, guess_of, holds
from actrix.language.traces import Message, Trace, rows, shown

PAD = 0


def player(task: Any, temperature: float = 1.0, words: int = 0) -> Player:
    torch.manual_seed(words)
    model = make_model("micro", task.tokenizer.size, 256)
    with torch.no_grad():
        model.net.embedding.weight.mul_(4)  # type: ignore[union-attr,operator]

    def speak(contexts: list[list[int]], settings: Sampling, seed: int) -> Samples:
        return generate(model, contexts, settings, eos=task.tokenizer.eos, pad=task.tokenizer.pad, seed=seed)

    made = Player(speak, Sampling(max_new=task.utterance, temperature=temperature))
    object.__setattr__(made, "model", model)
    return made


def scripted(task: Any, texts: list[str]) -> Player:
    """Says the same texts whatever it hears."""
    waiting = list(texts)

    def speak(contexts: list[list[int]], settings: Sampling, seed: int) -> Samples:
        said = task.tokenizer.encode(waiting.pop(0))
        width = max(map(len, contexts)) + len(said)
        tokens = torch.tensor([[*c, *said] + [0] * (width - len(c) - len(said)) for c in contexts])
        starts = torch.tensor([len(c) for c in contexts])
        n = len(contexts)
        return Samples(
            tokens, starts, starts + len(said), torch.zeros(tokens.shape), torch.ones(n, dtype=torch.bool),
            torch.arange(n), settings, 0,
        )  # fmt: skip

    return Player(speak, Sampling(max_new=task.utterance))


def tree() -> Trace:
    """The problem, an answer, two critiques of it, a revision after the second."""
    trace = Trace([5, 6])
    answer = trace.add(Message(0, "actor", (7, 8), (-0.5, -0.25)))
    trace.add(Message(answer, "critic", (9,), (-1.0,)))
    other = trace.add(Message(answer, "critic", (2, 10, 11), (0.0, -2.0, -3.0), given=1))
    trace.add(Message(other, "actor", (12,), (-4.0,), ended=False))
    return trace


def test_a_shared_message_is_trained_in_one_row_and_each_message_by_its_place() -> None:
    trace = tree()
    trace.reward(1, 0.25)
    trace.reward(4, None)
    steps, places = rows([trace, tree()], "actor", PAD)
    assert steps.obs.tolist()[0] == [5, 6, 7, 8, 2, 10, 11, 12]
    assert steps.action_mask.tolist()[0] == [False, False, True, True, False, False, False, True]
    assert steps.segment is not None
    assert steps.segment.tolist()[0] == [-1, -1, 0, 0, -1, -1, -1, 1]
    assert steps.logp_behaviour[0].tolist() == [0, 0, -0.5, -0.25, 0, 0, 0, -4.0]
    assert steps.reward[0, 3] == 0.25
    assert math.isnan(steps.reward[0, 7])
    assert steps.truncated[0].nonzero().tolist() == [[7]]
    assert steps.group is not None
    assert steps.group.tolist() == [0, 1]
    assert [(p.message, p.start) for p in places if p.row == 0] == [(0, 0), (1, 2), (3, 4), (4, 7)]
    steps, _ = rows([trace], "critic", PAD)
    assert steps.obs.tolist() == [[5, 6, 7, 8, 9, 0, 0], [5, 6, 7, 8, 2, 10, 11]]
    assert steps.action_mask.tolist()[1] == [False] * 5 + [True, True], "a cue is given, not chosen"
    assert steps.total == 3
    assert steps.rows == 2
    both = Trace([1])
    first = both.add(Message(0, "actor", (2,), (-1.0,)))
    for _ in range(2):
        both.add(Message(both.add(Message(first, "other", (3,))), "actor", (4,), (-1.0,)))
    steps, _ = rows([both], "actor", PAD)
    assert steps.action_mask.tolist() == [[False, True, False, True], [False, False, False, True]]


def test_traces_are_only_added_to() -> None:
    trace = tree()
    trace.judge(1, Verdict(1.0, {"correct": 1.0}))
    trace.reward(1, 1.0)
    for wrong in (lambda: trace.judge(1, Verdict(0.0, {})), lambda: trace.reward(1, 2.0)):
        with pytest.raises(ActrixError, match="only added to"):
            wrong()
    with pytest.raises(ActrixError, match="cannot be answered"):
        trace.add(Message(9, "actor", (1,)))
    with pytest.raises(ActrixError, match="nobody of the role"):
        rows([trace], "judge", PAD)
    branch = trace.branch(2)
    assert [m.role for m in branch.messages] == ["task", "actor", "critic"]
    assert branch.context(2) == trace.context(2)
    assert branch.verdicts == {1: trace.verdicts[1]}


@pytest.mark.parametrize("name", ["countdown", "twentyq"])
def test_a_row_is_what_the_model_saw_and_said(name: str) -> None:
    """Log-probabilities of a whole play, recomputed from its rows in one go, are those of the sampler."""
    task = make_task(name)
    who = player(task)
    prompts = task.prompts("train", 5, 0)
    traces = program_of(task).play(task, prompts, {"actor": who}, 3, 2)
    steps, _ = rows(traces, "actor", PAD)
    assert len(steps) == 10
    with torch.no_grad():
        again = who.model.log_prob(steps.obs, steps.length)  # type: ignore[attr-defined]
    mask = steps.action_mask
    torch.testing.assert_close(again[mask], steps.logp_behaviour[mask], atol=1e-5, rtol=0)
    again_traces = program_of(task).play(task, prompts, {"actor": who}, 3, 2)
    assert [t.messages for t in again_traces] == [t.messages for t in traces]
    for prompt, trace in zip(prompts, traces):
        for leaf in trace.leaves():
            path = trace.path(leaf)
            last = [i for i in path if i in trace.verdicts]
            assert len(last) == 1
            assert trace.verdicts[last[0]] == task.verify(prompt, trace.said(task.tokenizer, leaf))


def test_a_player_learns_of_the_hidden_word_by_the_replies_alone() -> None:
    """Two words that answer everything that is asked alike give the same trace."""
    task = TwentyQ(1)
    who = player(task)
    pairs = 0
    plays = {w: Dialogue().play(task, [task.problem(w)], {"actor": who}, 1)[0] for w in task.names}
    for a, b in product(task.names, task.names):
        replies = [[m.tokens for m in plays[w].messages if m.role == "counterpart"] for w in (a, b)]
        if a < b and replies[0] == replies[1]:
            pairs += 1
            assert plays[a].messages == plays[b].messages
    assert pairs > 5
    assert "word" not in plays["cat"].messages[0].tokens
    assert task.counterpart(task.problem("cat")).hidden == "cat"


def test_a_dialogue_ends_with_a_right_guess_or_the_last_turn() -> None:
    task = TwentyQ(1)
    texts = [QUESTIONS[0], "is is is is is is is", guess_of("dog"), guess_of("cat"), *QUESTIONS[:8]]
    cat, owl = Dialogue().play(task, [task.problem("cat"), task.problem("ship")], {"actor": scripted(task, texts)}, 0)
    said = cat.said(task.tokenizer, cat.leaves()[0])
    assert said == "is it alive ? yes is is is is is is is what is it a dog ? no is it a cat ? right"
    assert [round(cat.rewards[i], 6) for i in sorted(cat.rewards)] == [-0.1, -0.1, -0.1, 0.9]
    assert len([m for m in owl.messages if m.role == "actor"]) == 8
    assert sum(owl.rewards.values()) == pytest.approx(-0.8)
    verdicts = [t.verdicts[max(t.verdicts)] for t in (cat, owl)]
    assert [v.correct for v in verdicts] == [True, False]
    assert verdicts[0].components["format"] == 0.75
    value = task.value(task.problem("cat"), said, verdicts[0])
    assert value == pytest.approx(0.6)


def test_lessons_are_the_conversations_and_only_the_asker_is_imitated() -> None:
    task = TwentyQ(2)
    traces = Dialogue().lessons(task, 40, 5, 0.5)
    steps, _ = rows(traces, "actor", PAD)
    for i, (prompt, utterances) in enumerate(task.conversations(40, 5, 0.5)):
        assert traces[i].said(task.tokenizer, traces[i].leaves()[0]) == task.transcript(prompt, utterances)
        mine = steps.obs[i][steps.action_mask[i]].tolist()
        assert task.tokenizer.decode(mine) == " ".join(utterances)
    pairs = make_task("countdown").demonstrations(20, 1, 0.5)
    for trace, (prompt_text, answer) in zip(Answer().lessons(make_task("countdown"), 20, 1, 0.5), pairs):
        tokenizer = make_task("countdown").tokenizer
        assert trace.context(1) == [*tokenizer.encode(prompt_text), *tokenizer.encode(answer), tokenizer.eos]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_twentyq_words_differ_and_the_optimal_asker_does_what_it_says(level: int) -> None:
    task = TwentyQ(level)
    assert len({tuple(holds(w, q) for q in range(12)) for w in task.names}) == len(task.names)
    assert all(4 <= len(q.split()) <= 7 for q in (*QUESTIONS, guess_of("cat")))
    returns = []
    for prompt, transcript in task._problems("test", len(task.names), 0, "prompts"):
        judged = task.verify(prompt, transcript)
        assert judged.score == 1.0
        assert len(task.tokenizer.encode(transcript)) <= task.max_new
        assert task.tokenizer.decode(task.tokenizer.encode(transcript)) == transcript
        returns.append(task.value(prompt, transcript, judged))
        for wrong in ("", transcript[:-6], transcript + " yes", transcript[:-5] + "no", "right " * 9):
            assert not task.verify(prompt, wrong).correct
    assert sum(returns) / len(returns) == pytest.approx(task.optimum())
    random_askers = [
        task.value(p, t, task.verify(p, t))
        for p, said in task.conversations(300, 0)
        for t in [task.transcript(p, said)]
    ]
    assert sum(random_askers) / 300 < task.optimum() - 0.2


def test_the_optimum_is_that_of_a_search_over_all_moves() -> None:
    """On five words, with every guess and every question tried."""
    from actrix.language.tasks.twentyq import COST, _plan

    def best(left: frozenset[str], turns: int) -> float:
        if not turns:
            return 0.0
        found = []
        for name in left:
            rest = best(left - {name}, turns - 1) if len(left) > 1 else 0.0
            found.append(-COST + (1 + (len(left) - 1) * rest) / len(left))
        for q in range(12):
            yes = frozenset(w for w in left if holds(w, q))
            if 0 < len(yes) < len(left):
                found.append(-COST + sum(len(p) * best(p, turns - 1) for p in (yes, left - yes)) / len(left))
        return max(found)

    source = random.Random(0)
    for turns in (1, 2, 3):
        left = frozenset(source.sample(TwentyQ(3).names, 5))
        assert _plan(left, turns)[0] == pytest.approx(best(left, turns))


def test_utterances_with_ids_that_are_no_words_are_still_what_was_said() -> None:
    """Whatever is sampled, the verifier sees the conversation as it was."""
    task = TwentyQ(1)
    who = player(task, words=3)
    prompts = task.prompts("test", 16, 0)
    odd = 0
    for prompt, trace in zip(prompts, Dialogue().play(task, prompts, {"actor": who}, 1)):
        leaf = trace.leaves()[0]
        odd += any(t < 2 for m in trace.messages for t in m.tokens)
        said = trace.said(task.tokenizer, leaf)
        verdict = next(iter(trace.verdicts.values()))
        assert "not what was said" not in verdict.text
        assert task.value(prompt, said, verdict) == pytest.approx(sum(trace.rewards.values()))
        assert len(task.tokenizer.encode(said)) == len(trace.context(leaf)) - 2
    assert odd > 3


def test_a_counterpart_can_be_returned_to() -> None:
    partner = TwentyQ(1).counterpart(TwentyQ(1).problem("cat"))
    kept = partner.snapshot()
    first = [partner.hear("").over for _ in range(8)]
    partner.restore(kept)
    assert [partner.hear("").over for _ in range(8)] == first == [False] * 7 + [True]


def test_a_tree_is_shown_with_roles_parents_verdicts_and_credit() -> None:
    task = TwentyQ(1)
    tokens = task.tokenizer.encode
    trace = Trace(tokens("guess :"))
    a = trace.add(Message(0, "actor", tuple(tokens("is it loud ?")), (-1.0,) * 4))
    trace.judge(a, Verdict(0.5, {"correct": 0.0}, "why"))
    trace.reward(a, 0.5)
    trace.add(Message(a, "critic", tuple(tokens("no ?")), (0.0, -1.0), given=1))
    trace.add(Message(a, "critic", tuple(tokens("yes ?")), (-1.0, -1.0)))
    found = shown(trace, task.tokenizer, 3, {2: [0.0, 0.5]})
    assert [(m["role"], m["parent"]) for m in found["messages"]] == [("actor", -1), ("critic", 0), ("critic", 0)]
    assert found["messages"][0]["verdict"] == "why"
    assert found["messages"][1]["tokens"] == [
        {"text": "no ", "advantage": 0.0, "logp": 0.0, "action": False},
        {"text": "?", "advantage": 0.5, "logp": -1.0, "action": True},
    ]
    assert found["score"] == 0.5


def test_conversations_are_refused_by_who_answers_once() -> None:
    from actrix.run.trainer import RunOptions, Trainer

    for slug in ("best-of-n", "dpo"):
        with pytest.raises(ActrixError, match="conversation"):
            Trainer.start(slug, RunOptions(task="twentyq", steps=1))
    with pytest.raises(ActrixError, match="no conversation"):
        Trainer.start("archer", RunOptions(task="sort", steps=1))
