"""The claim of SAC: as good as DDPG, steady over seeds, and its learned temperature is what makes it so."""

from __future__ import annotations

import numpy as np

from actrix.claims.claim import Arm, Check, Claim, Training, trained

NETWORKS = {"hidden": (128, 128), "batch": 128}
SWING = {**NETWORKS, "env": "Pendulum-v1", "steps": 8_000, "warmup": 1_000, "eval_episodes": 10}
PENDULUM = {**SWING, "rate": 1e-3}
DDPG = {"critic_rate": 1e-3, "actor_rate": 3e-4}  # as good as 1e-3 for both on three other seeds (1000 to 1002)
CHEETAH = {**NETWORKS, "env": "HalfCheetah-v5", "steps": 30_000, "rate": 1e-3, "warmup": 1_000, "eval_episodes": 1}
BANDIT = {"hidden": (64, 64), "batch": 128, "env": "actrix.claims.worlds:TwoModes-v0", "steps": 4_000, "rate": 1e-3,
          "warmup": 500, "eval_episodes": 1, "learn_temperature": False}  # fmt: skip
TEMPERATURE = 0.2  # at which the bandit's entropy is known


def entropy_gap(run: Training) -> float:
    """Largest distance, after step 15,000, of the 2,000-step mean of -log pi from its target, per action dimension."""
    entropy = np.array([float(f["entropy"]) for f in run.figures])
    means = np.convolve(entropy, np.full(2_000, 1 / 2_000), "valid")
    late = np.array(run.steps[1_999:]) >= 15_000
    size = run.trainer.learner.spec.action_size
    return float(np.abs(means[late] + size).max() / size)


def projection_error(run: Training) -> float:
    """Relative error of the mean of -log pi over the last 1,000 updates against the entropy of the squashed Gaussian
    that is closest to exp(r / TEMPERATURE)."""
    from scipy.optimize import minimize

    starts = [(m, s) for m in np.linspace(-1, 1, 11) for s in np.linspace(-4, 1, 11)]
    start = max(starts, key=lambda x: soft_value(*x)[0])
    best = soft_value(*minimize(lambda x: -soft_value(*x)[0], start, method="Nelder-Mead").x)[1]
    learned = float(np.mean([float(f["entropy"]) for f in run.figures[-1_000:]]))
    return abs(learned - best) / abs(best)


def soft_value(mean: float, log_std: float) -> tuple[float, float]:
    """E[r] + TEMPERATURE * entropy, and the entropy, of tanh(N(mean, std)) by quadrature."""
    from actrix.claims.worlds import two_modes

    noise = np.linspace(-6, 6, 4_001)
    density = np.exp(-(noise**2) / 2)
    density /= density.sum()
    u = mean + np.exp(log_std) * noise
    spread = 2 * (np.log(2) - u - np.logaddexp(0, -2 * u))  # log of the slope of tanh
    entropy = 0.5 * np.log(2 * np.pi * np.e) + log_std + float(density @ spread)
    return float(density @ two_modes(np.tanh(u))) + TEMPERATURE * entropy, entropy


def tenth(run: Training) -> float:
    return float(run.evaluation["mean"]) / 0.1


def tenfold(run: Training) -> float:
    return float(run.evaluation["mean"]) / 10


SMALL = {**PENDULUM, "env": "actrix.claims.worlds:TenthPendulum-v1"}
LARGE = {**PENDULUM, "env": "actrix.claims.worlds:TenfoldPendulum-v1"}
FIXED = {"learn_temperature": False, "temperature": 1.0}  # the initial value, which the learned arms leave

claim = Claim(
    system="sac",
    statement="SAC with a learned temperature matches or exceeds DDPG with one set of settings, and spreads little "
    "over seeds; the temperature holds the policy's entropy at its target and absorbs the scale of the reward.",
    source="1812.05905, sections 5 and 7",
    minutes=9,
    note="Why the Pendulum check fails: DDPG solves the task too; on four of five seeds the two are within 4 points. "
    "On seed 0 SAC loses 50 points, nearly all on two of the ten starts (-517 against -120, -302 against -236); over "
    "100 other starts that policy scores -192 and DDPG's -160. The published comparison is on tasks that do not fit "
    "this budget. What was tried for the temperature check: a first attempt used the published learning rate of 3e-4 "
    "and was stopped after one seed, 0.83 nats per action off. The logarithm of the temperature then moves at most 0.3 "
    "per 1,000 updates, and the entropy came within 0.1 nats per action of its target only by step 22,000 (on a seed "
    "outside the claim). The rate was set to that of the Pendulum checks, 1e-3; no threshold was changed.",
    checks=(
        Check(
            "pendulum",
            question="Does every seed solve Pendulum, and does the worst one beat the worst of DDPG?",
            metric="mean return of 10 final episodes after 8,000 steps",
            seeds=5,
            arms=(
                Arm("sac", "method", trained("sac", PENDULUM)),
                Arm("ddpg", "baseline", trained("ddpg", SWING, DDPG)),
            ),
            rules=("min(sac) >= -220", "min(sac) > min(ddpg)"),
        ),
        Check(
            "temperature",
            question="Does the learned temperature hold the entropy at its target on HalfCheetah?",
            metric="largest distance of the 2,000-step mean entropy from its target after step 15,000, nats per action",
            seeds=2,
            arms=(
                Arm("learned", "method", trained("sac", CHEETAH, measure=entropy_gap)),
                Arm("fixed", "ablation", trained("sac", CHEETAH, FIXED, measure=entropy_gap)),
            ),
            rules=("max(learned) <= 0.5", "min(fixed) > 0.5"),
        ),
        Check(
            "bandit",
            question="Is the entropy at a fixed temperature that of the best squashed Gaussian on a two-mode bandit?",
            metric="relative error of the entropy",
            seeds=3,
            arms=(
                Arm(
                    "entropy", "method", trained("sac", BANDIT, {"temperature": TEMPERATURE}, measure=projection_error)
                ),
                Arm("greedy", "ablation", trained("sac", BANDIT, {"temperature": 1e-3}, measure=projection_error)),
            ),
            rules=("max(entropy) <= 0.1", "min(greedy) > 0.1"),
        ),
        Check(
            "scale",
            question="Does the scale of the reward (0.1, 1, 10) matter only where the temperature is fixed?",
            metric="mean return of 10 final episodes of Pendulum, divided by the scale",
            seeds=3,
            arms=(
                Arm("learned", "method", trained("sac", PENDULUM)),
                Arm("learned_tenth", "method", trained("sac", SMALL, measure=tenth)),
                Arm("learned_tenfold", "method", trained("sac", LARGE, measure=tenfold)),
                Arm("fixed", "ablation", trained("sac", PENDULUM, FIXED)),
                Arm("fixed_tenth", "ablation", trained("sac", SMALL, FIXED, measure=tenth)),
                Arm("fixed_tenfold", "ablation", trained("sac", LARGE, FIXED, measure=tenfold)),
            ),
            rules=(
                "max(apart(learned_tenth, learned), apart(learned_tenfold, learned)) <= 0.15",
                "max(apart(fixed_tenth, fixed), apart(fixed_tenfold, fixed)) > 0.15",
            ),
        ),
    ),
)
