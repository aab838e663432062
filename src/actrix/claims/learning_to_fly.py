"""The claim of Learning to Fly: 300,000 steps are enough to hover, thanks to privileges and history."""

from __future__ import annotations

import numpy as np

from actrix.claims.claim import Arm, Check, Claim, Training, trained

HOVER = {"env": "actrix.envs.quadrotor:Hover-v0", "steps": 300_000, "eval_episodes": 1}
FIRST = {**HOVER, "steps": 130_000}
STARTS = range(1_000_000, 1_001_000)  # seeds of episodes that no training draws
NEAR = 0.15  # m, mean distance from the goal over the last two seconds


def hovering(run: Training) -> float:
    """Share of 1,000 starts, none of them at the goal, that never leave the box and end within NEAR of the goal."""
    import torch

    from actrix.envs.quadrotor import Ranges, thousand

    def act(rows: np.ndarray) -> np.ndarray:
        return run.trainer.learner.act(torch.from_numpy(rows), "mean").action.numpy()

    return float((thousand(act, STARTS, ranges=Ranges(guidance=0.0))["error"] < NEAR).mean())


def spike(run: Training) -> float:
    """Largest critic loss (means over 1,000 steps) in the 10,000 steps after the first change of the reward, divided
    by its mean over the 10,000 steps before."""
    steps, loss = np.array(run.steps), np.array([f["critic"] for f in run.figures])
    before = loss[(steps >= 90_000) & (steps < 100_000)].mean()
    after = [loss[(steps >= s) & (steps < s + 1_000)].mean() for s in range(100_000, 110_000, 1_000)]
    return float(max(after) / before)


FLY = Arm("fly", "method", trained("learning-to-fly", HOVER, measure=hovering))
SYMMETRIC = trained("learning-to-fly", HOVER, {"asymmetric": False}, measure=hovering)
BLIND = trained("learning-to-fly", HOVER, {"history": False}, measure=hovering)
MIXED = {"relabel": False}

claim = Claim(
    system="learning-to-fly",
    statement="End-to-end control of a quadrotor's rotors is learned in 300,000 steps; a critic that sees disturbances "
    "and rotor speeds, an actor that sees its past actions, and rewards recomputed when they change, each help.",
    source="2311.13081, sections III and IV",
    minutes=10,
    note="",
    checks=(
        Check(
            "hover",
            question="Does the policy hover from over 90 % of the starts, with unknown mass, thrust and rotor lag?",
            metric="share of 1,000 starts that end within 0.15 m of the goal",
            seeds=3,
            arms=(FLY, Arm("mixed", "ablation", trained("learning-to-fly", HOVER, MIXED, measure=hovering))),
            rules=("min(fly) > 0.9",),
        ),
        Check(
            "privileges",
            question="Is the policy worse where the critic sees only what the actor sees?",
            metric="share of 1,000 starts that end within 0.15 m of the goal",
            seeds=3,
            arms=(FLY, Arm("symmetric", "ablation", SYMMETRIC)),
            rules=("mean(symmetric) < mean(fly)",),
        ),
        Check(
            "history",
            question="Does the policy fail more than twice as often where it does not see its past actions?",
            metric="share of 1,000 starts that end within 0.15 m of the goal",
            seeds=3,
            arms=(FLY, Arm("blind", "ablation", BLIND)),
            rules=("1 - mean(blind) > 2 * (1 - mean(fly))",),
        ),
        Check(
            "relabelling",
            question="Does the critic's loss jump at the first change of the reward where old rewards are kept, only?",
            metric="largest critic loss after the change, relative to before",
            seeds=3,
            arms=(
                Arm("fly", "method", trained("learning-to-fly", FIRST, measure=spike)),
                Arm("mixed", "ablation", trained("learning-to-fly", FIRST, MIXED, measure=spike)),
            ),
            rules=("min(mixed) > 3", "max(fly) <= 3"),
        ),
    ),
)
