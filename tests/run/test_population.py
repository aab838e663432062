"""The feed of a population: what it evaluates, stores and counts; that runs resume; what a report shows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from actrix import api, registry
from actrix.envs.worlds import VectorWorlds
from actrix.errors import ActrixError
from actrix.evaluate.episodes import episode_seed
from actrix.evaluate.report import write_report
from actrix.rng import seed_of
from actrix.run.population import Brood, PopulationFeed, QualityDiversity
from actrix.run.trainer import RunOptions, Trainer

SYSTEMS = [slug for slug, entry in registry.catalogue().items() if entry.family == "quality-diversity"]
LENGTH, STEP = 5, 0.08


class Walks(VectorEnv):
    """N points on a plane that walk for LENGTH steps, an even one (by its seed) a step less, which ends it.

    The descriptor is where they are in the end, in [-1, 1]^2; the reward is 1 - |a|^2 / 4.
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    descriptor_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.single_observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.at, self.clock = np.zeros((num_envs, 2)), np.zeros(num_envs, int)
        self.even, self.over = np.zeros(num_envs, bool), np.zeros(num_envs, bool)

    def see(self) -> np.ndarray:
        return np.concatenate((self.at, self.clock[:, None] / LENGTH), 1).astype(np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        seeds = np.array([seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed)
        self.at = np.stack((seeds % 7, seeds % 11), 1) / 20.0
        self.clock[:], self.over[:], self.even = 0, False, seeds % 2 == 0
        return self.see(), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        action = np.where(self.over[:, None], 0.0, np.asarray(actions, np.float64))
        self.at, self.clock = self.at + STEP * action, np.where(self.over, 0, self.clock + 1)
        reward = (1.0 - (action**2).sum(1) / 4).astype(np.float32)
        terminated = self.even & (self.clock == LENGTH - 1)
        truncated = ~self.even & (self.clock == LENGTH)
        self.over = terminated | truncated
        return self.see(), reward, terminated, truncated, {"descriptor": self.at.copy()}


class Walk(gym.Env):
    """One of `Walks`."""

    batched = Walks
    descriptor_space = Walks.descriptor_space

    def __init__(self) -> None:
        self.walks = Walks(1)
        self.observation_space, self.action_space = self.walks.single_observation_space, self.walks.single_action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        obs, _ = self.walks.reset(seed=[0 if seed is None else seed])
        return obs[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, infos = self.walks.step(np.asarray(action)[None])
        info = {"descriptor": infos["descriptor"][0]}
        return obs[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), info


gym.register("Stroll-v0", entry_point=Walk)
gym.register("EndlessWalk-v0", entry_point=lambda: Endless())


class Endless(Walk):
    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        obs, reward, _, _, info = super().step(action)
        return obs, reward, False, False, info


SMALL = {
    "hidden": (8,), "critic_hidden": (8,), "cells": 16, "offspring": 10, "climbers": 4, "rollouts": 3, "horizon": 6,
    "critic_steps": 4, "climb_steps": 3, "batch": 8, "envs": 4, "rate": 1e-2, "iso": 0.2,
}  # fmt: skip


def config(slug: str, **settings: Any) -> Any:
    cls = registry.load(slug).config
    known = {f.name for f in dataclasses.fields(cls)}
    return cls(**{k: v for k, v in {**SMALL, **settings}.items() if k in known})


def start(slug: str, folder: Path | None = None, steps: int = 400, **settings: Any) -> Trainer:
    options = RunOptions(
        env="Stroll-v0", steps=steps, seed=3, threads=1, compile="no", eval_episodes=2, eval_every=steps,
        checkpoint_every=steps // 4, log_every=1,
    )  # fmt: skip
    return Trainer.start(slug, options, config(slug, **settings), folder)


def alone(learner: QualityDiversity, row: torch.Tensor, seed: int) -> tuple[float, np.ndarray, int]:
    """One policy's episode by itself: return, descriptor in [0, 1], steps."""
    env, total, steps, over = Walk(), 0.0, 0, False
    obs, _ = env.reset(seed=seed)
    while not over:
        action = learner.policies(row[None], torch.from_numpy(obs)[None, None])[0, 0]
        obs, reward, terminated, truncated, info = env.step(action.numpy())
        total, steps, over = total + reward, steps + 1, terminated or truncated
    return total, (info["descriptor"] + 1) / 2, steps


@pytest.mark.parametrize("envs", [3, 10, 16], ids=["blocks", "at once", "room to spare"])
def test_every_policy_gets_its_own_episode(envs: int) -> None:
    """Returns, descriptors, the replay and the budget, against each policy played by itself."""
    trainer = start("dcg-map-elites", envs=envs)
    feed, learner = trainer.feed, trainer.learner
    assert isinstance(feed, PopulationFeed)
    assert isinstance(learner, QualityDiversity)
    assert isinstance(feed.worlds, VectorWorlds)
    seeds: list[int] = []
    reset = feed.worlds.reset
    feed.worlds.reset = lambda given: (seeds.extend(given), reset(given))[1]  # type: ignore[assignment, method-assign]
    flat = learner.policies.initial(10)
    wanted = torch.rand(10, 2)
    wanted[:6] = torch.nan
    fitness, descriptor = feed.evaluate(learner, Brood(flat, wanted, torch.arange(10) < 6))
    expected = [alone(learner, flat[i], seeds[i]) for i in range(10)]
    np.testing.assert_allclose(fitness, [e[0] for e in expected], rtol=1e-5)
    np.testing.assert_allclose(descriptor, np.stack([e[1] for e in expected]), rtol=1e-5)
    assert {e[2] for e in expected} == {LENGTH - 1, LENGTH}
    steps = sum(e[2] for e in expected)
    assert feed.progress.steps == steps
    assert sorted(length for _, _, length in feed.progress.episodes) == sorted(e[2] for e in expected)
    assert feed.replay is not None
    rows = feed.replay.tensors()
    assert len(rows["reward"]) == steps
    assert rows["reward"].sum().item() == pytest.approx(fitness.sum().item(), rel=1e-5)
    for i in range(10):
        mine = (rows["achieved"] == descriptor[i]).all(1)
        assert mine.sum() == expected[i][2]
        assert (rows["context"][mine] == (descriptor[i] if i < 6 else wanted[i])).all()
        assert (rows["terminated"] | rows["truncated"])[mine].sum() == 1
        last = mine & (rows["terminated"] | rows["truncated"])
        place = rows["next_obs"][last, :2].numpy()[0]
        np.testing.assert_allclose((place + 1) / 2, descriptor[i], rtol=1e-5)
        shifted = rows["obs"][mine, :2] + STEP * rows["action"][mine]
        torch.testing.assert_close(rows["next_obs"][mine, :2], shifted, rtol=1e-5, atol=1e-6)
    trainer.close()


@pytest.mark.parametrize("slug", SYSTEMS)
def test_the_archive_only_grows(slug: str) -> None:
    trainer, before, coverage = start(slug), torch.empty(0), 0.0
    for report in trainer:
        learner: Any = trainer.learner
        if len(before):
            assert (learner.archive.fitness >= before).all()
        before = learner.archive.fitness.clone()
        assert report.figures["coverage"] >= coverage
        coverage = float(report.figures["coverage"])
        assert report.figures["qd_score"].item() == pytest.approx(before[before > -torch.inf].sum().item(), rel=1e-5)
    assert coverage > 0.2
    # what acts is the fittest, and what it is said to be worth is what its episode from that start gave
    champion = learner.archive.genotype[learner.archive.fitness.argmax()]
    obs = torch.rand(5, 3)
    torch.testing.assert_close(learner.act(obs, "mean").action, learner.policies(champion[None], obs)[0])
    trainer.close()


@pytest.mark.parametrize("slug", SYSTEMS)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(slug: str, tmp_path: Path) -> None:
    whole = start(slug, tmp_path / "whole")
    reports = list(whole)
    whole.close()
    stopped = start(slug, tmp_path / "stopped")
    for report in stopped:
        if report.step > 250:  # somewhere behind a checkpoint
            break
    stopped.close()
    resumed = Trainer.resume(tmp_path / "stopped")
    assert 0 < resumed.step < 400
    assert list(resumed)[-1].step == reports[-1].step
    resumed.close()
    expected, found = whole.learner.state(), resumed.learner.state()
    assert all(torch.equal(expected[k], found[k]) for k in expected)
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "stopped")]
    assert lines[0] == lines[1]
    train = [json.loads(line) for line in lines[0].splitlines() if '"train"' in line]
    assert {"qd_score", "coverage", "max_fitness", "taken"} <= set(train[-1])


def test_the_replay_wraps_and_survives(tmp_path: Path) -> None:
    """A ring that is smaller than the run, and a checkpoint in it."""
    settings = {"capacity": 60}
    whole = start("dcg-map-elites", tmp_path / "whole", steps=1_000, **settings)
    list(whole)
    whole.close()
    stopped = start("dcg-map-elites", tmp_path / "stopped", steps=1_000, **settings)
    for report in stopped:
        if report.step > 950:
            break
    stopped.close()
    resumed = Trainer.resume(tmp_path / "stopped")
    list(resumed)
    resumed.close()
    expected, found = whole.learner.state(), resumed.learner.state()
    assert all(torch.equal(expected[k], found[k]) for k in expected)


@pytest.mark.parametrize("slug", SYSTEMS)
def test_an_environment_without_descriptors_is_told_what_to_give(slug: str) -> None:
    with pytest.raises(ActrixError, match="does not describe its episodes") as caught:
        Trainer.start(slug, RunOptions(env="Pendulum-v1", steps=10))
    assert caught.value.misuse
    assert "descriptor_space" in caught.value.hint
    assert "info['descriptor']" in caught.value.hint


def test_an_episode_without_an_end_is_named() -> None:
    trainer = Trainer.start("map-elites", RunOptions(env="EndlessWalk-v0", steps=100), config("map-elites"))
    with pytest.raises(ActrixError, match="did not end within 6 steps") as caught:
        list(trainer)
    assert "--horizon" in caught.value.hint


@pytest.mark.parametrize(
    ("slug", "settings"),
    [("pga-map-elites", {"climbers": 10}), ("dcg-map-elites", {"climbers": 6, "injected": 5})],
)
def test_offspring_must_fit(slug: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ActrixError, match="must fit into --offspring"):
        start(slug, **settings)


def test_injected_actors_are_offered_and_rollouts_are_not() -> None:
    trainer = start("dcg-map-elites", injected=2)
    for report in trainer:
        if report.step > 100:
            break
    learner: Any = trainer.learner
    with torch.no_grad():
        brood = learner.breed()
    assert len(brood.genotype) == 13
    assert brood.kept.tolist() == [True] * 10 + [False] * 3
    assert brood.wanted[:, 0].isnan().tolist() == [True] * 8 + [False] * 5
    obs = torch.rand(4, 3)
    for i in range(8, 13):
        rows = torch.cat((obs, brood.wanted[i].expand(4, 2)), 1)
        torch.testing.assert_close(learner.policies(brood.genotype[i : i + 1], obs)[0], learner.actor(rows))
        assert (learner.archive.descriptor == brood.wanted[i]).all(1).any()
    trainer.close()


def test_what_an_ablated_learner_is_given_says_nothing() -> None:
    """Without conditioning neither target nor losses depend on descriptors; with it they do."""
    for conditioned in (True, False):
        trainer = start("dcg-map-elites", conditioned=conditioned, smoothing=0.0)
        next(iter(trainer))
        learner: Any = trainer.learner
        batch = trainer.feed.replay.sample(16)  # type: ignore[attr-defined]
        other = dataclasses.replace(batch, context=1 - batch.context)
        assert torch.equal(learner.target(batch), learner.target(other)) != conditioned
        losses = [learner.losses(b, "both").groups["actor"] for b in (batch, other)]
        assert torch.equal(*losses) != conditioned
        trainer.close()


def test_a_run_from_the_command_line_to_its_report(tmp_path: Path) -> None:
    """Train, evaluate, load, and a report with the map of the archive."""
    folder = tmp_path / "run"
    settings = {k: v for k, v in SMALL.items() if k not in ("critic_hidden",)}
    result = api.train("dcg-map-elites", env="Stroll-v0", folder=folder, quiet=True, steps=200, threads=1, **settings)
    assert result.evaluation["mean"] > 0
    assert len(api.evaluate(folder, 3)["scores"]) == 3
    archive = Trainer.resume(folder)
    learner: Any = archive.learner
    archive.close()
    for cell in learner.archive.filled.tolist():
        place = learner.archive.descriptor[cell].tolist()
        found = api.evaluate(folder, 2, descriptor=[value + 1e-4 for value in place])
        assert found["descriptor"] == place
        flat = learner.archive.genotype[cell]
        seeds = [episode_seed(seed_of(0, "evaluation"), i) for i in range(2)]
        assert found["scores"] == pytest.approx([alone(learner, flat, seed)[0] for seed in seeds], rel=1e-5)
    with pytest.raises(ActrixError, match="--descriptor has 1 numbers, not 2"):
        api.evaluate(folder, 2, descriptor=[0.5])
    assert api.load(folder).act(np.zeros(3, np.float32)).shape == (2,)
    text = write_report([folder], tmp_path / "report.html").read_text()
    filled = len(learner.archive.filled)
    assert text.count('class="cell"') == filled
    assert text.count('class="cell none"') == 16 - filled


def test_the_fittest_policy_is_exported(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from actrix.deploy.onnx import export

    trainer = start("pga-map-elites", tmp_path / "run", steps=100)
    list(trainer)
    trainer.close()
    out = tmp_path / "policy.onnx"
    assert export(tmp_path / "run", out)["difference"] < 1e-5
    learner: Any = trainer.learner
    best = learner.archive.genotype[learner.archive.fitness.argmax()]
    obs = torch.rand(6, 3)
    session = onnxruntime.InferenceSession(out.read_bytes(), providers=["CPUExecutionProvider"])
    truth = learner.policies(best[None], obs)[0].numpy()
    np.testing.assert_allclose(session.run(None, {"obs": obs.numpy()})[0], truth, rtol=1e-5, atol=1e-5)
    assert out.stat().st_size < 40_000  # the rest of the archive stays at home
