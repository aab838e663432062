"""PACS: its gradient is RLOO's at first, flows through the baseline, and stops of itself; a group is never split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from actrix import credit
from actrix.data.batches import Steps, counted, whole_groups
from actrix.errors import ActrixError
from actrix.objectives import coupled
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.language.pacs import PACS, Config


def batch(labels: list[float], shuffle: bool = False, **settings: Any) -> tuple[PACS, Steps]:
    """Sampled answers in groups of 4, with these verdicts."""
    config = Config(model="micro", prompts=len(labels) // 4, group=4, warm_steps=0, **settings)
    options = RunOptions(task="countdown", steps=1, threads=1, compile="no")
    made = Trainer.start("pacs", options, config)
    assert isinstance(made.learner, PACS)
    steps, _ = made.feed.collect(made.learner)  # type: ignore[attr-defined]
    reward = torch.zeros_like(steps.reward)
    assert steps.length is not None
    reward[torch.arange(len(steps)), steps.length - 1] = torch.tensor(labels)
    return made.learner, counted(replace(steps, reward=reward))


def gradient(learner: PACS, loss: Tensor) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(learner.actor.parameters()))])


def test_the_first_gradient_is_rloo_on_the_label_less_a_half() -> None:
    """With class weights, which both carry."""
    labels = [1.0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0]
    learner, steps = batch(labels)
    found = gradient(learner, learner.losses(steps).groups["actor"])
    logp = (learner.log_prob(steps) * steps.action_mask).sum(1)
    assert steps.group is not None
    weight = torch.tensor([2.0, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 2.0, 2 / 3, 1, 1, 1, 1])  # sklearn's "balanced"
    reward = weight * (torch.tensor(labels) - 0.5)
    expected = gradient(learner, -(credit.group(reward, steps.group, "others", "none") * logp).mean())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_every_answer_pulls_on_every_other_of_its_group_and_on_none_besides() -> None:
    learner, steps = batch([1.0, 0, 0, 1, 0, 1, 0, 0])
    logp = learner.log_prob(steps).detach().requires_grad_()
    score = learner.score(steps, logp)
    (pull,) = torch.autograd.grad(score[0], logp)
    per_row = (pull * steps.action_mask).sum(1) / steps.action_mask.sum(1)
    torch.testing.assert_close(per_row, torch.tensor([1, -1 / 3, -1 / 3, -1 / 3, 0, 0, 0, 0]))


def test_the_other_proxy_is_the_mean_log_probability() -> None:
    """By hand, row by row; the policy that answered does not enter it."""
    learner, steps = batch([1.0, 0, 0, 1], proxy="mean", beta=2.0)
    logp = learner.log_prob(steps)
    means = [2 * row[acted].mean() for row, acted in zip(logp, steps.action_mask)]
    expected = torch.stack([m - sum(n for n in means if n is not m) / 3 for m in means])
    torch.testing.assert_close(learner.score(steps, logp), expected)
    other = replace(steps, logp_behaviour=steps.logp_behaviour - 1)
    assert torch.equal(learner.score(other, logp), learner.score(steps, logp))
    with pytest.raises(ActrixError, match="--proxy is ratio or mean"):
        batch([1.0, 0, 0, 1], proxy="sum")


def test_a_frozen_batch_is_fitted_and_the_score_stays_bounded() -> None:
    """200 steps: right answers score above wrong ones, |psi| stays small; labels without meaning fit less."""
    labels = (torch.rand(32, generator=torch.Generator().manual_seed(3)) < 0.4).float().tolist()
    learner, steps = batch(labels, rate=1e-3)
    for _ in range(200):
        learner.update(steps)
    with torch.no_grad():
        score = learner.score(steps, learner.log_prob(steps))
    right = torch.tensor(labels) > 0.5
    mixed = credit.group_sum(right.float(), steps.group)  # type: ignore[arg-type]
    inside = (mixed > 0) & (mixed < 4)  # in a group of one label, psi cannot say which
    above = score[right & inside][:, None] > score[~right & inside][None]
    assert above.float().mean() > 0.95
    assert score.abs().max() < 30
    # the pull has nearly stopped, where it would have gone on with an advantage
    assert learner.losses(steps).groups["actor"] < 0.5


def test_an_answer_without_a_verdict_counts_nowhere() -> None:
    score = torch.randn(4, requires_grad=True)
    label, group = torch.tensor([1.0, 0.0, torch.nan, 0.0]), torch.zeros(4, dtype=torch.long)
    (found,) = torch.autograd.grad(coupled(score, label, group).sum(), score)
    kept = [0, 1, 3]
    (expected,) = torch.autograd.grad(coupled(score[kept], label[kept], group[kept]).sum(), score)
    torch.testing.assert_close(found, expected)
    assert found[2] == 0


def test_minibatches_hold_whole_groups() -> None:
    """Whatever the order of rows and the sizes of groups."""
    generator = torch.Generator().manual_seed(0)
    sizes = [1, 4, 2, 5, 3]
    group = torch.repeat_interleave(torch.arange(5), torch.tensor(sizes))[torch.randperm(15, generator=generator)]
    name = torch.arange(15)
    blank = torch.zeros(15, 3)
    steps = counted(
        Steps(blank, blank, blank, blank, blank.bool(), blank.bool(), ~blank.bool(), group=group, length=name)
    )
    order = torch.tensor([3, 0, 4, 1, 2])
    parts = whole_groups(steps, 3, order)
    seen = [part.length.tolist() for part in parts if part.length is not None]
    assert sorted(i for rows in seen for i in rows) == list(range(15))
    for part in parts:
        assert part.length is not None
        assert part.group is not None
        assert part.total == 45
        assert part.rows == 15
        assert int(part.group.max()) < len(part)
        for number in part.group.unique():
            mine = group[part.length[part.group == number]]
            assert len(mine.unique()) == 1
            assert len(mine) == sizes[int(mine[0])], "a group was split"
    kinds = [sorted({int(group[i]) for i in rows}) for rows in seen]
    assert kinds == [[0, 3], [1, 4], [2]]
    with pytest.raises(ValueError, match="permutation"):
        whole_groups(steps, 2, torch.zeros(5, dtype=torch.long))


@pytest.mark.parametrize("shuffled", [False, True])
def test_verdicts_are_what_it_learns_from(shuffled: bool) -> None:
    """Right is to begin with one of the first ids; with verdicts shuffled over the rows that is not learned."""
    config = Config(model="micro", prompts=8, group=8, warm_steps=0, rate=1e-3, minibatches=2)
    made = Trainer.start("pacs", RunOptions(task="countdown", steps=1, threads=1, compile="no"), config)
    learner: Any = made.learner
    seen = []

    def judged(steps: Steps) -> Steps:
        row, start = torch.arange(len(steps)), steps.action_mask.int().argmax(1)
        right = (steps.obs[row, start] < learner.spec.vocab // 2).float()
        seen.append(float(right.mean()))
        reward = torch.zeros_like(steps.reward)
        assert steps.length is not None
        generator = torch.Generator().manual_seed(len(seen))
        reward[row, steps.length - 1] = right[torch.randperm(len(steps), generator=generator)] if shuffled else right
        return replace(steps, reward=reward)

    learner.prepare = judged
    for _ in range(40):
        for part, phase in made.feed.round(learner):
            learner.update(part, phase)
    last = sum(seen[-5:]) / 5
    assert 0.3 < seen[0] < 0.7
    assert last < 0.75 if shuffled else last > 0.85, " ".join(f"{x:.2f}" for x in seen)
