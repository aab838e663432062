"""ArCHer: a conversation as two levels, an off-policy critic of utterances over a token policy.

A state s is all that was said so far, an action a is a whole utterance. Critics learn from a replay of everything that
was ever said; the actor learns from what it would say now in the replay's states.

    Q_i(s, a)   <-  r + discount (1 - done) V'_i(s')              i = 1, 2; V', Q': slow copies
    V_i(s)      <-  Q'_i(s, a'),  a' ~ pi(.|s) drawn afresh      (`fresh` off: a' is what the replay says was said)
    critic      sum of the four mean squared errors
    advantage   A = min_i Q_i(s, a) - min_i V_i(s),  a ~ pi(.|s) drawn afresh, no gradient
    actor       -mean over states of A sum_j log pi(a_j | s, a_<j)
    baseline    (option) b_j <- A by squared error, and A - b_j in place of A for token j

Both levels start from a policy that is fitted to demonstrations; the critic reads with a copy of its weights.

Source: Zhou et al. 2024 (2402.19446), section 3, and the authors' code, YifeiZhou02/ArCHer, whose four heads share an
encoder. Theirs reads s and a apart, with RoBERTa; here one causal transformer reads them in turn. Of the paper's
variants the one for offline data (expectiles, advantage weights) is not here.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from actrix.credit import bootstrap
from actrix.critics.tokens import TokenValue
from actrix.critics.utterances import UtteranceCritic
from actrix.data.batches import Steps, Utterances
from actrix.language.convert import make_model
from actrix.nets.targets import assign, tracked
from actrix.objectives import policy_gradient, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.language import LanguageLearner
from actrix.run.learner import Losses
from actrix.run.settings import Sampled
from actrix.run.turns import UtteranceFeed
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config(Sampled):
    model: str = "micro"  # micro, mini, tiny, small or medium (our transformer, from scratch), or hf:PATH; critic too
    prompts: int = 64  # conversations per round
    capacity: int = 100_000  # utterances that the replay holds
    batch: int = 64  # utterances per update
    critic_steps: int = 20  # updates of the critic per round
    actor_steps: int = 3  # updates of the actor per round
    critic_warmup: int = 2  # rounds in which only the critic learns
    rate: float = 3e-4  # Adam learning rate of the actor
    critic_rate: float = 1e-3  # Adam learning rate of the critic
    clip_norm: float = 1.0  # largest gradient norm of a group; the authors' is 0.01
    discount: float = 0.95  # per utterance
    target_rate: float = 0.1  # of the slow copy, per update of the critic
    fresh: bool = True  # V's targets are for utterances drawn afresh; False: for those in the replay
    baseline: bool = False  # learn a baseline for every token
    warm_steps: int = 1_000  # supervised batches before the first round
    warm_slips: float = 0.7  # share of demonstrations that are careless, where the task knows how


@system("archer", family="agent", paper="2402.19446", acts=("tokens",))
class ArCHer(LanguageLearner):
    feed = UtteranceFeed
    home: ClassVar[str] = "twentyq"
    baseline: TokenValue | None

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        self.critic = UtteranceCritic(make_model(config.model, spec.vocab, spec.context))
        self.target = tracked(self.critic, config.target_rate)
        self.baseline = TokenValue(make_model(config.model, spec.vocab, spec.context)) if config.baseline else None
        groups = {"actor": (self.actor, config.rate), "critic": (self.critic, config.critic_rate)}
        if self.baseline is not None:
            groups["baseline"] = (self.baseline, config.critic_rate)
        self.optimise(**{name: (part, Adam(rate, clip_norm=config.clip_norm)) for name, (part, rate) in groups.items()})

    def losses(self, batch: Utterances | Steps, phase: Hashable = None) -> Losses:
        if phase == "critic":
            assert isinstance(batch, Utterances)
            return self.judging(batch)
        return super().losses(batch, phase)

    def judging(self, batch: Utterances) -> Losses:
        """The critic's loss."""
        q, v = self.critic(batch.tokens, batch.start, batch.stop)
        with torch.no_grad():
            after = self.target(batch.tokens, batch.length, batch.length)[1].members
            q_target = bootstrap(batch.reward, batch.terminated, after, self.config.discount)
            if self.config.fresh:
                v_target = self.target(batch.fresh, batch.start, batch.fresh_stop)[0].members
            else:
                v_target = self.target(batch.tokens, batch.start, batch.stop)[0].members
        error = (q.members - q_target).square() + (v.members - v_target).square()  # [2, B]
        per_row = error.sum(0)[:, None]
        loss = reduce(per_row, torch.ones_like(per_row), "token", batch.total)
        return Losses(critic=loss).note(q=q.members.detach().mean(), v=v.members.detach().mean())

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        """Advantages of fresh utterances, the same for all tokens of one."""
        assert steps.length is not None
        start = steps.length - steps.action_mask.sum(1)
        q, v = self.critic(steps.obs, start, steps.length)
        advantage = q.reduce("min") - v.reduce("min")
        return replace(steps, advantage=advantage[:, None] * steps.action_mask)

    def objective(self, steps: Steps) -> Losses:
        assert steps.advantage is not None
        mask, logp = steps.action_mask, self.log_prob(steps)
        groups, weight = {}, steps.advantage
        if self.baseline is not None:
            guess = self.baseline(steps.obs)
            groups["baseline"] = reduce((guess - steps.advantage).square(), mask, "token", steps.total)
            weight = weight - guess.detach()
        # summed over an utterance's tokens, averaged over states
        groups["actor"] = reduce(policy_gradient(logp, weight), mask, "token", steps.rows)
        each = reduce(steps.advantage, mask, "sequence", steps.rows)
        return Losses(**groups).note(entropy=reduce(-logp.detach(), mask), advantage=each)

    def after_step(self, phase: Hashable = None) -> None:
        if phase == "critic":
            self.target.follow()
        elif phase == "imitate":
            assign(self.critic.reader, self.actor)
            self.target.follow(1.0)
            if self.baseline is not None:
                assign(self.baseline.reader, self.actor)
