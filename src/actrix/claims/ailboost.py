"""The claim of AILBoost: what is rewarded is told apart from a mixture that is really played, and that is worth it."""

from __future__ import annotations

from typing import Any

import numpy as np

from actrix.claims.claim import Arm, Check, Claim, Training
from actrix.claims.recordings import OnData, on

SMALL = {
    "hidden": (64, 64), "batch": 128, "rate": 1e-3, "target_rate": 0.02, "temperature": 0.1, "updates_per_step": 0.5,
    "discriminator_rate": 1e-3, "mixing": 0.5, "eval_episodes": 10, "checkpoint_every": 10_000,
}  # fmt: skip
TASKS: dict[str, dict[str, Any]] = {
    "pendulum-few": {
        "env": "Pendulum-v1", "steps": 5_000, "warmup": 400, "eval_every": 500, "discount": 0.98,
        "round_steps": 400, "shown_steps": 200, "discriminator_steps": 200,
    },
    "homing-best": {
        "env": "actrix.claims.worlds:Homing-v0", "steps": 3_000, "warmup": 200, "eval_every": 300, "discount": 0.95,
        "round_steps": 160, "shown_steps": 40, "discriminator_steps": 80,
    },
}  # fmt: skip
BOUNDS = {"Pendulum-v1": (-1_200.0, -140.0), "actrix.claims.worlds:Homing-v0": (-24.33, -6.97)}  # random, the expert
LOGISTIC = {"divergence": "jensen-shannon", "bounded": False}
CLONING = {"hidden": (64, 64), "batch": 128, "rate": 1e-3, "actor": "deterministic", "eval_episodes": 10}


def share(run: Training, value: float) -> float:
    """A return as a share of the way from random actions to the expert."""
    low, high = BOUNDS[str(run.trainer.options.env)]
    return (value - low) / (high - low)


def curve(run: Training) -> float:
    """Mean of the ten evaluations of a run: the area under its curve."""
    return float(np.mean([share(run, value) for value in run.scores.values()]))


def final(run: Training) -> float:
    """The last evaluation."""
    return share(run, float(run.evaluation["mean"]))


def arm(data: str, variant: str = "", **settings: Any) -> OnData:
    """AILBoost, or a variant of it, on a task."""
    return on(data, "ailboost", SMALL, TASKS[data], settings, measure=curve, variant=variant)


def cloned(data: str) -> OnData:
    """Behaviour cloning of the same data: 2,000 updates."""
    return on(data, "bc", CLONING, {"env": TASKS[data]["env"], "steps": 2_000}, measure=final)


def check(name: str, data: str, question: str) -> Check:
    steps = TASKS[data]["steps"]
    return Check(
        name,
        question=question,
        metric="share of the way from the return of random actions to the expert's: mean of ten evaluations over "
        f"{steps:,} environment steps, all that are made counted; of cloning, the end",
        seeds=3,
        arms=(
            Arm("ailboost", "method", arm(data)),
            Arm("even", "ablation", arm(data, "adversarial:Even")),
            Arm("dac", "baseline", arm(data, "adversarial:DAC", **LOGISTIC)),
            Arm("bc", "baseline", cloned(data)),
        ),
        rules=(
            "mean(ailboost) >= 1.05 * mean(dac)",
            "mean(ailboost) >= mean(even)",
            "mean(ailboost) >= mean(bc)",
        ),
    )


claim = Claim(
    system="ailboost",
    statement="From few demonstrations AILBoost comes nearer to the expert than DAC, in the same number of steps of "
    "the environment, and than behaviour cloning.",
    source="2404.08513, section 5",
    minutes=8,
    note="DAC is ahead on every seed of both tasks, and the mixture's weights make no difference that could be told "
    "from chance. The likely reason is the size. Here there are 8 rounds on Pendulum and 14 on Homing, in the "
    "paper hundreds: a third and a fifth of the steps are spent on showing what a policy does, the mixture that "
    "is judged still holds the first ones, the discriminator moves once in a round and not with every update, and "
    "what was done while learning is thrown away. The claim is about tasks in which DAC has trouble, and in these "
    "two it has none. On Homing the expert is nearly linear, and cloning is as good as it. Fixed before the run: "
    "the rules, which are the published direction with a margin of 5 %. Tried on seed 1000, with 1,000 steps "
    "more: mixing 0.2 with rounds of 200 and 200 steps had 0.01 on Pendulum, the settings here 0.49, DAC 0.70 (at "
    "its first settings); on Homing 0.23, 0.46 and 0.64. At the end of those runs all were at the expert's level "
    "on Pendulum but the first. Three seeds; no task that terminates, no locomotion, no images, no distance "
    "between distributions.",
    checks=(
        check("pendulum", "pendulum-few", "From one episode of a controller, is it ahead of DAC by a twentieth?"),
        check("homing", "homing-best", "From five ways home, is it ahead of DAC by a twentieth?"),
    ),
)
