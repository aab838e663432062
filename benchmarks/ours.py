"""Our contenders: python -m benchmarks.ours ROW [NAME=VALUE ...]"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from actrix.data.replay import Replay
from actrix.rng import torch_stream
from actrix.run.engine import Engine, EngineOptions
from actrix.run.trainer import RunOptions, Trainer
from actrix.spec import vector_spec
from actrix.systems.control.ppo import Config as PPOConfig
from actrix.systems.control.sac import SAC
from actrix.systems.control.sac import Config as SACConfig
from benchmarks.serve import serve


def sac_update(a: dict[str, str]) -> Callable[[int], None]:
    """n updates, replay sampling included: what the trainer does after a step."""
    obs, action = int(a["obs"]), int(a["action"])
    width, batch, rows = int(a["width"]), int(a["batch"]), int(a.get("rows", "100000"))
    learner = SAC(vector_spec(obs, action), SACConfig(hidden=(width, width), batch=batch))
    compiled = a.get("compile", "yes") == "yes"
    engine = Engine(learner, EngineOptions(compiled, a.get("precision", "fp32"), int(a["threads"])))
    replay, rng = Replay(learner.spec, rows), np.random.default_rng(0)
    replay.add(
        obs=rng.normal(size=(rows, obs)).astype("f"),
        action=rng.uniform(-1, 1, (rows, action)).astype("f"),
        reward=rng.normal(size=rows).astype("f"),
        next_obs=rng.normal(size=(rows, obs)).astype("f"),
        terminated=rng.random(rows) < 0.02,
        truncated=np.zeros(rows, bool),
    )
    count = itertools.count()

    def work(n: int) -> None:
        for k in itertools.islice(count, n):
            with torch_stream(0, "replay", k):
                sampled = replay.sample(batch)
            with torch_stream(0, "update", k):
                engine.update(sampled, None)

    work(5)
    return work


def train(system: str, config: Any, a: dict[str, str]) -> Callable[[int], None]:
    """n environment steps of a whole training run, everything included but evaluation and checkpoints."""
    never = 10**9
    options = RunOptions(
        env=a["env"], steps=never - 1, threads=int(a["threads"]), compile=a.get("compile", "yes"),
        precision=a.get("precision", "fp32"), eval_every=never, checkpoint_every=never, log_every=never,
    )  # fmt: skip
    trainer = Trainer.start(system, options, config)
    reports = iter(trainer)

    def work(n: int) -> None:
        end = trainer.step + n
        while trainer.step < end:
            next(reports)

    work(int(a["warm"]))
    return work


def sac(a: dict[str, str]) -> Callable[[int], None]:
    return train("sac", SACConfig(warmup=500, capacity=100_000), a)


def ppo(a: dict[str, str]) -> Callable[[int], None]:
    box = a["env"] != "CartPole-v1"
    config = PPOConfig(
        envs=8, horizon=int(a["horizon"]), minibatch=int(a["minibatch"]), epochs=int(a["epochs"]),
        normalise_obs=box and a.get("normalise") == "yes", scale_reward=box and a.get("normalise") == "yes",
    )  # fmt: skip
    return train("ppo", config, a)


def generate(a: dict[str, str]) -> Callable[[int], None]:
    """n batches of 64 rows, 64 new tokens each, from the same weights as the peer's."""
    from transformers import AutoModelForCausalLM

    from actrix.language.convert import from_hugging_face
    from actrix.language.sampler import Sampling
    from actrix.language.sampler import generate as sample

    torch.set_num_threads(int(a["threads"]))
    model = from_hugging_face(AutoModelForCausalLM.from_pretrained(a["model"])).eval()
    prompts = [[5 + (7 * i + j) % 90 for j in range(16)] for i in range(64)]
    settings = Sampling(max_new=64)

    def work(n: int) -> None:
        for i in range(n):
            sample(model, prompts, settings, eos=None, seed=i)

    work(1)
    return work


def grpo(a: dict[str, str]) -> Callable[[int], None]:
    """n GRPO steps: 8 prompts x 8 answers of 64 tokens, one update each."""
    from actrix.systems.language.grpo import Config

    options = RunOptions(
        task="jsonl:" + a["data"], steps=10**6, threads=int(a["threads"]), compile="no",
        precision=a.get("precision", "fp32"), eval_every=10**9, checkpoint_every=10**9, log_every=10**9,
    )  # fmt: skip
    config = Config(model="small", prompts=8, group=8, minibatches=1, warm_steps=0)
    reports = iter(Trainer.start("grpo", options, config))

    def work(n: int) -> None:
        for _ in range(n):
            next(reports)

    work(1)
    return work


def quadrotor(a: dict[str, str]) -> Callable[[int], None]:
    """n steps of all quadrotors, under the same random actions."""
    from actrix.envs.quadrotor import HOVER, Quadrotors

    torch.set_num_threads(int(a["threads"]))
    n = int(a["quadrotors"])
    fleet = Quadrotors(n, range(n), compile=a["compile"] == "yes")
    action = HOVER + 0.3 * (2 * torch.rand(4, n) - 1)

    def work(steps: int) -> None:
        for _ in range(steps):
            fleet.step(action)

    work(25)
    return work


ROWS = {"sac_update": sac_update, "sac": sac, "ppo": ppo, "generate": generate, "grpo": grpo, "quadrotor": quadrotor}

if __name__ == "__main__":
    row, *words = sys.argv[1:]
    serve(ROWS[row](dict(w.split("=", 1) for w in words)))
