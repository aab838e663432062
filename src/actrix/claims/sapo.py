"""The claim of SAPO: where answers are learned from many times over, a smooth gate is steadier than a clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actrix.claims.claim import Arm, Check, Claim, Part, Training, trained

TASK = {"task": "countdown", "model": "micro", "steps": 60, "prompts": 16, "group": 8, "minibatches": 4, "epochs": 8,
        "warm_steps": 300, "rate": 5e-4, "eval_episodes": 10}  # fmt: skip
PROMPTS, SAMPLES = 200, 4
OPEN = 1e-3  # a temperature at which the gate is open: (4 / t) sigmoid(t (r - 1)) is r and a constant


def figures(run: Training) -> dict[str, float]:
    """Accuracy on test prompts, and whether training fell (1) below half of its best: means of five rounds."""
    import numpy as np

    from actrix.language.evaluate import evaluate_task

    learner: Any = run.trainer.learner
    task = run.trainer.feed.task  # type: ignore[attr-defined]
    score = evaluate_task(learner.actor, task, 1, PROMPTS, run.trainer.options.seed, samples=SAMPLES)
    smooth = np.convolve([value for _, value, _ in run.episodes], np.ones(5) / 5, "valid")
    return {"accuracy": 100 * score.pass_at[1].mean, "collapse": float(smooth[-1] < 0.5 * smooth.max())}


def arms(name: str) -> tuple[Arm, ...]:
    def arm(label: str, role: Any, system: str, settings: Mapping[str, Any]) -> Arm:
        return Arm(label, role, Part(trained(system, TASK, settings), figures, name))

    return (
        arm("sapo", "method", "sapo", {}),
        arm("grpo", "baseline", "grpo", {"clip_high": 0.27, "average": "sequence"}),
        arm("open", "ablation", "sapo", {"tau": OPEN, "tau_negative": OPEN}),
    )


claim = Claim(
    system="sapo",
    statement="A smooth gate on each token's ratio in place of a clip keeps training stable longer, and ends higher.",
    source="2511.20347, section 5",
    minutes=4,
    checks=(
        Check(
            "accuracy",
            question="After 32 gradient steps on every round's answers, is it at most a point less accurate than GRPO, "
            "and five points more than without a gate?",
            metric="share of right answers at temperature 1, per cent, 200 test prompts, after 7,680 answers",
            seeds=3,
            arms=arms("accuracy"),
            rules=("mean(sapo) >= mean(grpo) - 1", "mean(sapo) >= mean(open) + 5"),
        ),
        Check(
            "collapse",
            question="Does it collapse no more often than GRPO?",
            metric="1 where the share of right training answers ends below half of its best (means of five rounds)",
            seeds=3,
            arms=arms("collapse"),
            rules=("mean(sapo) <= mean(grpo)",),
        ),
    ),
)
