"""The claim of DPO: the loss on pairs has the optimum of rewards with a divergence, without a reward or sampling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from actrix.claims.claim import Arm, Check, Claim, Training, trained
from actrix.data.batches import Pairs
from actrix.objectives import reduce
from actrix.run.learner import Losses
from actrix.run.preference import answer_logp, completion_logp
from actrix.spec import TokenSpec
from actrix.systems.language.rloo import RLOO
from actrix.systems.preference.dpo import DPO

BETA, ANSWERS = 1.0, 20
GAME = {"task": f"game:scores-{ANSWERS}-1", "model": "table", "warm_steps": 0, "steps": 800, "prompts": 16, "group": 16,
        "rate": 0.01, "eval_episodes": 2}  # fmt: skip
PAIRS, REWARDS = {"dataset": 0, "beta": BETA}, {"kl": BETA}


def lean(learner: Any) -> None:
    """A policy and a reference that like the last answers best: logits from 0 to 3."""
    with torch.no_grad():
        for model in (learner.actor, learner.reference.copy):
            model.table.copy_(torch.linspace(0, 3, ANSWERS))


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


def amiss(run: Training) -> float:
    """Total variation distance of the policy from reference exp(score / beta), normalised."""
    from actrix.language.tasks.game import scores_of

    learner: Any = run.trainer.learner
    task = run.trainer.feed.task  # type: ignore[attr-defined]
    reward = torch.from_numpy(scores_of(ANSWERS, 1)) / BETA
    optimum = (answer_logp(learner.reference.copy, task) + reward).softmax(0)
    return float((answer_logp(learner.actor, task).exp() - optimum).abs().sum() / 2)


claim = Claim(
    system="dpo",
    statement="The optimum of reward maximisation with a divergence from the reference is found from labelled pairs by "
    "classification, without a reward model or sampling. The reference is what holds it, and the weight of each pair: "
    "without it a policy degenerates. Supervised learning on preferred answers goes elsewhere.",
    source="2305.18290, sections 4 and 5.1",
    minutes=1,
    checks=(
        Check(
            "optimum",
            question="From pairs labelled by hidden scores (Bradley and Terry), does it come as near to the optimum as "
            "reinforcement learning from the scores themselves does, and not without the reference, without weights, "
            "or by supervised learning?",
            metric="total variation distance from reference exp(score / beta), 20 answers, after 800 updates of 256 "
            "answers of the reference (128 pairs) or, from scores, of the policy; beta 1",
            seeds=3,
            arms=(
                Arm("dpo", "method", trained("dpo", GAME, PAIRS, measure=amiss, variant=Leaning)),
                Arm("rewarded", "baseline", trained("rloo", GAME, REWARDS, measure=amiss, variant=Rewarded)),
                Arm("preferred", "baseline", trained("dpo", GAME, PAIRS, measure=amiss, variant=Preferred)),
                Arm("unanchored", "ablation", trained("dpo", GAME, PAIRS, measure=amiss, variant=Unanchored)),
                Arm("unweighted", "ablation", trained("dpo", GAME, PAIRS, measure=amiss, variant=Unweighted)),
            ),
            rules=(
                "max(dpo) <= 0.1",
                "mean(dpo) <= mean(rewarded) + 0.05",
                "min(preferred) >= 3 * max(dpo)",
                "min(unanchored) >= 3 * max(dpo)",
                "min(unweighted) >= 3 * max(dpo)",
            ),
        ),
    ),
)
