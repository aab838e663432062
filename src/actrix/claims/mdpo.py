"""The claim of MDPO: many gradient steps on each step of mirror descent pay, as a price on the distance holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from actrix.claims.claim import Arm, Check, Claim, Part, Training, trained
from actrix.claims.measures import late_return

STEPS = 40_000
PENDULUM = {"env": "InvertedDoublePendulum-v5", "steps": STEPS, "eval_episodes": 1, "envs": 4, "horizon": 512}
MDPO = {"minibatch": 64, "anneal": STEPS, "step_size": 3.0}  # as many gradient steps as PPO by default: 320 a batch
ONE_STEP = {"epochs": 1, "minibatch": 0}  # the old policy is where the new one is: nothing is priced
NO_PRICE = {"step_size": 1e9, "anneal": 0}


def found(run: Training) -> Mapping[str, float]:
    """The return, and the mean over the batches of KL(policy || the one that acted) in the last minibatch, nats."""
    return {"late": late_return(run), "distance": float(np.mean([f["kl"] for f in run.figures]))}


def arm(name: str, role: Any, figure: str, system: str = "mdpo", *settings: Mapping[str, Any]) -> Arm:
    return Arm(name, role, Part(trained(system, PENDULUM, *settings), found, figure))


def arms(figure: str) -> tuple[Arm, ...]:
    return (
        arm("mdpo", "method", figure, "mdpo", MDPO),
        arm("one_step", "ablation", figure, "mdpo", MDPO, ONE_STEP),
        arm("no_price", "ablation", figure, "mdpo", MDPO, NO_PRICE),
        arm("ppo", "baseline", figure, "ppo"),
    )


claim = Claim(
    system="mdpo",
    statement="On-policy MDPO matches or beats PPO; it needs several gradient steps on each batch (with one it is a "
    "policy gradient), and the divergence in its objective, without clipping or a hard trust region, keeps them safe.",
    source="2005.09814, sections 4.1 and 6.2",
    minutes=6,
    note="The rule that fails is that of PPO: MDPO reaches 0.91 of its return (0.95 was asked), 246 to 280 against"
    " 274 to 313. Several steps, and the price on the distance, matter as claimed: without a price the policy"
    " goes 0.8 nats and more in every batch, and ends a little lower. A likely reason for the gap: the step "
    "size falls to 0 over the run, as the authors recommend, while PPO's clip and learning rate stay; a "
    "constant step was not tried. Chosen on seed 1,000 in runs of 24,000 steps: minibatches of 64 (as PPO; "
    "128 gave less) and a step size of 3 (1 gave 121, 3 gave 150, PPO 150). There no price at all gave 187; "
    "over 40,000 steps it does not stay ahead. With one step the value is fitted once a batch too, so that "
    "arm lacks more than steps of the policy. Rules were fixed before, that of the distance after seeing seed"
    " 1,000.",
    checks=(
        Check(
            "pendulum",
            question="On InvertedDoublePendulum, is it as good as PPO, and better than with one step or no price?",
            metric=f"mean return of the training episodes in the second half of {STEPS:,} steps",
            seeds=3,
            arms=arms("late"),
            rules=(
                "mean(mdpo) >= 1.25 * mean(one_step)",
                "mean(mdpo) > mean(no_price)",
                "mean(mdpo) >= 0.95 * mean(ppo)",
            ),
        ),
        Check(
            "distance",
            question="Is it the price that keeps the policy near the one that acted?",
            metric="KL from the policy that acted, in the last minibatch of a batch, nats, mean over the batches; for "
            "PPO its estimate of KL the other way round",
            seeds=3,
            arms=arms("distance"),
            rules=("max(mdpo) <= 0.1", "min(no_price) >= 5 * max(mdpo)"),
        ),
    ),
)
