"""RTO: what tokens earn, by hand; what is learned from comparisons; and the taste that they are made by."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from answers import drifted

from actrix.data.batches import Pairs, Steps
from actrix.errors import ActrixError
from actrix.language.tasks import make_task
from actrix.language.tasks.taste import Taste
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.preference.rto import RTO, Config

SMALL: dict[str, Any] = {"model": "micro", "prompts": 8, "group": 4, "warm_steps": 40, "pairs": 512, "pair_epochs": 4,
                         "dpo_rate": 1e-3, "score_rate": 2e-3}  # fmt: skip


def start(**settings: Any) -> Trainer:
    options = RunOptions(task="taste", steps=1, threads=1, compile="no")
    return Trainer.start("rto", options, Config(**{**SMALL, **settings}))


@pytest.fixture(scope="module")
def made() -> tuple[Trainer, list[tuple[Any, Any]]]:
    """After its warm start and its comparisons, and what was given to it."""
    found, given = start(), []
    for batch, phase, _ in found.feed.prelude(found.learner):
        given.append((batch, phase))
        found.learner.update(batch, phase)
    return found, given


@pytest.fixture(scope="module")
def steps(made: tuple[Trainer, list[tuple[Any, Any]]]) -> Steps:
    found, _ = made[0].feed.collect(made[0].learner)  # type: ignore[attr-defined]
    assert isinstance(found, Steps)
    return found


def test_the_taste_is_a_sum_and_preferences_follow_bradley_and_terry() -> None:
    task = make_task("taste")
    assert isinstance(task, Taste)
    source = random.Random(0)
    prompt = task.prompts("test", 1, 0)[0]
    words = ["".join(source.choice("abcdefghijkl") for _ in range(16)) for _ in range(50)]
    for word in words:
        liked = sum(word.count(pair) for pair in ("ab", "cd", "ef", "gh"))  # (they cannot overlap)
        assert task.score(word) == liked - word.count("k") - word.count("l")
    for a, b in pairwise(words):
        chance = 1 / (1 + math.exp(task.score(b) - task.score(a)))
        assert task.prefer(prompt, a, b) == pytest.approx(chance)
        assert task.prefer(prompt, a, b) + task.prefer(prompt, b, a) == 1.0
    assert task.verify(prompt, "ab" * 8).correct
    assert not task.verify(prompt, "ab" * 7 + "cc").correct
    assert task.score("ab" * 7) == 5
    assert task.score("ab" * 7 + "a:") == 6
    assert task.score("ab" * 9) == 6


def test_every_comparison_teaches_both(made: tuple[Trainer, list[tuple[Any, Any]]]) -> None:
    trainer, given = made
    phases = [phase for _, phase in given if phase != "imitate"]
    assert phases == ["preferred", "score"] * 32
    pairs = [batch for batch, phase in given if phase == "preferred"]
    assert all(a is b for (a, _), (b, _) in zip(given[40::2], given[41::2], strict=True))
    firsts = [{tuple(row) for batch in pairs[i : i + 8] for row in batch.tokens[:, 0].tolist()} for i in (0, 8, 16, 24)]
    assert all(f == firsts[0] for f in firsts), "a pass goes over all of them"
    task: Any = trainer.feed.task  # type: ignore[attr-defined]
    better = [
        task.score(task.tokenizer.decode(c[m].tolist())) - task.score(task.tokenizer.decode(r[n].tolist()))
        for b in pairs[:8]
        for (c, r), (m, n) in zip(b.tokens, b.action_mask)
    ]
    # the oracle's own share of agreement: sigmoid(|difference|), and ties
    assert sum(x > 0 for x in better) > 2 * sum(x < 0 for x in better) > 0


def test_both_have_learned_the_taste(made: tuple[Trainer, list[tuple[Any, Any]]]) -> None:
    """On answers that were not compared; and the score's zero and unit are those of the data."""
    trainer, given = made
    learner: Any = trainer.learner
    task: Any = trainer.feed.task  # type: ignore[attr-defined]
    prompts = [task.tokenizer.encode(p.text) for p in task.prompts("test", 256, 7)]
    from actrix.language.sampler import Sampling

    samples = learner.speak(prompts, Sampling(16), 99, learner.reference.copy)
    hidden = [task.score(task.tokenizer.decode(c)) for c in samples.completions()]
    with torch.no_grad():
        score = learner.score(samples.tokens_BL, samples.lengths_B)
        logps = [m.log_prob(samples.tokens_BL, samples.lengths_B) for m in (learner.preferred, learner.reference.copy)]
        ratio = ((logps[0] - logps[1]) * samples.action_mask_BL).sum(1)
        batches = [b for b, phase in given if phase == "score"][:8]
        seen = torch.cat([learner.score(b.tokens.flatten(0, 1), b.length.flatten()) for b in batches])
    assert np.corrcoef(hidden, score)[0, 1] > 0.35
    assert np.corrcoef(hidden, ratio)[0, 1] > 0.35
    assert float(seen.mean()) == pytest.approx(0, abs=1e-4)
    assert float(seen.std()) == pytest.approx(1, abs=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(learner.critic.reader.parameters(), learner.score.reader.parameters()))


def test_tokens_earn_what_the_formula_says(made: tuple[Trainer, list[tuple[Any, Any]]], steps: Steps) -> None:
    """Token by token, each of the models asked for one row at a time."""
    learner: Any = made[0].learner
    before = {k: v.clone() for k, v in learner.state().items()}
    drifted(learner)
    settings = {"token_weight": 0.5, "token_clip": 0.1, "kl": 0.3, "score_weight": 2.0}
    config, learner.config = learner.config, replace(learner.config, **settings)
    with torch.no_grad():
        found = learner.paid(steps)
        assert steps.length is not None
        clipped = 0
        for i in range(8):
            n = int(steps.length[i])
            row = steps.obs[i, :n][None]
            reference = learner.reference.copy.log_prob(row)[0]
            raw = 0.5 * (learner.preferred.log_prob(row)[0] - reference)
            score = float(learner.score(row, torch.tensor([n]))[0])
            for t in range(n):
                expected = 0.0
                if steps.action_mask[i, t]:
                    bounded = max(-0.1, min(0.1, float(raw[t])))
                    clipped += bounded != float(raw[t])
                    expected = bounded - 0.3 * float(steps.logp_behaviour[i, t] - reference[t])
                    expected += 2 * max(-10.0, min(10.0, score)) * (t == n - 1)
                assert float(found[i, t]) == pytest.approx(expected, abs=1e-4)
    assert clipped > 0, "nothing was clipped, so that clipping was not seen"
    learner.config = config
    learner.restore(before)


def test_without_a_clip_they_sum_to_the_reward_that_the_policy_stands_for(
    made: tuple[Trainer, list[tuple[Any, Any]]], steps: Steps
) -> None:
    learner: Any = made[0].learner
    config, learner.config = learner.config, replace(learner.config, token_clip=1e9)
    with torch.no_grad():
        token, _, _ = learner.parts(steps)
        whole = [
            (m.log_prob(steps.obs, steps.length) * steps.action_mask).sum(1)
            for m in (learner.preferred, learner.reference.copy)
        ]
    learner.config = config
    torch.testing.assert_close(token.sum(1), config.token_weight * (whole[0] - whole[1]), rtol=1e-4, atol=1e-5)
    assert token.abs().sum() > 0.1


def test_verdicts_have_no_part_in_it(made: tuple[Trainer, list[tuple[Any, Any]]], steps: Steps) -> None:
    learner: Any = made[0].learner
    other = replace(steps, reward=torch.rand_like(steps.reward))
    assert torch.equal(learner.prepare(steps).advantage, learner.prepare(other).advantage)


def test_the_first_loss_of_either_is_log_two() -> None:
    """Nothing is known: every preference is even; and what a step changes is the model that the lesson is for."""
    fresh = start(warm_steps=0, pairs=16)
    learner: Any = fresh.learner
    pairs = fresh.feed.compared(learner)  # type: ignore[attr-defined]
    assert isinstance(pairs, Pairs)
    assert isinstance(learner, RTO)
    for lesson in learner.lessons:
        batch = replace(pairs, total=torch.tensor(16))
        torch.nn.Module.load_state_dict(learner.preferred, learner.reference.copy.state_dict())
        assert learner.compare(batch, lesson).groups[lesson].item() == pytest.approx(math.log(2), abs=1e-5)


def test_what_cannot_be_is_refused() -> None:
    for name in ("dpo_beta", "pairs", "pair_batch"):
        with pytest.raises(ActrixError, match="--" + name.replace("_", "-")) as caught:
            start(**{name: 0})
        assert caught.value.misuse
