"""The claim of DSAC-T: the scale of rewards does not matter to it, and its critics know how far returns spread."""

from __future__ import annotations

import numpy as np

from actrix.claims.claim import Arm, Check, Claim, Training, trained

NETWORKS = {"hidden": (64, 64), "batch": 128, "rate": 1e-3}
PENDULUM = {**NETWORKS, "env": "actrix.claims.worlds:PlainPendulum-v1", "steps": 12_000, "warmup": 1_000,
            "eval_episodes": 10}  # fmt: skip
TENTH = {**PENDULUM, "env": "actrix.claims.worlds:TenthPendulum-v1"}
TENFOLD = {**PENDULUM, "env": "actrix.claims.worlds:TenfoldPendulum-v1"}
# as SAC has them; targets move at every second update only, and so twice as far
LEARNED = {"temperature_rate": 1e-3, "temperature": 1.0, "target_rate": 0.01}
FIRST = {"members": 1, "expected_target": False, "bound": 10.0, "adaptive_weight": False, "huber": 1e6}  # DSACv1
CHAIN = {**NETWORKS, "batch": 256, "steps": 3_000, "warmup": 500, "eval_episodes": 1, "target_rate": 0.02,
         "learn_temperature": False, "temperature": 1e-6}  # fmt: skip
QUIET = {**CHAIN, "env": "actrix.claims.worlds:QuietChain-v0"}
LOUD = {**CHAIN, "env": "actrix.claims.worlds:LoudChain-v0"}


def tenth(run: Training) -> float:
    return float(run.evaluation["mean"]) / 0.1


def tenfold(run: Training) -> float:
    return float(run.evaluation["mean"]) / 10


def quiet(run: Training) -> float:
    return miscalibration(run, 1.0)


def loud(run: Training) -> float:
    return miscalibration(run, 10.0)


def miscalibration(run: Training, std: float) -> float:
    """Largest relative error, over the positions of the chain, of the critics' standard deviation (mean of critics
    and of 100 actions) against that of the return."""
    import torch

    from actrix.claims.worlds import NoisyChain

    learner, length = run.trainer.learner, NoisyChain.length
    obs, action = torch.eye(length).repeat_interleave(100, 0), torch.linspace(-1, 1, 100).repeat(length)[:, None]
    with torch.no_grad():
        learned = learner.critic(obs, action).std.mean(0).unflatten(0, (length, 100)).mean(1).numpy()  # type: ignore[operator]
    left = np.cumsum(learner.config.discount ** (2 * np.arange(length)))[::-1]
    return float(np.abs(learned / (std * np.sqrt(left)) - 1).max())


claim = Claim(
    system="dsac-t",
    statement="DSAC-T matches or exceeds SAC with one set of settings, and performs alike on rewards of any scale, "
    "where DSACv1, without the three refinements, does not.",
    source="2310.05858, section 6; sizes were chosen before running: published tasks do not fit this budget",
    minutes=8,
    note="Why the scale check fails: DSAC-T is as invariant as published, but so is DSACv1, which solves Pendulum at "
    "every scale, as SAC does. Adam removes the common scale of a gradient, and Pendulum's returns have little noise, "
    "which is what the refinements are against; the published tasks (Hopper and larger) do not fit this budget. Where "
    "returns are noisy, the calibration check shows what the fixed bound costs. Tried before, on seed 1000 only: 8,000 "
    "steps with the published target rate, too few for either (DSAC-T -297, -100 and -722 at scales 1, 0.1 and 10; "
    "DSACv1 -455, -358 and -782); and no Huber bound, which changed nothing. No threshold was changed.",
    checks=(
        Check(
            "scale",
            question="Does the scale of the reward (0.1, 1, 10) matter less than to DSACv1?",
            metric="mean return of 10 final episodes of Pendulum after 12,000 steps, divided by the scale",
            seeds=3,
            arms=(
                Arm("dsac_t", "method", trained("dsac-t", PENDULUM, LEARNED)),
                Arm("dsac_t_tenth", "method", trained("dsac-t", TENTH, LEARNED, measure=tenth)),
                Arm("dsac_t_tenfold", "method", trained("dsac-t", TENFOLD, LEARNED, measure=tenfold)),
                Arm("first", "ablation", trained("dsac-t", PENDULUM, LEARNED, FIRST)),
                Arm("first_tenth", "ablation", trained("dsac-t", TENTH, LEARNED, FIRST, measure=tenth)),
                Arm("first_tenfold", "ablation", trained("dsac-t", TENFOLD, LEARNED, FIRST, measure=tenfold)),
                Arm("sac", "baseline", trained("sac", PENDULUM)),
            ),
            rules=(
                "max(mean(dsac_t), mean(dsac_t_tenth), mean(dsac_t_tenfold)) - min(mean(dsac_t), mean(dsac_t_tenth), "
                "mean(dsac_t_tenfold)) < 0.2 * mean(abs(dsac_t))",
                "max(mean(first), mean(first_tenth), mean(first_tenfold)) - min(mean(first), mean(first_tenth), "
                "mean(first_tenfold)) > 2 * (max(mean(dsac_t), mean(dsac_t_tenth), mean(dsac_t_tenfold)) - "
                "min(mean(dsac_t), mean(dsac_t_tenth), mean(dsac_t_tenfold)))",
                "mean(dsac_t) >= 1.1 * mean(sac)",
            ),
        ),
        Check(
            "calibration",
            question="Do the critics learn the standard deviation of returns on a chain where it is known?",
            metric="largest relative error of the standard deviation over the chain's positions",
            seeds=3,
            arms=(
                Arm("quiet", "method", trained("dsac-t", QUIET, measure=quiet)),
                Arm("loud", "method", trained("dsac-t", LOUD, measure=loud)),
                Arm("first_loud", "ablation", trained("dsac-t", LOUD, FIRST, measure=loud)),
            ),
            rules=("max(quiet) <= 0.2", "max(loud) <= 0.2", "min(first_loud) > 0.2"),
        ),
    ),
)
