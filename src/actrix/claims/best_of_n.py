"""The claim of best of n: a vote over answers beats one answer and the likeliest, and what a choice costs in nats."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import replace
from typing import Any

from actrix.claims.claim import Arm, Check, Claim, Part, Training, trained

N, FEW = 16, 4
SUMS = {"task": "any-order", "level": 1, "model": "micro", "steps": 15, "lessons": 20, "batch": 64, "eval_episodes": 1}
PROMPTS = 400
TABLE = {"task": "game:ladder-200", "model": "table", "steps": 1, "lessons": 1, "eval_episodes": 1}
CHOICES, AT_ONCE = 20_000, 2_000


def accuracy(run: Training) -> dict[str, float]:
    """Right answers to 400 test problems, per cent, by how one model answers; all draws but the greedy one are at
    temperature 0.7, as in the paper."""
    learner: Any = run.trainer.learner
    task = run.trainer.feed.task  # type: ignore[attr-defined]
    prompts = task.prompts("test", PROMPTS, run.trainer.options.seed)
    whole = copy(task)
    whole.conclusion = str  # a vote over whole texts, working included

    def right(judged: Any = task, temperature: float = 0.7, **settings: Any) -> float:
        learner.config = replace(learner.config, temperature=temperature, **settings)
        answers = learner.attempts(judged, prompts, 1, run.trainer.options.seed)
        return 100 * sum(task.verify(*each).correct for each in zip(prompts, answers)) / PROMPTS

    return {
        "vote": right(n=N, choose="vote"),
        "few": right(n=FEW, choose="vote"),
        "likely": right(n=N, choose="likely"),
        "texts": right(whole, n=N, choose="vote"),
        "one": right(n=1),
        "greedy": right(temperature=0.0, n=1),
    }


def divergence(run: Training) -> dict[str, float]:
    """KL of the choice of the likeliest of n from a random table of 200 answers, nats: of what was chosen 20,000 times,
    exactly, and the bound for any score; and of one draw."""
    import numpy as np
    import torch

    from actrix.rng import numpy_stream
    from actrix.run.preference import answer_logp

    learner: Any = run.trainer.learner
    task = run.trainer.feed.task  # type: ignore[attr-defined]
    seed = run.trainer.options.seed
    with torch.no_grad():
        learner.actor.table.copy_(torch.from_numpy(numpy_stream(seed, "table").normal(size=len(task.answers))))
    logp = answer_logp(learner.actor, task).numpy()
    prompt = task.prompts("test", 1, 0)

    def measured(n: int) -> float:
        learner.config = replace(learner.config, n=n, choose="likely")
        count = np.zeros(len(logp))
        for i in range(CHOICES // AT_ONCE):
            chosen = learner.attempts(task, prompt, AT_ONCE, seed * CHOICES + i)
            np.add.at(count, [task.answers.index(text) for text in chosen], 1)
        share = count[count > 0] / CHOICES
        return float((share * (np.log(share) - logp[count > 0])).sum())

    order = np.argsort(logp)
    below = np.concatenate(([0.0], np.exp(logp[order]).cumsum()))
    chance = np.diff(np.minimum(below, 1.0) ** N)
    exact = float((chance[chance > 0] * (np.log(chance) - logp[order])[chance > 0]).sum())
    return {"chosen": measured(N), "exact": exact, "bound": math.log(N) - (N - 1) / N, "one": measured(1)}


def arm(label: str, role: Any) -> Arm:
    return Arm(label, role, Part(trained("best-of-n", SUMS), accuracy, label))


def side(label: str, role: Any) -> Arm:
    return Arm(label, role, Part(trained("best-of-n", TABLE), divergence, label))


claim = Claim(
    system="best-of-n",
    statement="The answer that most of a model's samples come to, whatever their working, is right more often than the "
    "greedy answer and than the likeliest of as many samples, and more so the more samples there are. Choosing "
    "among n moves a policy by at most log n - (n - 1) / n nats, whatever is chosen by.",
    source="2203.11171, sections 3.2 and 3.4; the divergence: 2401.01879, theorem 1",
    minutes=1,
    note="The first check rests on one seed of three: of the models only the last had learned its sums by the end of "
    "300 batches (the length was chosen on one other seed, 1000, on which it had); the other two guess (one "
    "answer in seven is right by chance), and there is nothing to vote on. Where the model had learned, 16 "
    "votes are right on 99.75 % of the problems, the greedy answer on 77, the likeliest of 16 on 97.5, and a "
    "vote on whole texts, working included, on 90; on seed 1000 it was 98, 80, 93.5 and 87.5. The task has many "
    "ways to an answer, as the paper says that reasoning has. Where there is one way only (arith-trace, a pilot "
    "on seed 1000) the vote (58) was no better than the greedy answer (60.5). A first choice of task, sums of "
    "five numbers modulo 17, was stopped on seed 0, as its model had learned nothing.",
    checks=(
        Check(
            "vote",
            question="On sums of four numbers modulo 7, worked out in any order, is the vote of 16 right more often "
            "than the greedy answer, one sample, the likeliest of 16, the vote of 4, and "
            "a vote that compares the working too?",
            metric="right answers to 400 test problems, per cent; one model per seed for all arms",
            seeds=3,
            arms=(
                arm("vote", "method"),
                arm("few", "ablation"),
                arm("texts", "ablation"),
                arm("one", "ablation"),
                arm("likely", "baseline"),
                arm("greedy", "baseline"),
            ),
            rules=(
                "mean(vote - greedy) >= 3",
                "mean(vote - likely) >= 2",
                "mean(vote - one) >= 5",
                "mean(vote) > mean(few)",
                "mean(vote) > mean(texts)",
            ),
        ),
        Check(
            "divergence",
            question="Is the divergence of the likeliest of 16 what it is by theory, and below the bound?",
            metric="KL(choice || policy), nats, by 20,000 choices among 200 answers with random logits",
            seeds=3,
            arms=(
                side("chosen", "method"),
                side("exact", "control"),
                side("bound", "control"),
                side("one", "ablation"),
            ),
            rules=("apart(chosen, exact) <= 0.02", "max(chosen - bound) <= 0", "max(one) <= 0.02"),
        ),
    ),
)
