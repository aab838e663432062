"""DPO on a table that starts from a reference that is not even, and what differs from it in one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from actrix.data.batches import Pairs
from actrix.objectives import reduce
from actrix.run.learner import Losses
from actrix.run.preference import completion_logp
from actrix.spec import TokenSpec
from actrix.systems.language.rloo import RLOO
from actrix.systems.preference.dpo import DPO


def lean(learner: Any) -> None:
    """A policy and a reference that like the last answers best: logits from 0 to 3."""
    with torch.no_grad():
        for model in (learner.actor, learner.reference.copy):
            model.table.copy_(torch.linspace(0, 3, len(model.table)))


class Leaning(DPO):
    """DPO from a reference that is not even."""

    def __init__(self, spec: TokenSpec, config: Any) -> None:
        super().__init__(spec, config)
        lean(self)


class Unanchored(Leaning):
    """Without the reference in the margin: log-probabilities are rewards, and not log-ratios."""

    def prepare(self, pairs: Pairs) -> Pairs:
        found = super().prepare(pairs)
        assert found.logp_reference is not None
        return replace(found, logp_reference=torch.zeros_like(found.logp_reference))


class Unweighted(Leaning):
    """Without the weight sigmoid(-beta m): every pair pushes all the time, as in unlikelihood training."""

    def per_pair(self, gap: Tensor, pairs: Pairs) -> Tensor:
        return -self.config.beta * gap


class Preferred(Leaning):
    """Supervised learning on the preferred answers (Preferred-FT)."""

    def objective(self, pairs: Pairs) -> Losses:
        loss = -completion_logp(self.actor, pairs)[:, :1]
        return Losses(actor=reduce(loss, torch.ones_like(loss), "token", pairs.total))


class Rewarded(RLOO):
    """Reinforcement learning from the true scores, with the divergence in the reward, from the same start."""

    def __init__(self, spec: TokenSpec, config: Any) -> None:
        super().__init__(spec, config)
        lean(self)
