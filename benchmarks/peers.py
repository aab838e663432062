"""The peers' contenders, run in their own virtual environment: python -m benchmarks.peers ROW [NAME=VALUE ...]"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from benchmarks.serve import serve


class Idle(gymnasium.Env):
    """An environment of given shapes, for filling a replay."""

    def __init__(self, obs: int, action: int) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (obs,))
        self.action_space = gymnasium.spaces.Box(-1, 1, (action,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.np_random.normal(size=self.observation_space.shape).astype("f"), {}

    def step(self, action: Any) -> Any:
        return self.np_random.normal(size=self.observation_space.shape).astype("f"), 0.0, False, False, {}


def sb3_sac_update(a: dict[str, str]) -> Callable[[int], None]:
    import torch
    from stable_baselines3 import SAC

    torch.set_num_threads(int(a["threads"]))
    width, batch = int(a["width"]), int(a["batch"])
    kwargs: dict[str, Any] = {"net_arch": [width, width]}
    env = Idle(int(a["obs"]), int(a["action"]))
    model = SAC("MlpPolicy", env, policy_kwargs=kwargs, batch_size=batch, buffer_size=100_000, learning_starts=2000)
    model.learn(2000)

    def work(n: int) -> None:
        model.train(gradient_steps=n, batch_size=batch)

    work(20)
    return work


def sbx_sac_update(a: dict[str, str]) -> Callable[[int], None]:
    import jax
    from sbx import SAC

    width, batch, chunk = int(a["width"]), int(a["batch"]), 64
    kwargs: dict[str, Any] = {"net_arch": [width, width]}
    env = Idle(int(a["obs"]), int(a["action"]))
    model = SAC(
        "MlpPolicy", env, policy_kwargs=kwargs, batch_size=batch, buffer_size=100_000, learning_starts=2000,
        gradient_steps=chunk,
    )  # fmt: skip
    model.learn(2000)

    def work(n: int) -> None:
        for _ in range(max(1, n // chunk)):
            model.train(gradient_steps=chunk, batch_size=batch)
        jax.block_until_ready(model.policy.qf_state.params)

    work(chunk)
    return work


def learner(name: str, a: dict[str, str]) -> Any:
    """SAC or PPO of SB3 or SBX on a real environment."""
    library, algorithm = name.split("_")
    if library == "sb3":
        import stable_baselines3 as module
        import torch

        torch.set_num_threads(int(a["threads"]))
    else:
        import sbx as module
    if algorithm == "sac":
        return module.SAC("MlpPolicy", a["env"], learning_starts=500, buffer_size=100_000, device="cpu")
    from stable_baselines3.common.env_util import make_vec_env

    return module.PPO(
        "MlpPolicy", make_vec_env(a["env"], n_envs=8), n_steps=int(a["horizon"]), batch_size=int(a["minibatch"]),
        n_epochs=int(a["epochs"]), gae_lambda=0.95, gamma=0.99, ent_coef=0.0, device="cpu",
    )  # fmt: skip


def train(name: str, a: dict[str, str]) -> Callable[[int], None]:
    model = learner(name, a)

    def work(n: int) -> None:
        model.learn(n, reset_num_timesteps=False)

    work(int(a["warm"]))
    return work


def hf_generate(a: dict[str, str]) -> Callable[[int], None]:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(int(a["threads"]))
    model = AutoModelForCausalLM.from_pretrained(a["model"]).eval()
    prompts = torch.tensor([[5 + (7 * i + j) % 90 for j in range(16)] for i in range(64)])
    mask = torch.ones_like(prompts)

    def work(n: int) -> None:
        for i in range(n):
            torch.manual_seed(i)
            model.generate(
                prompts,
                attention_mask=mask,
                do_sample=True,
                max_new_tokens=64,
                min_new_tokens=64,
                top_k=0,
                pad_token_id=0,
            )

    work(1)
    return work


def trl_grpo(a: dict[str, str]) -> Callable[[int], None]:
    import tempfile

    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(int(a["threads"]))
    rows = [json.loads(line)["prompt"] for line in Path(a["data"]).read_text().splitlines()]
    folder = tempfile.mkdtemp()

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [float(len(set(c)) % 2) for c in completions]

    def work(n: int) -> None:
        config = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=64, num_generations=8, max_completion_length=64,
            max_steps=n, logging_steps=1000, save_strategy="no", report_to=[], use_cpu=True, beta=0.0,
            disable_tqdm=True, learning_rate=1e-4, bf16=False, gradient_checkpointing=False,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(a["model"]),
            processing_class=AutoTokenizer.from_pretrained(a["model"]),
            reward_funcs=reward, args=config, train_dataset=Dataset.from_dict({"prompt": rows}),
        )  # fmt: skip
        trainer.train()

    work(1)
    return work


ROWS: dict[str, Callable[[dict[str, str]], Callable[[int], None]]] = {
    "sb3_sac_update": sb3_sac_update,
    "sbx_sac_update": sbx_sac_update,
    **{f"{lib}_{alg}": (lambda a, n=f"{lib}_{alg}": train(n, a)) for lib in ("sb3", "sbx") for alg in ("sac", "ppo")},
    "hf_generate": hf_generate,
    "trl_grpo": trl_grpo,
}

if __name__ == "__main__":
    row, *words = sys.argv[1:]
    serve(ROWS[row](dict(w.split("=", 1) for w in words)))
