"""Every control system learns: on a real environment, from what an untrained policy gets to what none does.

Scores are means of 10 evaluation episodes. CartPole-v1: 500 is perfect; untrained policies got 9 to 32 (once
171, by the tanh network of PPO and A2C). Pendulum-v1: about -150 is as good as it gets; untrained ones got
-1,160 to -1,520. Each row says what seeds 0, 1 and 2 scored, and the seconds of processor time (one thread,
on a busy machine).
"""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from actrix import registry
from actrix.run.trainer import RunOptions, Trainer

REPLAY = {"hidden": (64, 64), "batch": 64, "warmup": 500}
ROWS: list[tuple[str, str, int, float, dict[str, Any]]] = [
    # 500, 500, 500; 2 s
    ("ppo", "CartPole-v1", 20_000, 300.0, {
        "horizon": 128, "envs": 8, "minibatch": 256, "epochs": 4, "rate": 2.5e-3, "entropy_weight": 0.01,
    }),
    # 500, 500, 500; 4 s
    ("a2c", "CartPole-v1", 80_000, 250.0, {"horizon": 16, "envs": 8, "rate": 3e-3}),
    # 148, 190, 232; 6 s
    ("dqn", "CartPole-v1", 8_000, 90.0, {
        "hidden": (120, 84), "rate": 1e-3, "batch": 128, "double": True,
        "target_every": 100, "epsilon_steps": 4_000,
    }),
    # 213, 206, 237; 8 s
    ("sac-discrete", "CartPole-v1", 5_000, 120.0, {
        **REPLAY, "batch": 128, "rate": 1e-3, "target_entropy": 0.3, "target_rate": 0.01,
    }),
    # -170, -167, -182; 9 s
    ("sac", "Pendulum-v1", 5_000, -400.0, {**REPLAY, "rate": 1e-3}),
    # -155, -157, -177; 6 s
    ("td3", "Pendulum-v1", 6_000, -400.0, {**REPLAY, "rate": 1e-3, "noise": 0.2, "target_rate": 0.01}),
    # -160, -155, -191; 6 s
    ("ddpg", "Pendulum-v1", 5_000, -400.0, {**REPLAY, "actor_rate": 1e-3}),
]  # fmt: skip


def learn(slug: str, env: str, steps: int, settings: dict[str, Any], seed: int = 0) -> tuple[float, float]:
    """Scores before and after."""
    options = RunOptions(env=env, steps=steps, seed=seed, eval_every=steps, compile="no", threads=1)
    trainer = Trainer.start(slug, options, registry.load(slug).config(**settings))
    before = trainer.evaluate()["mean"]
    evaluations = [report.evaluation for report in trainer if report.evaluation]
    trainer.close()
    return before, evaluations[-1]["mean"]


@pytest.mark.slow
@pytest.mark.parametrize(("slug", "env", "steps", "least", "settings"), ROWS, ids=[r[0] for r in ROWS])
def test_it_learns(slug: str, env: str, steps: int, least: float, settings: dict[str, Any]) -> None:
    # one run in six of A2C ends in a bad spell (32 runs on kernels of ours, 32 without): of three, the middle one
    runs = [learn(slug, env, steps, settings, seed) for seed in range(3 if slug == "a2c" else 1)]
    before, after = max(run[0] for run in runs), statistics.median(run[1] for run in runs)
    assert before < least - 40, "the untrained policy already passes: the test shows nothing"
    assert after > least, f"{before:.0f} -> {after:.0f}"
