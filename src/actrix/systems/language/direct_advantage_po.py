"""Direct Advantage Policy Optimization: each step's log-ratio is fitted to its advantage, by a critic trained before.

A state s is a problem with the steps of an answer so far, an action a is the next step, gamma is 1. One iteration, of
a policy that answered before any of it began (pi_ref):

    labels     y(s) = share of right ones among `completions` completions of s by pi_ref; s: prefixes of its solutions
    critic     mean over states of BCE(V(s), y(s)), V in (0, 1); it starts from the policy's weights, then goes on
    advantage  A(s, a) = V(s a) - V(s), for the different first steps a of the completions of s (the set A_s);
               where nothing follows a, the verdict, 0 or 1, stands for V(s a)
    states     those with max_a A(s, a) - min_a A(s, a) >= gap
    actor      mean over states, then over A_s, of 1/2 (A(s, a) / beta - log(pi(a|s) / pi_ref(a|s)))^2,
               log pi(a|s) the sum over the step's tokens

At pi = pi_ref its gradient is a policy gradient over beta. What normalises pi_ref exp(A / beta) is left out, and with
the published beta the target is out of reach: one pass at a small rate is meant, not a fit. Where a task's answers
have no steps (`Task.marks`), an answer is one step. A round is one iteration.

Source: Liu et al. 2024 (2412.18279). The authors' DAPO; not ByteDance's of the same name (2503.14476). Theirs begins
with a critic of a stronger model, which is not to be had here.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from actrix import credit
from actrix.critics.tokens import TokenValue
from actrix.data.batches import Steps
from actrix.errors import ActrixError
from actrix.language.convert import make_model
from actrix.nets.targets import assign
from actrix.objectives import matched, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.language import LanguageLearner
from actrix.run.learner import Losses
from actrix.run.prefixes import PrefixFeed
from actrix.run.settings import Sampled
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Sampled):
    model: str = "tiny"  # micro, tiny, small or medium (our transformer, from scratch), or hf:PATH; critic too
    prompts: int = 64  # problems per round
    group: int = 16  # solutions per problem
    keep: int = 4  # solutions per problem that are cut into states, half of them right where that can be
    completions: int = 16  # per state
    gap: float = 0.1  # states whose steps differ by less in advantage are left out, in probability of a right answer
    beta: float = 0.2  # price of the divergence from pi_ref, probability of a right answer per nat
    critic_epochs: int = 2  # passes over a round's states, critic
    epochs: int = 1  # passes over a round's states, actor
    batch: int = 32  # solutions (critic) or states (actor) per update
    rate: float = 2e-4  # Adam learning rate of the actor
    critic_rate: float = 5e-4  # Adam learning rate of the critic


@system("direct-advantage-po", family="language", paper="2412.18279", acts=("tokens",))
class DirectAdvantagePO(LanguageLearner):
    feed = PrefixFeed
    home: ClassVar[str] = "arith-trace"

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        if config.beta <= 0:
            raise ActrixError(f"--beta must be above 0, not {config.beta}", misuse=True)
        self.critic = TokenValue(make_model(config.model, spec.vocab, spec.context))
        self.optimise(
            actor=(self.actor, Adam(config.rate, betas=(0.9, 0.99), clip_norm=1.0)),
            critic=(self.critic, Adam(config.critic_rate, betas=(0.9, 0.99), clip_norm=1.0)),
        )

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        return self.judging(batch) if phase == "critic" else super().losses(batch, phase)

    def judging(self, steps: Steps) -> Losses:
        """The critic's loss."""
        assert steps.target is not None
        error = F.binary_cross_entropy_with_logits(self.critic(steps.obs), steps.target, reduction="none")
        return Losses(critic=reduce(error, steps.action_mask, "token", steps.total))

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        """Advantages of steps, and only those states in which they differ."""
        assert steps.group is not None
        advantage = self.advantage(steps)
        low, high = (
            torch.zeros_like(advantage).scatter_reduce(0, steps.group, advantage, how, include_self=False)[steps.group]
            for how in ("amin", "amax")
        )
        steps = replace(steps, advantage=advantage[:, None] * steps.action_mask)[high - low >= self.config.gap]
        assert steps.group is not None
        return replace(steps, group=torch.unique(steps.group, return_inverse=True)[1])

    def advantage(self, steps: Steps) -> Tensor:
        """A(s, a) [B]."""
        assert steps.length is not None
        stop = steps.length[:, None]
        start = stop - steps.action_mask.sum(1, keepdim=True)
        found = [self.critic(rows).sigmoid() for rows in F.pad(steps.obs, (0, 1)).split(512)]
        value = torch.cat(found)
        after = torch.where(steps.terminated.any(1), steps.reward.sum(1), value.gather(1, stop)[:, 0])
        return after - value.gather(1, start)[:, 0]

    def objective(self, steps: Steps) -> Losses:
        assert steps.advantage is not None
        assert steps.group is not None
        mask, logp = steps.action_mask, self.log_prob(steps)
        ratio = ((logp - steps.logp_behaviour) * mask).sum(1)
        wanted = steps.advantage.sum(1) / mask.sum(1) / self.config.beta
        share = 1 / credit.group_sum(torch.ones_like(ratio), steps.group)  # of each step in its state
        per_row = (0.5 * share * matched(ratio, wanted))[:, None]
        loss = reduce(per_row, torch.ones_like(per_row), "token", steps.groups)
        return Losses(actor=loss).note(
            entropy=reduce(-logp.detach(), mask), ratio=ratio.detach().abs().mean(), wanted=wanted.abs().mean()
        )

    def after_step(self, phase: Hashable = None) -> None:
        if phase == "imitate":
            assign(self.critic.reader, self.actor)
