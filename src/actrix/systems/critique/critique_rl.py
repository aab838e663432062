"""Critique-RL: a critic that writes learns first to tell right from wrong, then to help.

A frozen author answers x with y, which is right or not (o = 1 or 0). The critic, the actor here, writes a critique c
that holds a verdict v(c); the author revises y into y', right or not (o'), greedily. Two stages of policy gradients:

    stage I     r = +1 if v(c) = o, else -1 (no verdict counts as wrong); reference: the supervised critic
    stage II    help: o' ("refine"), o' - o ("delta"), or 1 for mending a wrong answer, 0.2 for keeping a right one
                ("correct"); combined with the verdict as
                  "override" (the authors' code)   r = -1 if v(c) != o, else help + 0.2
                  "sum" (the paper's equation)     r = help + beta r_I
                  "none" (no stage I either: the indirect baseline)   r = help
                the reference becomes the critic at the end of stage I
    advantage   A_i = r_i - mean of r_j over the other critiques of the same answer, less the divergence from the
                reference that is still to come, kl sum_{t' >= t} (log pi - log pi_ref); standardised over the round
    loss        -mean over the critique's tokens of min(q A, clip(q, 1 - clip, 1 + clip) A), q = pi / pi_behaviour

Right and wrong answers are drawn equally often, or a constant verdict would be right too often. Without stage I
(--stage-one 0) the rest is learned at once.

Source: Xi et al. 2025 (2510.24320), section 4, and the authors' code, WooooDyy/Critique-RL. Here author and critic are
small models, fitted to demonstrations; the critic's are wrong as often as the task says.

A critic of 0.1 M parameters has not been seen to learn to judge the chains of arith-trace yet (see the recorded claim).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch

from actrix import credit
from actrix.data.batches import Steps
from actrix.errors import ActrixError
from actrix.language.convert import make_model
from actrix.language.model import LanguageModel
from actrix.language.programs import Player, Players, Speak, simulated
from actrix.language.sampler import Sampling
from actrix.language.tasks.base import Reviews, Task, Verdict
from actrix.nets.targets import Tracked, tracked
from actrix.objectives import clipped, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.critique import CritiqueFeed, CritiqueLearner
from actrix.run.learner import Losses
from actrix.run.settings import WarmStart
from actrix.spec import TokenSpec

AIDS = ("refine", "delta", "correct")
COMBINED = ("override", "sum", "none")


@dataclass(frozen=True)
class Config(WarmStart):
    model: str = "mini"  # critic and author: micro, mini, tiny, small or medium (from scratch), or hf:PATH
    prompts: int = 16  # answers that are criticised per round
    group: int = 4  # critiques of each answer
    minibatches: int = 1  # updates per pass over a round; critiques of one answer are never split
    epochs: int = 2  # passes over a round
    author: str = "model"  # who answers and revises: a model that is fitted first, or "simulated", with stated faults
    pool: int = 512  # problems that the author answers once, before the first round
    stage_one: int = 100  # rounds of stage I; those that are left are stage II
    aid: str = "refine"  # reward of a revision in stage II: refine, delta or correct
    combine: str = "override"  # with the verdict: override, sum or none
    bonus: float = 0.2  # reward of a right verdict, on top of the revision's (override)
    beta: float = 0.2  # weight of the verdict's reward (sum)
    kl: float = 0.02  # weight of the divergence from the reference, reward per nat
    clip: float = 0.2  # how far from 1 the ratio may count
    rate: float = 1e-4  # Adam learning rate of the critic
    shuffle: bool = False  # control: in stage I verdicts are rewarded by other answers' correctness
    temperature: float = 0.7  # of the critic; the author answers at 1 and revises at 0
    warm_steps: int = 1_000  # supervised batches before the first round, for each of the two
    warm_slips: float = 0.4  # share of the author's first answers that are careless


@system("critique-rl", family="critique", paper="2510.24320", acts=("tokens",))
class CritiqueRL(CritiqueLearner):
    feed = CritiqueFeed
    home: ClassVar[str] = "arith-trace"
    author: LanguageModel | None
    reference: Tracked[LanguageModel]

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        if config.author not in ("model", "simulated"):
            raise ActrixError(f"--author is model or simulated, not {config.author!r}", misuse=True)
        if config.aid not in AIDS or config.combine not in COMBINED:
            raise ActrixError(
                f"--aid {config.aid} --combine {config.combine} is none of {', '.join(AIDS)}, with one of "
                f"{', '.join(COMBINED)}",
                misuse=True,
            )
        self.reference = tracked(self.actor, 1.0)
        groups = {"actor": (self.actor, Adam(config.rate, betas=(0.9, 0.99), clip_norm=1.0))}
        self.author = None
        if config.author == "model":
            self.author = make_model(config.model, spec.vocab, spec.context)
            groups["author"] = (self.author, Adam(config.warm_rate, clip_norm=1.0))
        self.optimise(**groups)

    def players(self, task: Task, temperature: float) -> Players:
        assert isinstance(task, Reviews)
        if self.author is None:
            author: Speak = simulated(task, self.config.warm_slips)
        else:
            author = partial(self.speak, model=self.author)
        return {
            "actor": Player(author, Sampling(max_new=task.utterance)),
            "reviser": Player(author, Sampling(max_new=task.utterance, temperature=0.0)),
            "critic": Player(self.speak, Sampling(max_new=task.critique_length, temperature=temperature)),
        }

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        if phase == "author" and self.author is not None:
            return Losses(author=self.imitation_of(self.author, batch))
        return super().losses(batch, phase)

    def worth(self, stage: int, correct: bool, critique: Verdict, revised: bool | None) -> float:
        parts, config = critique.components, self.config
        right = bool(parts["format"]) and bool(parts["sound"]) == correct
        if stage == 1 or revised is None:
            return 1.0 if right else -1.0
        if config.aid == "refine":
            aid = float(revised)
        elif config.aid == "delta":
            aid = float(revised) - float(correct)
        else:
            aid = (0.2 if correct else 1.0) * revised
        if config.combine == "override":
            return aid + config.bonus if right else -1.0
        return aid + (config.beta * (1.0 if right else -1.0) if config.combine == "sum" else 0.0)

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        assert steps.group is not None
        mask = steps.action_mask
        anchor = self.reference.copy.log_prob(steps.obs, steps.length, self.config.temperature)
        drift = self.config.kl * (steps.logp_behaviour - anchor) * mask
        ahead = drift.flip(1).cumsum(1).flip(1)
        advantage = credit.group(steps.reward.sum(1), steps.group, "others", "none")[:, None] - ahead
        return replace(steps, advantage=credit.standardise(advantage, mask) * mask)

    def objective(self, steps: Steps) -> Losses:
        assert steps.advantage is not None
        mask, logp = steps.action_mask, self.log_prob(steps)
        per_step = clipped(logp, steps.logp_behaviour, steps.advantage, self.config.clip)
        losses = Losses(actor=reduce(per_step, mask, "token", steps.total))
        return losses.note(entropy=reduce(-logp.detach(), mask), score=steps.reward.sum(1).mean())

    def anchor(self) -> None:
        self.reference.follow()
