"""The claim of A2C: parallel environments stand in for a replay, n-step returns speed learning, and it is cheap."""

from __future__ import annotations

import functools
import time
from collections import deque
from typing import Any

import numpy as np

from actrix import registry
from actrix.claims.claim import Arm, Check, Claim, trained
from actrix.claims.measures import late_return

CARTPOLE = {"env": "CartPole-v1", "steps": 30_000, "eval_episodes": 1}  # 16 environments, 5 steps
ONE_STEP = {"decay": 0.0}  # advantages and targets from one step; everything else is the same
ONE_WORLD = {"envs": 1}  # 16 times as many updates, of 5 steps each
ONE_LONG_WORLD = {"envs": 1, "horizon": 80}  # as many updates, of as many steps, but all of one stream
NO_CRITIC = {"value_weight": 0.0}  # the critic never learns: no baseline, and nothing to bootstrap from
SOLVED, EPISODES, LIMIT, NEVER = 195.0, 20, 60_000, 1_000.0
DQN = {"hidden": (64, 64), "warmup": 500, "epsilon_steps": 4_000}


def seconds(seed: int, system: str, config: dict[str, Any]) -> float:
    """Processor seconds until the last `EPISODES` training episodes average `SOLVED`; `NEVER` within `LIMIT` steps."""
    from actrix.run.trainer import RunOptions, Trainer

    options = RunOptions(
        env="CartPole-v1", steps=LIMIT, seed=seed, eval_every=LIMIT, eval_episodes=1, checkpoint_every=LIMIT,
        threads=1, compile="no",
    )  # fmt: skip
    trainer = Trainer.start(system, options, registry.load(system).config(**config))
    recent: deque[float] = deque(maxlen=EPISODES)
    began = time.process_time()
    try:
        for report in trainer:
            recent.extend(value for _, value, _ in report.episodes)
            if len(recent) == EPISODES and np.mean(recent) >= SOLVED:
                return time.process_time() - began
    finally:
        trainer.close()
    return NEVER


claim = Claim(
    system="a2c",
    statement="Actor-learners in parallel environments stabilise on-policy learning without a replay; n-step returns "
    "against a learned value learn faster than one-step ones; and it takes less computing time than DQN.",
    source="1602.01783, sections 4, 5.1 and 5.4 (the asynchronous A3C; A2C is its synchronous form)",
    minutes=4,
    note="One world with a long horizon (one_long_world) learns as well as several with a short one; the other three "
    "parts matter as claimed. CartPole's episodes differ by their first steps only, and the published argument "
    "is about long games and wall-clock time.",
    checks=(
        Check(
            "parts",
            question="Does learning CartPole need parallel environments, n-step returns, and the critic?",
            metric="mean return of the training episodes in the second half of 30,000 steps",
            seeds=5,
            arms=(
                Arm("a2c", "method", trained("a2c", CARTPOLE, measure=late_return)),
                Arm("one_world", "ablation", trained("a2c", CARTPOLE, ONE_WORLD, measure=late_return)),
                Arm("one_long_world", "ablation", trained("a2c", CARTPOLE, ONE_LONG_WORLD, measure=late_return)),
                Arm("one_step", "ablation", trained("a2c", CARTPOLE, ONE_STEP, measure=late_return)),
                Arm("no_critic", "ablation", trained("a2c", CARTPOLE, NO_CRITIC, measure=late_return)),
            ),
            rules=(
                "low(a2c - one_world) > 0",
                "mean(a2c) > mean(one_long_world)",
                "low(a2c - one_step) > 0",
                "low(a2c - no_critic) > 0",
            ),
        ),
        Check(
            "clock",
            question="Does A2C solve CartPole in half the processor time of DQN?",
            metric="processor seconds until 20 training episodes average 195 (1,000 where 60,000 steps do not do)",
            seeds=3,
            arms=(
                Arm("a2c", "method", functools.partial(seconds, system="a2c", config={})),
                Arm("dqn", "baseline", functools.partial(seconds, system="dqn", config=DQN)),
            ),
            rules=("max(a2c) < 1000", "mean(a2c) <= 0.5 * mean(dqn)"),
        ),
    ),
)
