"""The claim of SRL: looking at every fourth step it does better than SAC, thanks to its model."""

from __future__ import annotations

from typing import Any

from actrix.claims.claim import Arm, Check, Claim, Part, Training, trained

INTERVALS = (1, 2, 4, 8)
EPISODES = 20
SMALL = {
    "env": "Pendulum-v1", "steps": 4_000, "hidden": (64, 64), "batch": 128, "rate": 1e-3, "target_rate": 0.01,
    "temperature": 0.2, "warmup": 500, "eval_episodes": 1,
}  # fmt: skip
MODEL = {"length": 8, "model_hidden": (64, 64), "delay": 4}
HELD = {  # SAC on eight steps at a time: with as many steps of the environment, updates, and discount of a step
    "env": "actrix.claims.worlds:EightfoldPendulum-v1", "steps": 500, "warmup": 62, "updates_per_step": 8.0,
    "discount": 0.99**8,
}  # fmt: skip


def returns(run: Training) -> dict[str, float]:
    """Mean return of 20 episodes of Pendulum by who looks at every first, second, fourth or eighth step, by that
    number; and the mean of the four. A policy that says one action does it again until it looks."""
    found = {str(j): looking(run, j) for j in INTERVALS}
    return {**found, "mean": sum(found.values()) / len(found)}


def looking(run: Training, interval: int) -> float:
    """The same for one interval."""
    import numpy as np
    import torch

    from actrix.envs.many import make_worlds
    from actrix.rng import seed_of, torch_stream

    learner = run.trainer.learner
    actor: Any = learner.actor
    worlds = make_worlds("Pendulum-v1", EPISODES)
    obs, _ = worlds.reset([seed_of(run.trainer.options.seed, "looking", i) % 2**31 for i in range(EPISODES)])
    total, memory, action = np.zeros(EPISODES), None, np.empty(0)
    if hasattr(actor, "interval"):
        actor.interval = interval
    with torch_stream(run.trainer.options.seed, "looking"):
        for t in range(200):
            if t % interval == 0 or hasattr(actor, "interval"):
                decided, memory = learner.exploit(torch.from_numpy(obs), None, memory)
                action = decided.action.numpy()
            out = worlds.step(action)
            total, obs = total + out.reward, out.obs
    worlds.close()
    return float(total.mean())


SRL = trained("sequence-rl", SMALL, MODEL)
STILL = trained("sequence-rl", SMALL, MODEL, variant="sequences:Still")
SAC = trained("sac", SMALL)
SLOW_SAC = trained("sac", SMALL, HELD)

claim = Claim(
    system="sequence-rl",
    statement="Deciding rarely, SRL does much better than SAC; at every step, about as well.",
    source="2410.08979, section 5",
    minutes=5,
    checks=(
        Check(
            "rarely",
            question="Looking at every eighth step, is it ahead of SAC by 150, and is half of that its model's?",
            metric=f"mean return of {EPISODES} episodes of Pendulum, looked at every eighth step, after 4,000 steps",
            seeds=3,
            arms=(
                Arm("srl", "method", Part(SRL, returns, "8")),
                Arm("sac", "baseline", Part(SAC, returns, "8")),
                Arm("slow_sac", "baseline", Part(SLOW_SAC, returns, "8")),
                Arm("still", "ablation", Part(STILL, returns, "8")),
            ),
            rules=(
                "mean(srl) >= mean(sac) + 150",
                "mean(still) - mean(sac) <= 0.5 * (mean(srl) - mean(sac))",
            ),
        ),
        Check(
            "always",
            question="Looking at every step, is it within 15 % of SAC; and ahead over intervals of 1 to 8?",
            metric="mean return at an interval of 1, and the mean over intervals of 1, 2, 4 and 8",
            seeds=3,
            arms=(
                Arm("srl", "method", Part(SRL, returns, "1")),
                Arm("sac", "baseline", Part(SAC, returns, "1")),
                Arm("srl_mean", "method", Part(SRL, returns, "mean")),
                Arm("sac_mean", "baseline", Part(SAC, returns, "mean")),
            ),
            rules=("apart(srl, sac) <= 0.15", "mean(srl_mean) > mean(sac_mean)"),
        ),
    ),
)
