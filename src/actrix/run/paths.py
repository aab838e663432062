"""A feed for worlds that let gradients through: how the return of a path changes with every action on it."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actrix.actors.base import Action
from actrix.data.batches import Steps
from actrix.envs.flow import Moved
from actrix.errors import ActrixError
from actrix.rng import torch_stream
from actrix.run.engine import compiler
from actrix.run.feeds import RolloutFeed, Setting
from actrix.run.learner import Learner


class PathFeed(RolloutFeed):
    """On-policy through worlds that let gradients through (see `envs.flow`).

    A round is one update of phase "actor" on all steps of a path, then `epochs` passes of phase "critic" in
    minibatches. `Steps.slope` says how the path's worth changes with each action:

        worth = sum over its parts [s, e] of
                sum_{t=s..e} discount^(t-s) r_t + discount^(e-s+1) (1 - terminated_e) V(obs_{e+1})

    where a part begins with the path or an episode, and ends with either. A slope is the total derivative: it includes
    what the action changes in later observations, and so in later actions. The gradient of the worth with respect to
    the policy's parameters is then sum_t slope_t . d action_t / d parameters, observations held fixed.

    The learner gives `beyond(obs [N, D])`, V of normalised observations.
    The config gives, besides what `RolloutFeed` reads: discount.
    """

    WORTH_COMPILING = 5_000  # steps of each world; compiling takes half a minute the first time, and saves 7 ms of each

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        if self.worlds.flow is None:
            raise ActrixError(
                f"{self.worlds.name} does not say how its rewards change with actions",
                "this system needs an environment with a method `flow`, such as actrix.envs.quadrotor:Hover-v0; "
                "others learn from rewards alone, ppo for example",
                misuse=True,
            )
        long = setting.total_steps >= self.WORTH_COMPILING * self.worlds.n and compiler() is not None
        self.compiled = setting.compile == "yes" or (setting.compile == "auto" and long)
        self.flow = self.worlds.flow(self.worlds.n, self.compiled)
        if self.compiled:
            self.remark = "the world: compiled (its first step takes up to a minute, and a few seconds from the cache)"
        self.returns, self.lengths = np.zeros(self.worlds.n), np.zeros(self.worlds.n, np.int64)

    @classmethod
    def plan(cls, config: Any, steps: int) -> tuple[float, int]:
        updates, rows = super().plan(config, steps)
        return updates + steps / (config.horizon * config.envs), rows

    def reset(self) -> None:
        self.flow.reset(self.seeds())
        self.returns[:], self.lengths[:] = 0.0, 0
        self.forget()

    def state(self) -> dict[str, Any]:
        return {**super().state(), "compiled": self.compiled}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        if self.compiled != bool(state["compiled"]):  # a resumed run computes the same bits
            assert self.worlds.flow is not None
            self.compiled = bool(state["compiled"])
            self.flow = self.worlds.flow(self.worlds.n, self.compiled)

    def round(self, learner: Learner) -> Iterator[tuple[Any, Hashable]]:
        rows = self.gather(learner)
        yield rows, "actor"
        for batch in self.passes(learner, rows):
            yield batch, "critic"

    def collect(self, learner: Learner) -> Steps:
        """Run the policy for `horizon` steps in every environment: `Steps` [N, T] with slopes."""
        horizon, discount = learner.config.horizon, learner.config.discount
        decided: list[Action] = []
        moves: list[Moved] = []
        seen: list[Tensor] = []
        obs = self.flow.cut()
        worth, weight = torch.zeros(()), torch.ones(self.worlds.n)
        with torch_stream(self.seed, "act", self.progress.steps), torch.enable_grad(), fixed(learner):
            for t in range(horizon):
                seen.append(learner.perceive(obs))
                decided.append(learner.actor.act(seen[t], "sample"))
                action = decided[t].action
                moves.append(self.flow.step(action if action.requires_grad else action.requires_grad_()))
                moved, obs = moves[t], moves[t].obs
                worth = worth + weight @ moved.reward
                weight = weight * discount
                cut = moved.truncated if t + 1 < horizon else ~moved.terminated
                if cut.any():
                    beyond = learner.beyond(learner.perceive(moved.next_obs))  # type: ignore[operator]
                    worth = worth + weight @ torch.where(cut, beyond, 0.0)
                weight = torch.where(moved.terminated | moved.truncated, 1.0, weight)
            slope = torch.stack(torch.autograd.grad(worth, [d.action for d in decided]), 1)
        with torch.no_grad():
            self.check(moves)
            reached = torch.stack([m.next_obs for m in moves], 1)
            steps = Steps(
                torch.stack(seen, 1),
                torch.stack([d.action for d in decided], 1),
                torch.stack([d.logp for d in decided if d.logp is not None], 1),
                torch.stack([m.reward for m in moves], 1),
                torch.stack([m.terminated for m in moves], 1),
                torch.stack([m.truncated for m in moves], 1),
                torch.ones(self.worlds.n, horizon, dtype=torch.bool),
                learner.perceive(reached),
                slope=slope,
            )
            if learner.observer is not None:  # as late as this: a path is seen through one pair of glasses
                learner.observer.update(reached.flatten(0, 1))
        self.follow(steps.reward, steps.terminated | steps.truncated)
        return steps

    def check(self, moves: list[Moved]) -> None:
        """ActrixError where a world returned what is not a number."""
        for moved in moves:
            self.worlds.finite("observation", moved.next_obs.numpy(), "step")
            self.worlds.finite("reward", moved.reward[:, None].numpy(), "step")

    def follow(self, reward: Tensor, ended: Tensor) -> None:
        """Count steps and log the episodes that ended in a path [N, T]."""
        for gained, last in zip(reward.numpy().T, ended.numpy().T):
            self.progress.steps += self.worlds.n
            self.returns += gained
            self.lengths += 1
            if last.any():
                self.log([(float(self.returns[i]), int(self.lengths[i])) for i in np.flatnonzero(last)])
                self.returns[last], self.lengths[last] = 0.0, 0


@contextlib.contextmanager
def fixed(module: torch.nn.Module) -> Iterator[None]:
    """Parameters are constants inside: gradients pass through them only to what is put in."""
    learned = [p for p in module.parameters() if p.requires_grad]
    try:
        for p in learned:
            p.requires_grad_(False)
        yield
    finally:
        for p in learned:
            p.requires_grad_(True)
