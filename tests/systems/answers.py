"""Answers and conversations to learn from, for tests of what learns from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from actrix import registry
from actrix.data.batches import Steps
from actrix.rng import torch_stream
from actrix.run.trainer import RunOptions, Trainer


def answered(slug: str, scores: list[float], **settings: Any) -> tuple[Any, Steps]:
    """A learner and what it answered, in groups of 4 with these verdicts; credit is not yet given."""
    small = {"model": "micro", "prompts": len(scores) // 4, "group": 4, "warm_steps": 0}
    config = registry.load(slug).config(**{**small, **settings})
    made = Trainer.start(slug, RunOptions(task="countdown", steps=1, threads=1, compile="no"), config)
    steps, _ = made.feed.collect(made.learner)  # type: ignore[attr-defined]
    reward = torch.zeros_like(steps.reward)
    assert steps.length is not None
    reward[torch.arange(len(steps)), steps.length - 1] = torch.tensor(scores)
    return made.learner, replace(steps, reward=reward)


def talked(slug: str, **settings: Any) -> tuple[Any, Steps]:
    """A learner and six conversations in the house, of which the first and the fourth succeed; credit is not yet
    given."""
    config = registry.load(slug).config(**{"model": "micro", "prompts": 6, "warm_steps": 0, **settings})
    made = Trainer.start(slug, RunOptions(task="house", steps=1, threads=1, compile="no"), config)
    steps, _ = made.feed.collect(made.learner)  # type: ignore[attr-defined]
    reward = torch.zeros_like(steps.reward)
    assert steps.length is not None
    reward[torch.arange(6), steps.length - 1] = torch.tensor([1.0, 0, 0, 1, 0, 0])
    return made.learner, replace(steps, reward=reward)


def entropies(learner: Any, steps: Steps) -> Tensor:
    """Entropy [B, T] of each token's distribution, written out; differentiable."""
    logits = learner.actor.logits(steps.obs)[:, :-1].log_softmax(-1)
    found: Tensor = torch.nn.functional.pad(-(logits.exp() * logits).sum(-1), (1, 0))
    return found


def drifted(learner: Any) -> None:
    """Moves the policy a little from where it answered, so that ratios are not 1."""
    with torch.no_grad(), torch_stream(0, "drift"):
        for p in learner.actor.parameters():
            p.add_(0.03 * torch.randn_like(p))


def gradient(learner: Any, loss: Tensor) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(learner.actor.parameters()))])
