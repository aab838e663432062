"""pass@k against enumeration, and whole evaluations of models whose result is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from actrix.errors import ActrixError
from actrix.language.evaluate import bootstrap, evaluate_task, pass_at_k
from actrix.language.model import TransformerModel
from actrix.language.tasks import make_task
from actrix.nets.transformer import TransformerConfig


def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer() -> None:
    for n, k in ((5, 1), (5, 3), (6, 6), (7, 2)):
        for c in range(n + 1):
            subsets = list(itertools.combinations([1] * c + [0] * (n - c), k))
            expected = sum(any(s) for s in subsets) / len(subsets)
            assert pass_at_k(np.array([n]), np.array([c]), k)[0] == pytest.approx(expected)
    assert pass_at_k(np.array([10_000]), np.array([3]), 5000)[0] == pytest.approx(0.875, abs=1e-3)
    with pytest.raises(ActrixError, match="at least 4"):
        pass_at_k(np.array([3]), np.array([1]), 4)


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    source = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        found = bootstrap(source.binomial(8, 0.3, size=60) / 8, seed=trial, resamples=300)
        covered += found.low <= 0.3 <= found.high
    assert 0.88 <= covered / 200 <= 0.99
    assert bootstrap(np.full(9, 0.25)).low == bootstrap(np.full(9, 0.25)).high == 0.25


def test_an_untrained_model_scores_nothing_and_a_fixed_one_what_it_must() -> None:
    torch.manual_seed(0)
    task = make_task("sort")
    model = TransformerModel(TransformerConfig(vocab=task.tokenizer.size, layers=1, width=16, heads=2, context=32))
    score = evaluate_task(model, task, (1, 4), n_prompts=20)
    assert score.pass_at[1].mean == score.components["correct"] == 0.0
    assert score.samples == 4
    assert score == evaluate_task(model, task, (1, 4), n_prompts=20)
    # A model that always ends at once: the head sees only the embedding of the end token.
    with torch.no_grad():
        model.net.embedding.weight.zero_()
        model.net.embedding.weight[:, 0] = 1.0
        model.net.embedding.weight[task.tokenizer.eos, 0] = 50.0
        model.net.blocks[0].attention.out.weight.zero_()
        model.net.blocks[0].mlp.down.weight.zero_()
    score = evaluate_task(model, task, 1, n_prompts=20, temperature=0)
    assert (score.length, score.ended, score.score.mean, score.samples) == (1.0, 1.0, 0.0, 1)
    with pytest.raises(ActrixError, match="greedy"):
        evaluate_task(model, task, 4, temperature=0)
