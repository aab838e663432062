"""Do precisions learn alike, and what does an update cost: python -m benchmarks.curves [learn] [cost]

learn  SAC on Pendulum-v1 from the same seeds in fp32, medium and bf16, beside stable-baselines3; returns of
       evaluation episodes along the way.
cost   milliseconds of a SAC update (replay sampling included) against batch size, width and rows in the replay.

Every run is a process of its own on one thread, two at a time. Writes benchmarks/curves.json and the pictures
docs/generated/{learn,cost}.svg. The peer lives in .venv-bench (see `python -m benchmarks`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
OURS, PEERS = ROOT / ".venv/bin/python", ROOT / ".venv-bench/bin/python"
FOUND = ROOT / "benchmarks" / "curves.json"
PICTURES = ROOT / "docs" / "generated"
ENV, STEPS, EVERY, EPISODES, SEEDS = "Pendulum-v1", 6_000, 1_000, 10, 3
ARMS = ("fp32", "medium", "bf16", "stable-baselines3")
USUAL = {"batch": 256, "width": 256, "rows": 100_000}
TRIED = {"batch": (64, 128, 256, 512, 1024), "width": (64, 128, 256, 512), "rows": (10_000, 100_000, 1_000_000)}
LEGENDS = {"batch": "batch size", "width": "width of two hidden layers", "rows": "rows in the replay"}


def learn_ours(precision: str, seed: int) -> list[list[float]]:
    """[step, mean return] of every evaluation."""
    from actrix.run.trainer import RunOptions, Trainer

    options = RunOptions(
        env=ENV, steps=STEPS, seed=seed, precision=precision, compile="yes", threads=1, eval_every=EVERY,
        eval_episodes=EPISODES, checkpoint_every=10**9,
    )  # fmt: skip
    trainer = Trainer.start("sac", options)
    found = [[r.step, float(r.evaluation["mean"])] for r in trainer if r.evaluation]
    trainer.close()
    return found


def learn_theirs(seed: int) -> list[list[float]]:
    import gymnasium
    import torch
    from stable_baselines3 import SAC
    from stable_baselines3.common.evaluation import evaluate_policy

    torch.set_num_threads(1)
    model = SAC("MlpPolicy", gymnasium.make(ENV), seed=seed, learning_starts=1_000)
    judge, found = gymnasium.make(ENV), []
    for step in range(EVERY, STEPS + 1, EVERY):
        model.learn(EVERY, reset_num_timesteps=False)
        found.append([step, float(evaluate_policy(model, judge, EPISODES, warn=False)[0])])
    return found


def cost(what: str, value: int) -> float:
    """Median milliseconds of an update."""
    import statistics
    import time

    from benchmarks.ours import sac_update

    sizes = {**USUAL, what: value}
    work = sac_update({"obs": "17", "action": "6", "threads": "1", **{k: str(v) for k, v in sizes.items()}})
    spans = []
    for _ in range(9):
        start = time.perf_counter()
        work(20)
        spans.append((time.perf_counter() - start) / 20 * 1000)
    return statistics.median(spans)


def apart(words: list[str]) -> Any:
    """The result of one job, in a process of its own."""
    python = PEERS if words[1] == "stable-baselines3" else OURS
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, "-m", "benchmarks.curves", *words], cwd=ROOT, env=environment, text=True, capture_output=True
    )
    if done.returncode:
        raise SystemExit(f"{words} failed:\n{done.stderr[-2000:]}")
    print(f"  {' '.join(words[1:])}: {done.stdout.splitlines()[-1][:110]}", flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_all(kind: str, two: ThreadPoolExecutor) -> Any:
    if kind == "cost":  # one at a time: these are timings
        return {what: [[v, apart(["cost-job", what, str(v)])] for v in tried] for what, tried in TRIED.items()}
    jobs = [(arm, seed) for seed in range(SEEDS) for arm in ARMS]
    results = two.map(lambda job: apart(["learn-job", job[0], str(job[1])]), jobs)
    found: dict[str, list[Any]] = {arm: [] for arm in ARMS}
    for (arm, _), result in zip(jobs, results):
        found[arm].append(result)
    return {"env": ENV, "steps": STEPS, "episodes": EPISODES, "arms": found}


def draw(found: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "actrix"
    import matplotlib.pyplot as plt
    import numpy as np

    if "learn" in found:
        figure, axis = plt.subplots(figsize=(7.5, 4), layout="constrained")
        for colour, (arm, runs) in enumerate(found["learn"]["arms"].items()):
            values = np.array([[y for _, y in run] for run in runs])
            steps = [x for x, _ in runs[0]]
            axis.plot(steps, values.mean(0), color=f"C{colour}", linewidth=2, label=arm)
            axis.plot(steps, values.T, color=f"C{colour}", linewidth=0.6, alpha=0.5)
        axis.set(xlabel="environment steps", ylabel=f"mean return of {EPISODES} episodes", title=f"SAC on {ENV}")
        axis.legend()
        figure.savefig(PICTURES / "learn.svg", metadata={"Date": None})
    if "cost" in found:
        figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained", sharey=True)
        for axis, (what, points) in zip(axes, found["cost"].items()):
            xs, ys = zip(*points)
            axis.plot(xs, ys, marker="o")
            axis.set(xscale="log", yscale="log", xlabel=LEGENDS[what])
            axis.set_xticks(xs, [f"{x:,}" for x in xs])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        axes[0].set_ylabel("ms per SAC update, fp32, 1 thread")
        figure.savefig(PICTURES / "cost.svg", metadata={"Date": None})


def main(words: list[str]) -> None:
    if words[:1] == ["learn-job"]:
        theirs = words[1] == "stable-baselines3"
        print(json.dumps(learn_theirs(int(words[2])) if theirs else learn_ours(words[1], int(words[2]))))
        return
    if words[:1] == ["cost-job"]:
        print(json.dumps(cost(words[1], int(words[2]))))
        return
    if unknown := set(words) - {"learn", "cost", "draw"}:
        raise SystemExit(f"unknown: {', '.join(unknown)}; known: learn, cost, draw")
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    with ThreadPoolExecutor(2) as two:
        for kind in words or ["cost", "learn"]:
            if kind != "draw":
                print(f"==> {kind}", flush=True)
                found[kind] = run_all(kind, two)
                FOUND.write_text(json.dumps(found, indent=1) + "\n")
    draw(found)


if __name__ == "__main__":
    main(sys.argv[1:])
