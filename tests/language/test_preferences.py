"""Tasks of taste, tables, and what the default preference is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from actrix.language.convert import make_model
from actrix.language.oracle import PairOracle
from actrix.language.sampler import Sampling, generate
from actrix.language.table import TabularModel
from actrix.language.tasks import make_task
from actrix.language.tasks.game import Game, matrix_of, scores_of
from actrix.language.tasks.styles import SHARES, STYLES, Styles


def test_styles_beat_each_other_in_a_circle_and_all_beat_no_style() -> None:
    task = make_task("styles")
    prompt = task.prompts("train", 1, 0)[0]
    words = ["abcabca", "deffdee", "ghhigig", "adgadga"]
    chance = [[task.prefer(prompt, a, b) for b in words] for a in words]
    expected = [[0.5, 0.8, 0.2, 0.95], [0.2, 0.5, 0.8, 0.95], [0.8, 0.2, 0.5, 0.95], [0.05, 0.05, 0.05, 0.5]]
    np.testing.assert_allclose(chance, expected)


def test_demonstrations_use_styles_in_their_shares() -> None:
    task = make_task("styles")
    assert isinstance(task, Styles)
    found = [task.style(word) for _, word in task.demonstrations(3000, 0)]
    for style, share in enumerate(SHARES):
        assert abs(found.count(style) / len(found) - share) < 0.03
    assert all(len(task.tokenizer.encode(word)) < task.max_new for _, word in task.demonstrations(50, 1))
    assert sorted("".join(STYLES)) == list("abcdefghi")


@pytest.mark.parametrize("name", ["rps", "ladder-4", "random-9-2", "scores-9-2"])
def test_games_are_symmetric(name: str) -> None:
    task = make_task(f"game:{name}")
    assert isinstance(task, Game)
    matrix = matrix_of(name)
    np.testing.assert_array_equal(matrix + matrix.T, np.ones_like(matrix))
    if name == "scores-9-2":
        score = scores_of(9, 2)
        np.testing.assert_allclose(matrix, 1 / (1 + np.exp(score - score[:, None])), rtol=1e-12)
        prompt = task.prompts("test", 1, 0)[0]
        assert [task.verify(prompt, answer).score for answer in task.answers] == score.tolist()
    prompt = task.prompts("test", 1, 0)[0]
    np.testing.assert_allclose(PairOracle(task.prefer).matrix(prompt, task.answers).numpy(), matrix, atol=1e-15)
    assert task.prefer(prompt, task.answers[0], "nothing") == 1.0


def test_the_default_preference_is_the_difference_of_verdicts() -> None:
    task = make_task("countdown")
    prompt, right = task._problems("train", 1, 0, "demonstrations")[0]
    form = "+".join(map(str, prompt.meta["numbers"]))
    score = [task.verify(prompt, text).score or 0.0 for text in (right, form, "?")]
    for (a, x), (b, y) in itertools.product(zip((right, form, "?"), score), repeat=2):
        assert task.prefer(prompt, a, b) == pytest.approx(0.5 + (x - y) / 2)


def test_a_table_speaks_as_it_scores() -> None:
    """Frequencies of what is sampled against the softmax; training rows give the same log-probabilities."""
    task = make_task("game:random-5-0")
    model = make_model("table", task.tokenizer.size, 64)
    assert isinstance(model, TabularModel)
    with torch.no_grad():
        model.table.copy_(torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5]))
    prompt = task.tokenizer.encode(":")
    settings = Sampling(max_new=1, n=20_000)
    samples = generate(model, [prompt], settings, eos=task.tokenizer.eos, pad=task.tokenizer.pad, seed=0)
    said = samples.tokens_BL[:, 1] - 3
    truth = model.table.detach().softmax(0)
    torch.testing.assert_close(said.bincount(minlength=5) / len(said), truth.float(), atol=0.01, rtol=0)
    logp = model.log_prob(samples.tokens_BL, samples.lengths_B)[:, 1]
    torch.testing.assert_close(logp.detach(), truth.log()[said])
    torch.testing.assert_close(samples.logp_behaviour_BL[:, 1], truth.log()[said].float(), rtol=1e-4, atol=1e-5)
    logits = model.logits(samples.tokens_BL[:4])
    torch.testing.assert_close(logits.log_softmax(-1)[:, 0, 3:], truth.log().float().expand(4, -1))
