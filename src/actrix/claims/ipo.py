"""The claim of IPO: the divergence weight counts also where preferences are certain, which DPO forgets."""

from __future__ import annotations

from actrix.claims.claim import Arm, Check, Claim, Trained, Training, trained

GAME = {"task": "game:ladder-3", "model": "table", "warm_steps": 0, "steps": 600, "prompts": 16, "group": 16,
        "rate": 0.05, "eval_episodes": 2}  # fmt: skip


def best(run: Training) -> float:
    """The policy's probability of the best answer."""
    from actrix.run.preference import answer_logp

    learner = run.trainer.learner
    return float(answer_logp(learner.actor, run.trainer.feed.task)[0].exp())  # type: ignore[arg-type, attr-defined]


def expected(seed: int) -> float:
    """The same of IPO's solution at beta 1: log-ratios 1/3, 0, -1/3 fit 1/2 for every pair best."""
    import math

    each = [math.exp(x) for x in (1 / 3, 0.0, -1 / 3)]
    return each[0] / sum(each)


def arm(system: str, beta: float) -> Trained:
    return trained(system, GAME, {"beta": beta, "dataset": 32}, measure=best)


claim = Claim(
    system="ipo",
    statement="Where preferences are certain, DPO goes to the best answer whatever the weight of the divergence, and "
    "IPO stays where that weight says.",
    source="2310.12036, section 5",
    minutes=2,
    checks=(
        Check(
            "certain",
            question="Three answers in a strict order: does the policy heed beta?",
            metric="probability of the best answer after 600 updates",
            seeds=5,
            arms=(
                Arm("ipo", "method", arm("ipo", 1.0)),
                Arm("ipo_tenth", "method", arm("ipo", 0.1)),
                Arm("solution", "control", expected),
                Arm("dpo", "baseline", arm("dpo", 1.0)),
                Arm("dpo_tenth", "baseline", arm("dpo", 0.1)),
            ),
            rules=("apart(ipo, solution) <= 0.1", "mean(ipo_tenth) >= 1.5 * mean(ipo)", "min(dpo) >= 0.95"),
        ),
    ),
)
