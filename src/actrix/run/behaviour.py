"""A feed for on-policy learning whose experience another policy gathers, so that it looks more like the policy's."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from typing import Any

import torch

from actrix.data.batches import Steps, joined
from actrix.errors import ActrixError
from actrix.rng import torch_stream
from actrix.run.feeds import RolloutFeed, Setting, flatten
from actrix.run.learner import Learner


class BehaviourFeed(RolloutFeed):
    """On-policy from the last `batches` batches, the newest gathered by a behaviour policy that goes after what they
    lack.

    Before every `adapt_every`-th step of a batch the behaviour policy begins anew at the policy, and takes gradient
    steps (phase "behaviour") on all that is at hand: `adapt_epochs` passes in `adapt_minibatches` pieces, to the first
    step whose figure "distance" (nats) is more than `adapt_kl`. Batches of the past get new credit, and are learned
    from as if the present policy had sampled them (phase "policy"). A checkpoint is a barrier: what came before it is
    not learned from again. Behaviour steps are not compiled, as their batches grow.

    The learner gives `restart()`, the behaviour becomes the policy, and `again(steps)`, credit and log-probabilities
    anew for `Steps` that went through `prepare` before. Its `explore` acts by the behaviour, and returns the policy's
    log-probability.
    The config gives, besides what `RolloutFeed` reads: batches, adapt_every (0: the policy itself acts), adapt_epochs,
    adapt_minibatches, adapt_kl.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        config = setting.learner.config
        for name, least in (("batches", 1), ("adapt_every", 0), ("adapt_epochs", 1), ("adapt_minibatches", 1)):
            if getattr(config, name) < least:
                option = name.replace("_", "-")
                raise ActrixError(f"--{option} must be at least {least}, not {getattr(config, name)}", misuse=True)
        self.past: list[Steps] = []  # batches as they were gathered [N, T], oldest first
        self.at_hand: list[Steps] = []  # the same as rows, seen by the present policy

    @classmethod
    def plan(cls, config: Any, steps: int) -> tuple[float, int]:
        updates, rows = super().plan(config, steps)
        return updates * config.batches, rows

    def reset(self) -> None:
        super().reset()
        self.past.clear()

    def round(self, learner: Learner) -> Iterator[tuple[Any, Hashable]]:
        for batch, _ in super().round(learner):
            yield batch, "policy"

    def gather(self, learner: Learner) -> Steps:
        self.at_hand = [flatten(learner.again(steps)) for steps in self.past]  # type: ignore[operator]
        steps = self.collect(learner)
        with torch_stream(self.seed, "prepare", self.progress.updates):
            fresh = learner.prepare(steps)
        rows = joined([*self.at_hand, flatten(fresh)])
        self.past.append(replace(fresh, advantage=None, target=None))
        del self.past[: len(self.past) - (learner.config.batches - 1)]
        return rows

    def before(self, learner: Learner, step: int, gathered: Callable[[int], Steps]) -> None:
        every = learner.config.adapt_every
        if (step and not every) or (every and step % every):
            return
        learner.restart()  # type: ignore[operator]
        if not every or not (step or self.at_hand):
            return
        old = [replace(rows, advantage=None, target=None) for rows in self.at_hand]
        rows = joined([*old, *([flatten(gathered(step))] if step else [])])
        with torch_stream(self.seed, "adapt", self.progress.steps), torch.enable_grad():
            taken, distance = self.adapt(learner, rows)
        self.progress.figures |= {"behaviour_steps": torch.tensor(float(taken)), "behaviour_distance": distance}

    def adapt(self, learner: Learner, rows: Steps) -> tuple[int, torch.Tensor]:
        """Move the behaviour policy; how many steps it took, and the distance that it had come to before the last."""
        config, taken, distance = learner.config, 0, torch.zeros(())
        size = max(len(rows) // config.adapt_minibatches, 1)
        for _ in range(config.adapt_epochs):
            order = torch.randperm(len(rows))
            for start in range(0, len(rows) - size + 1, size):
                distance = learner.update(rows[order[start : start + size]], "behaviour")["distance"]
                taken += 1
                if distance > config.adapt_kl:
                    return taken, distance
        return taken, distance
