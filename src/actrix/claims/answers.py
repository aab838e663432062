"""What the claims of language systems share: additions with worked steps, and how far a policy is from its start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from actrix.claims.claim import Training
from actrix.data.batches import Steps
from actrix.language.sampler import Sampling
from actrix.language.tasks.base import Prompt, Task
from actrix.nets.targets import tracked
from actrix.run.language import spoken
from actrix.spec import TokenSpec
from actrix.systems.language.ppo_token import PPOToken

# two digits plus two; 256 answers a round. After so short a warm start about half of the answers are right
SUMS: dict[str, Any] = {
    "task": "arithmetic", "model": "micro", "prompts": 32, "group": 8, "warm_steps": 325, "eval_episodes": 200,
}  # fmt: skip


class Watched:
    """Mixed into a learner with a `reference`: an evaluation is the verifier's score of one answer to each problem at
    temperature 1, and, as "kl", how much likelier the policy finds its answers than the reference does, nats."""

    def appraise(self: Any, task: Task, episodes: int, seed: int) -> tuple[np.ndarray, dict[str, float]]:
        prompts = task.prompts("test", episodes, seed)
        samples = self.speak([task.tokenizer.encode(p.text) for p in prompts], Sampling(max_new=task.max_new), seed)
        texts = spoken(task, samples)
        with torch.no_grad():
            own, theirs = (
                model.log_prob(samples.tokens_BL, samples.lengths_B) for model in (self.actor, self.reference.copy)
            )
        position = torch.arange(samples.tokens_BL.shape[1])
        mask = (position >= samples.prompt_lengths_B[:, None]) & (position < samples.lengths_B[:, None])
        return scores(task, prompts, texts), {"kl": float(((own - theirs) * mask).sum(1).mean())}


def scores(task: Task, prompts: list[Prompt], texts: list[str]) -> np.ndarray:
    """The verifier's, one for each text; no verdict counts 0."""
    return np.array([task.verify(*each).score or 0.0 for each in zip(prompts, texts)])


class Anchored(Watched, PPOToken):
    """PPO on tokens as in InstructGPT: a token's reward is less by `weight` times its log-ratio to the reference."""

    weight = 0.02  # score per nat

    def __init__(self, spec: TokenSpec, config: Any) -> None:
        super().__init__(spec, config)
        self.reference = tracked(self.actor, 1.0)

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        assert self.reference is not None
        theirs = self.reference.copy.log_prob(steps.obs, steps.length, self.config.temperature)
        cost = self.weight * (steps.logp_behaviour - theirs) * steps.action_mask
        return super().prepare(replace(steps, reward=steps.reward - cost))

    def after_step(self, phase: Any = None) -> None:
        super().after_step(phase)
        if phase == "imitate":
            assert self.reference is not None
            self.reference.follow()


def right(run: Training) -> float:
    """Right answers of the final evaluation, per cent."""
    return 100 * float(run.evaluation["mean"])


def within(evaluations: dict[int, dict[str, Any]], nats: float) -> float:
    """The best score among the evaluations of a run whose "kl" is at most so much."""
    return max(float(found["mean"]) for found in evaluations.values() if found["kl"] <= nats)
