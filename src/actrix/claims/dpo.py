"""The claim of DPO: classifying pairs finds what reinforcement learning from a fitted reward would, and cheaply."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from actrix.claims.answers import SUMS, Anchored, Watched, within
from actrix.claims.claim import Arm, Check, Claim, Trained, Training, trained
from actrix.data.batches import Pairs
from actrix.objectives import reduce
from actrix.run.learner import Losses
from actrix.run.preference import answer_logp, completion_logp
from actrix.spec import TokenSpec
from actrix.systems.preference.dpo import DPO

BETA, ANSWERS = 0.5, 20
GAME = {"task": f"game:scores-{ANSWERS}-1", "model": "table", "warm_steps": 0, "steps": 800, "prompts": 16, "group": 16,
        "rate": 0.01, "eval_episodes": 2, "dataset": 0, "beta": BETA}  # fmt: skip


ANSWERED = 40  # batches of 256 answers of the reference, 128 pairs; PPO samples as many answers
PAIRS = {**SUMS, "steps": 3 * ANSWERED, "dataset": ANSWERED, "eval_every": ANSWERED // 4}
ROUNDS = {**SUMS, "steps": ANSWERED, "eval_every": ANSWERED // 10, "minibatches": 4}
NATS = 1.0


class Leaning(DPO):
    """DPO from a reference that likes its last answers best: logits from 0 to 3."""

    def __init__(self, spec: TokenSpec, config: Any) -> None:
        super().__init__(spec, config)
        with torch.no_grad():
            for model in (self.actor, self.reference.copy):
                table: Any = model.table
                table.copy_(torch.linspace(0, 3, ANSWERS))


class Unanchored(Leaning):
    """Without the reference in the margin: log-probabilities are rewards, and not log-ratios."""

    def prepare(self, pairs: Pairs) -> Pairs:
        found = super().prepare(pairs)
        assert found.logp_reference is not None
        return replace(found, logp_reference=torch.zeros_like(found.logp_reference))


class Unweighted(DPO):
    """Without the weight sigmoid(-beta m): every pair pushes all the time, as unlikelihood training does."""

    def per_pair(self, gap: Tensor, pairs: Pairs) -> Tensor:
        return -self.config.beta * gap


class Chosen(DPO):
    """Supervised learning on the preferred answers (Preferred-FT)."""

    def objective(self, pairs: Pairs) -> Losses:
        loss = -completion_logp(self.actor, pairs)[:, :1]
        return Losses(actor=reduce(loss, torch.ones_like(loss), "token", pairs.total))


class ChosenLeaning(Chosen, Leaning):
    """The same from the reference that leans."""


class WatchedDPO(Watched, DPO):
    pass


class WatchedUnweighted(Watched, Unweighted):
    pass


class WatchedChosen(Watched, Chosen):
    pass


def amiss(run: Training) -> float:
    """Total variation distance of the policy from reference exp(score / beta), normalised."""
    from actrix.language.tasks.game import scores_of

    learner: Any = run.trainer.learner
    task = run.trainer.feed.task  # type: ignore[attr-defined]
    reward = torch.from_numpy(scores_of(ANSWERS, 1)) / BETA
    optimum = (answer_logp(learner.reference.copy, task) + reward).softmax(0)
    return float((answer_logp(learner.actor, task).exp() - optimum).abs().sum() / 2)


def frontier(system: str, variant: type[Any], *settings: dict[str, Any]) -> Trained:
    return trained(system, *settings, measure=reached, variant=variant)


def reached(run: Training) -> float:
    """The best score within a nat of the reference."""
    return within(run.evaluations, NATS)


claim = Claim(
    system="dpo",
    statement="The loss on pairs has the optimum of reward maximisation with a divergence from the reference, so that "
    "no reward model and no sampling are needed; at equal divergence it reaches more reward than PPO even with the "
    "true reward, and than supervised learning on the preferred answers; without the weight of each pair a policy "
    "degenerates.",
    source="2305.18290, section 4 and its appendix A, section 6.1 (figure 2)",
    minutes=4,
    checks=(
        Check(
            "optimum",
            question="From pairs labelled by hidden scores (Bradley and Terry), is the policy reference exp(score / "
            "beta); and not without the reference, nor by learning what is preferred?",
            metric="total variation distance from it, 20 answers, after 800 updates of 128 fresh pairs, beta 0.5",
            seeds=5,
            arms=(
                Arm("dpo", "method", trained("dpo", GAME, measure=amiss, variant=Leaning)),
                Arm("unanchored", "ablation", trained("dpo", GAME, measure=amiss, variant=Unanchored)),
                Arm("preferred", "baseline", trained("dpo", GAME, measure=amiss, variant=ChosenLeaning)),
            ),
            rules=("max(dpo) <= 0.1", "min(unanchored) >= 3 * max(dpo)", "min(preferred) >= 3 * max(dpo)"),
        ),
        Check(
            "frontier",
            question="Within a nat of the reference, is the score of additions higher than with PPO on the same "
            "verifier, with supervised learning on preferred answers, and without the weights?",
            metric="best verifier's score, over the checkpoints of a run within 1 nat, of answers to 200 test problems",
            seeds=3,
            arms=(
                Arm("dpo", "method", frontier("dpo", WatchedDPO, PAIRS)),
                Arm("ppo", "baseline", frontier("ppo-token", Anchored, ROUNDS)),
                Arm("preferred", "baseline", frontier("dpo", WatchedChosen, PAIRS)),
                Arm("unweighted", "ablation", frontier("dpo", WatchedUnweighted, PAIRS)),
            ),
            rules=("mean(dpo) >= mean(ppo)", "mean(dpo) > mean(preferred)", "mean(dpo) > mean(unweighted)"),
        ),
    ),
)
