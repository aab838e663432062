"""POAD: policy optimisation with action decomposition, PPO on tokens whose credit is that of whole actions.

An action in a conversation is an utterance of several tokens. Time passes between actions and not inside of one: the
discount counts after the last token of each, so that an action is worth the same however many words it takes.

    value      V(s_t, w_<j) of every prefix of an action; V(s_t) is the one before its first token
    backup     V(s_t, w_<j) <- V(s_t, w_<=j) for j < n;  V(s_t, w_<n) <- r_t + discount V(s_t+1)
    advantage  d + decay G_next inside of an action, d = V(s_t, w_<=j) - V(s_t, w_<j);
               d + discount decay G_next at its last token, d = r_t + discount V(s_t+1) - V(s_t, w_<n)
    actor      -mean min(r A, clip(r, 1 - clip, 1 + clip_high) A) - entropy_weight H,  r = pi / pi_behaviour of a token
    critic     mean 0.5 (V - (G + V_behaviour))^2

A minibatch does not move the actor where its policy has gone too far from the one that spoke: its loss counts for
nothing where KL(behaviour || policy), estimated by mean (r - 1 - log r), is above `most_kl`. With the discount at every
token (the paper's NTPO) this is `ppo-token`. On tasks of a single answer, `discount` has no effect.

Source: Wen et al. 2024, Reinforcing Language Agents via Policy Optimization with Action Decomposition (2405.15821), and
the authors' code, morning9393/ADRL. Theirs clips the value loss too, and their critic reads with the frozen base model;
here it is a network of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from actrix import credit
from actrix.data.batches import Steps
from actrix.objectives import kl_estimate, reduce
from actrix.registry import system
from actrix.run.learner import Losses
from actrix.run.settings import Valued
from actrix.run.valued import ValuedLearner


@dataclass(frozen=True)
class Config(Valued):
    prompts: int = 64  # prompts per round
    group: int = 1  # conversations per prompt
    epochs: int = 2  # passes over a round
    discount: float = 0.95  # per action: per utterance
    entropy_weight: float = 1e-3  # of the entropy of each token's distribution, per nat
    most_kl: float = 0.02  # divergence from the policy that spoke, per token (nats), above which the actor stays


@system("poad", family="agent", paper="2405.15821", acts=("tokens",))
class POAD(ValuedLearner):
    home: ClassVar[str] = "house"

    def discounts(self, steps: Steps) -> Tensor:
        assert steps.segment is not None
        return credit.between(steps.segment, self.config.discount)

    def objective(self, steps: Steps) -> Losses:
        config, mask = self.config, steps.action_mask
        found = self.actor.score(steps.obs, steps.length, config.temperature)
        losses = self.improved(steps, found.logp_BL)
        entropy = reduce(found.entropy_BL, mask, "token", steps.total)
        kl = reduce(kl_estimate(steps.logp_behaviour, found.logp_BL.detach()), mask, "token", steps.total)
        near = (kl <= config.most_kl).to(kl.dtype)
        losses.groups["actor"] = near * (losses.groups["actor"] - config.entropy_weight * entropy)
        return losses.note(entropy=entropy.detach(), kl=kl, near=near)
