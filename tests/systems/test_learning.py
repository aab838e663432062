"""Every control system learns: a real environment, from a score that an untrained policy gets to one that it never does.

Scores are means of 10 evaluation episodes. Measured on seeds 0, 1, 2 (see each row); one thread, eager.
CartPole-v1: 500 is perfect, an untrained policy gets 9 to 30. Pendulum-v1: about -150 is as good as it gets, an
untrained policy gets -1,100 to -1,500.
"""

from __future__ import annotations

from typing import Any

import pytest

from actrix import registry
from actrix.run.trainer import RunOptions, Trainer

REPLAY = {"hidden": (64, 64), "batch": 64, "warmup": 500}
ROWS: list[tuple[str, str, int, float, dict[str, Any]]] = [
    ("ppo", "CartPole-v1", 20_000, 250.0, {
        "horizon": 128, "envs": 8, "minibatch": 256, "epochs": 4, "rate": 2.5e-3, "entropy_weight": 0.01,
    }),
    ("a2c", "CartPole-v1", 80_000, 150.0, {"horizon": 16, "envs": 8, "rate": 3e-3}),
    ("dqn", "CartPole-v1", 8_000, 100.0, {
        "hidden": (120, 84), "rate": 1e-3, "batch": 128, "target_every": 100, "epsilon_steps": 4_000,
    }),
    ("sac-discrete", "CartPole-v1", 5_000, 100.0, {
        **REPLAY, "batch": 128, "rate": 1e-3, "target_entropy": 0.3, "target_rate": 0.01,
    }),
    ("sac", "Pendulum-v1", 5_000, -400.0, {**REPLAY, "rate": 1e-3}),
    ("td3", "Pendulum-v1", 6_000, -400.0, {**REPLAY, "rate": 1e-3, "noise": 0.2, "target_rate": 0.01}),
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
@pytest.mark.parametrize(("slug", "env", "steps", "least", "settings"), ROWS, ids=[f"{r[0]}-{r[1]}" for r in ROWS])
def test_it_learns(slug: str, env: str, steps: int, least: float, settings: dict[str, Any]) -> None:
    before, after = learn(slug, env, steps, settings)
    assert before < least - 40, "the untrained policy already passes: the test shows nothing"
    assert after > least, f"{before:.0f} -> {after:.0f}"
