"""The claim of discrete SAC: expectations over choices as exact sums; untuned, it competes with Q-learning."""

from __future__ import annotations

import numpy as np

from actrix.claims.claim import Arm, Check, Claim, Training, trained

CARTPOLE = {
    "env": "CartPole-v1", "steps": 6_000, "hidden": (64, 64), "rate": 1e-3, "batch": 64, "warmup": 500,
    "updates_per_step": 1.0, "eval_episodes": 20,
}  # fmt: skip
DQN = {"target_every": 200, "epsilon_steps": 2_000}
SAMPLED = {"exact": False}  # every expectation over choices is estimated from one drawn choice
LAYERS = {
    "env": "actrix.claims.worlds:Layers-v0", "steps": 6_000, "hidden": (64, 64), "rate": 1e-3, "batch": 64,
    "warmup": 500, "target_rate": 0.02, "learn_temperature": False, "temperature": 0.5, "eval_episodes": 1,
}  # fmt: skip


def divergence(run: Training) -> float:
    """Mean over the states of `Layers` of KL(best || policy), nats; the best soft policy is known by recursion."""
    import torch

    from actrix.claims.worlds import soft_optimal

    learner = run.trainer.learner
    best = soft_optimal(learner.config.discount, learner.config.temperature)
    with torch.no_grad():
        logp = learner.actor.logps(torch.eye(len(best)))[0].numpy()  # type: ignore[operator]
    return float((best * (np.log(best) - logp)).sum(-1).mean())


claim = Claim(
    system="sac-discrete",
    statement="For discrete actions the expectations in soft actor-critic are computed exactly, which takes their "
    "variance away; without tuning the result is competitive with a tuned deep Q-learner at a small budget.",
    source="1910.07207, sections 3 (equations 4 to 12) and 4 (table 1)",
    minutes=3,
    checks=(
        Check(
            "optimum",
            question="Does the policy reach the known soft optimum of a small world, closer than with sampling?",
            metric="mean KL from the soft-optimal policy after 6,000 steps, nats",
            seeds=3,
            arms=(
                Arm("exact", "method", trained("sac-discrete", LAYERS, measure=divergence)),
                Arm("sampled", "ablation", trained("sac-discrete", LAYERS, SAMPLED, measure=divergence)),
            ),
            rules=("max(exact) <= 0.02", "mean(sampled) >= 2 * mean(exact)"),
        ),
        Check(
            "cartpole",
            question="Is it as good as DQN on CartPole at 6,000 steps, and better than with sampled expectations?",
            metric="mean return of 20 final greedy episodes",
            seeds=5,
            arms=(
                Arm("exact", "method", trained("sac-discrete", CARTPOLE)),
                Arm("sampled", "ablation", trained("sac-discrete", CARTPOLE, SAMPLED)),
                Arm("dqn", "baseline", trained("dqn", CARTPOLE, DQN)),
            ),
            rules=("mean(exact) >= 0.9 * mean(dqn)", "low(exact - sampled) > 0"),
        ),
    ),
)
