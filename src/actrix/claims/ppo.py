"""The claim of PPO: the clip makes several passes over the same experience safe, and they make it learn faster."""

from __future__ import annotations

import numpy as np

from actrix.claims.claim import Arm, Check, Claim, Training, trained
from actrix.claims.measures import late_return

PENDULUM = {"env": "InvertedDoublePendulum-v5", "steps": 40_000, "eval_episodes": 1}
HOPPER = {"env": "Hopper-v5", "steps": 20_000, "eval_episodes": 1}
PPO = {"envs": 4, "horizon": 512}  # 10 epochs in minibatches of 64, clip 0.2
NO_CLIP = {"clip": 1e9}
ONE_EPOCH = {"epochs": 1}
A2C = {"envs": 16, "horizon": 5, "entropy_weight": 0.0, "normalise_obs": True}  # the settings for continuous actions
BRIEF = {**PENDULUM, "steps": 8_192}  # four batches of experience


def distance(run: Training) -> float:
    """Mean over the batches of KL(behaviour || policy) in the last minibatch, nats."""
    return float(np.mean([f["kl"] for f in run.figures]))


claim = Claim(
    system="ppo",
    statement="The clipped objective keeps the policy close to the one that gathered the experience, so that ten "
    "passes over each batch help: it learns better than the same without a clip, with one pass, and than A2C.",
    source="1707.06347, sections 3, 6.1 (table 1) and 6.2 (figure 3)",
    minutes=5,
    note="On Hopper the arm without clipping is ahead in the mean, and twice as spread: in 20,000 steps, ten updates "
    "of ten passes, moving far is not yet punished. The distance check shows what clipping does there: without "
    "it the policy ends 2.2 nats from where it acted, with it 0.04.",
    checks=(
        Check(
            "pendulum",
            question="On InvertedDoublePendulum, is PPO better than without clip, with one epoch, and than A2C?",
            metric="mean return of the training episodes in the second half of 40,000 steps",
            seeds=5,
            arms=(
                Arm("ppo", "method", trained("ppo", PENDULUM, PPO, measure=late_return)),
                Arm("no_clip", "ablation", trained("ppo", PENDULUM, PPO, NO_CLIP, measure=late_return)),
                Arm("one_epoch", "ablation", trained("ppo", PENDULUM, PPO, ONE_EPOCH, measure=late_return)),
                Arm("a2c", "baseline", trained("a2c", PENDULUM, A2C, measure=late_return)),
            ),
            rules=("low(ppo - no_clip) > 0", "low(ppo - one_epoch) > 0", "low(ppo - a2c) > 0"),
        ),
        Check(
            "hopper",
            question="And on Hopper?",
            metric="mean return of the training episodes in the second half of 20,000 steps",
            seeds=3,
            arms=(
                Arm("ppo", "method", trained("ppo", HOPPER, PPO, measure=late_return)),
                Arm("no_clip", "ablation", trained("ppo", HOPPER, PPO, NO_CLIP, measure=late_return)),
                Arm("one_epoch", "ablation", trained("ppo", HOPPER, PPO, ONE_EPOCH, measure=late_return)),
                Arm("a2c", "baseline", trained("a2c", HOPPER, A2C, measure=late_return)),
            ),
            rules=("mean(ppo) > mean(no_clip)", "mean(ppo) > mean(one_epoch)", "mean(ppo) > mean(a2c)"),
        ),
        Check(
            "distance",
            question="Is it the clip that keeps the policy near in ten epochs?",
            metric="KL from the behaviour policy in the last minibatch of a batch, nats, mean over four batches",
            seeds=3,
            arms=(
                Arm("ppo", "method", trained("ppo", BRIEF, PPO, measure=distance)),
                Arm("no_clip", "ablation", trained("ppo", BRIEF, PPO, NO_CLIP, measure=distance)),
            ),
            rules=("max(ppo) <= 0.05", "min(no_clip) >= 2 * max(ppo)"),
        ),
    ),
)
