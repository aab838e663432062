"""The claim of DDPG: with replay and target networks a deep deterministic actor-critic is stable, and values truly."""

from __future__ import annotations

from actrix.claims.claim import Arm, Check, Claim, Training, trained
from actrix.claims.measures import judged_states

PENDULUM = {
    "env": "Pendulum-v1", "steps": 8_000, "hidden": (64, 64), "batch": 64, "warmup": 1_000, "eval_episodes": 10,
    "critic_rate": 1e-3, "actor_rate": 3e-4,
}  # fmt: skip
NO_TARGET = {"target_rate": 1.0}  # the target networks are the networks themselves
NO_REPLAY = {"capacity": 64}  # one batch: every update learns from the latest experience only


def explained(run: Training) -> float:
    """Share of the variance of the true discounted returns that the critic explains: 1 - mean (Q - G)^2 / var G."""
    estimates, returns = judged_states(run, "actrix.claims.worlds:LongPendulum-v1")
    return float(1 - ((estimates - returns) ** 2).mean() / returns.var())


claim = Claim(
    system="ddpg",
    statement="Replay and target networks make deep deterministic policy gradients stable: learning without target "
    "networks is poor; and on simple tasks such as the pendulum the critic estimates returns accurately.",
    source="1509.02971, sections 3 and 4 (figures 2 and 3)",
    minutes=3,
    note="Four of five seeds solve the task, and one (-649) does not. Without target networks or without replay "
    "every seed fails; the two rules that fail ask every seed of the method to succeed.",
    checks=(
        Check(
            "pendulum",
            question="Does DDPG swing the pendulum up, and does that need the target networks and the replay?",
            metric="mean return of 10 final episodes after 8,000 steps",
            seeds=5,
            arms=(
                Arm("ddpg", "method", trained("ddpg", PENDULUM)),
                Arm("no_target", "ablation", trained("ddpg", PENDULUM, NO_TARGET)),
                Arm("no_replay", "ablation", trained("ddpg", PENDULUM, NO_REPLAY)),
            ),
            rules=("min(ddpg) >= -300", "low(ddpg - no_target) > 0", "low(ddpg - no_replay) > 0"),
        ),
        Check(
            "values",
            question="Does the critic say what the policy will earn, and does that need the target networks?",
            metric="share of the variance of true discounted returns along 10 greedy episodes that Q explains",
            seeds=3,
            arms=(
                Arm("ddpg", "method", trained("ddpg", PENDULUM, measure=explained)),
                Arm("no_target", "ablation", trained("ddpg", PENDULUM, NO_TARGET, measure=explained)),
            ),
            rules=("min(ddpg) >= 0.8", "max(no_target) < min(ddpg)"),
        ),
    ),
)
