"""The exported file does what the policy does, or there is no file."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

import actrix
import actrix.api
from actrix import registry
from actrix.deploy import onnx as deploy
from actrix.errors import ActrixError
from actrix.run import regimes
from actrix.run.loaded import load_learner
from actrix.run.paths import PathFeed
from actrix.run.trainer import RunOptions, Trainer

sys.path.insert(0, str(Path(__file__).parent))
import deploy_worlds as worlds

onnxruntime = pytest.importorskip("onnxruntime")
KIND_OF = {
    "Plain": "box", "Uneven": "box", "Matrix": "box", "Unbounded": "unbounded box", "Whole": "box",
    "Start": "discrete", "Masked": "discrete", "Several": "multidiscrete", "Bits": "multibinary", "Image": "box",
    "ImageChoice": "discrete", "Dictionary": "box", "DictionaryChoice": "discrete",
}  # fmt: skip
ABLE = {
    name: [
        slug
        for slug, entry in registry.catalogue().items()
        if entry.family in ("control", "finance", "multi-agent") and kind in entry.acts
    ]
    for name, kind in KIND_OF.items()
}
PATHS = [s for s in ABLE["Plain"] if registry.load(s).learner.feed is PathFeed]  # they need worlds with gradients
# every system on one kind of space, and every kind of space under one system
CASES = list(
    dict.fromkeys(
        [(slug, name) for name, slugs in reversed(ABLE.items()) for slug in slugs[:1]]
        + [(s, n) for s in registry.catalogue() if s not in PATHS for n in [n for n in ABLE if s in ABLE[n]][:1]]
        + [(slug, "Masked") for slug in ABLE["Masked"]]
    )
)


def small(slug: str) -> object:
    """The system's configuration with little networks, and no warm-up."""
    config = registry.load(slug).config
    settings = {"hidden": (16, 16), "batch": 4, "warmup": 2, "horizon": 8, "minibatch": 4, "capacity": 64, "envs": 1}
    settings |= {"actor_width": 16, "critic_width": 16}
    return config(**{k: v for k, v in settings.items() if k in config.__dataclass_fields__})


def finished(slug: str, env: str, folder: Path) -> Path:
    """A run of a few steps."""
    options = RunOptions(env=env, steps=8, eval_episodes=1, eval_every=8, threads=1, compile="no")
    trainer = Trainer.start(slug, options, small(slug), folder)
    try:
        for _ in trainer:
            pass
    finally:
        trainer.close()
    return folder


@pytest.mark.parametrize(("slug", "name"), CASES, ids=map("-".join, CASES))
def test_file_agrees_with_policy(slug: str, name: str, tmp_path: Path) -> None:
    """What is not in the file's own check: real observations, one at a time, through `actrix.load(...).act`."""
    folder = finished(slug, f"deploy_worlds:Deploy{name}-v0", tmp_path / "run")
    out = tmp_path / "policy.onnx"
    result = deploy.export(folder, out)
    assert result["bytes"] == out.stat().st_size
    assert result["checked"] >= 28
    session = onnxruntime.InferenceSession(out.read_bytes(), providers=["CPUExecutionProvider"])
    policy = actrix.load(folder)
    env = gym.make(f"deploy_worlds:Deploy{name}-v0")
    for seed in range(10):
        obs, info = env.reset(seed=seed)
        feed = {"obs": policy.obs_map.row(obs)[None]}
        if "action_mask" in info:
            feed["mask"] = info["action_mask"][None]
        found = session.run(None, feed)[0][0]
        truth = policy.act(obs, mask=info.get("action_mask"))
        if policy.learner.chunk > 1:  # the file has all of them
            plan = policy.plan(obs, mask=info.get("action_mask"))
            np.testing.assert_allclose(found, np.stack(plan), rtol=1e-4, atol=1e-4)
            found = found[0]
        np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-4)
        if KIND_OF[name] != "unbounded box":
            assert env.action_space.contains(np.asarray(found, env.action_space.dtype))
    about = session.get_modelmeta().custom_metadata_map
    action = json.loads(about["action"])
    assert about["system"] == slug
    assert json.loads(about["observation"])["parts"] == json.loads(json.dumps(policy.learner.spec.to_json()["obs"]))
    assert ("mask" in about) == (name == "Masked")
    if name == "Uneven":
        np.testing.assert_allclose(action["low"], worlds.UNEVEN.low)
        np.testing.assert_allclose(action["high"], worlds.UNEVEN.high)
    if name == "Start":
        assert action["start"] == [-2]


# -- policies that learned from data ---------------------------------------------

OFFLINE = {
    "number after number": ("bc", {"actor": "autoregressive"}),
    "climbing a critic": ("pa-rl", {"proposals": 3, "keep": 2, "ascent": 1, "step": 0.3, "members": 2}),
    "edited": ("expo", {"proposals": 3, "edits": 2, "denoising_steps": 2, "members": 2, "edit_scale": 0.5}),
    "guided by a critic": ("qgf", {"chunk": 3, "denoising_steps": 2, "samples": 2, "guidance": 2.0}),
}


def offline(slug: str, data: str, **settings: object) -> tuple[regimes.Regime, object]:
    """A regime of the data alone, and a small configuration."""
    entry = registry.load(slug)
    config = entry.config(**{"hidden": (8,), "batch": 4, **settings})
    return regimes.make(entry, RunOptions(data=(data,), steps=3).resolved(), config), config


@pytest.mark.parametrize("case", OFFLINE)
def test_what_acts_by_more_than_a_network_agrees(case: str, data: str, tmp_path: Path) -> None:
    """Trained on data alone, without an environment; gradients of the critic are in the file, and the whole chunk."""
    slug, settings = OFFLINE[case]
    regime, config = offline(slug, data, **settings)
    regime.close()
    options = RunOptions(data=(data,), steps=3, threads=1, compile="no")
    trainer = Trainer.start(slug, options, config, tmp_path / "run")
    for _ in trainer:
        pass
    trainer.close()
    assert deploy.export(tmp_path / "run", tmp_path / "policy.onnx")["checked"] > 100
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx", providers=["CPUExecutionProvider"])
    policy = actrix.load(tmp_path / "run")
    rows = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    found = session.run(None, {"obs": rows})[0]
    plans = np.array(policy.plan_rows(rows))
    np.testing.assert_allclose(found, plans if slug == "qgf" else plans[:, 0], rtol=1e-4, atol=1e-4)
    first = found[:, 0] if slug == "qgf" else found
    np.testing.assert_allclose(first, [policy.act(row) for row in rows], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(session.run(None, {"obs": rows[:1]})[0], found[:1], rtol=1e-4, atol=1e-4)
    for action in found.reshape(-1, 3):
        assert worlds.UNEVEN.contains(action)
    about = session.get_modelmeta().custom_metadata_map
    if slug == "qgf":
        assert found.shape == (7, 3, 3)
        chunk = json.loads(about["chunk"])
        assert (chunk["length"], chunk["axis"]) == (3, 1)
        policy.learner.configure(guidance=0.0)
    else:
        assert "chunk" not in about
    if slug == "pa-rl":
        policy.learner.actor.ascent = 0
    if slug == "expo":
        policy.learner.actor.edits = 0
    moved = np.abs(np.array([policy.act(row) for row in rows]) - first).max()
    assert (moved > 1e-3) == (slug != "bc"), "what the critic's gradient changes"


@pytest.mark.parametrize("slug", PATHS)
def test_what_learned_through_its_worlds_agrees(slug: str, tmp_path: Path) -> None:
    folder = finished(slug, "actrix.envs.quadrotor:Hover-v0", tmp_path / "run")
    assert deploy.export(folder, tmp_path / "policy.onnx")["checked"] > 100
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx", providers=["CPUExecutionProvider"])
    width = session.get_inputs()[0].shape[1]
    assert width < actrix.load(folder).learner.spec.obs_size, "what is privileged is not asked for"
    assert session.run(None, {"obs": np.zeros((3, width), np.float32)})[0].shape == (3, 4)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished("sac", "deploy_worlds:DeployUneven-v0", tmp_path / "run")


def test_batch_is_dynamic(run: Path, tmp_path: Path) -> None:
    deploy.export(run, tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    rows = np.random.default_rng(0).standard_normal((11, 5)).astype(np.float32)
    together = session.run(None, {"obs": rows})[0]
    assert together.shape == (11, 3)
    for n in (1, 2, 11):
        np.testing.assert_allclose(session.run(None, {"obs": rows[:n]})[0], together[:n], rtol=1e-5)


def test_normaliser_is_exported(tmp_path: Path) -> None:
    """A policy that normalises its observations gets them raw, in the file too."""
    slugs = [s for s in registry.catalogue() if "normalise_obs" in {f.name for f in registry.find(s).fields}]
    if not slugs:
        pytest.skip("no system with an observation normaliser yet")
    folder = finished(slugs[0], "deploy_worlds:DeployPlain-v0", tmp_path / "run")
    deploy.export(folder, tmp_path / "policy.onnx")


class Broken(torch.nn.Module):
    """The policy, but for one thing."""

    def __init__(self, inner: torch.nn.Module, how: str) -> None:
        super().__init__()
        self.inner, self.how = inner, how

    def forward(self, obs: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        action = self.inner(obs, mask)
        if self.how == "off by a thousandth":
            return action + 1e-3
        if self.how == "wrong in one rare place":
            return torch.where(obs[:, :1] == -1e6, torch.zeros_like(action), action)
        if self.how == "another type":
            return action.double()
        return action[:, :2]


@pytest.mark.parametrize(
    "how", ["off by a thousandth", "wrong in one rare place", "another type", "another shape", "unwritable"]
)
def test_broken_map_is_refused(how: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = deploy.ControlMap.forward
    if how == "unwritable":

        def forward(self: deploy.ControlMap, obs: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
            return real(self, obs if bool(obs.sum() > 0) else -obs, mask)

        monkeypatch.setattr(deploy.ControlMap, "forward", forward)
    else:
        control = deploy.control

        def broken(*arguments: object) -> deploy.Exportable:
            thing = control(*arguments)  # type: ignore[arg-type]
            return dataclasses.replace(thing, module=Broken(thing.module, how))

        monkeypatch.setattr(deploy, "control", broken)
    with pytest.raises(ActrixError, match="cannot be written" if how == "unwritable" else "does not do what"):
        deploy.export(run, tmp_path / "out" / "policy.onnx")
    assert not list(tmp_path.glob("out/*"))


def test_other_weights_are_refused() -> None:
    """A file of one learner is not the policy of another; nor is it refused for its own."""
    regime = regimes.make(registry.load("dqn"), RunOptions(env="deploy_worlds:DeployStart-v0").resolved(), small("dqn"))
    learner = regime.learner(registry.load("dqn").learner, small("dqn"), 0).eval()
    thing = deploy.exportable(learner, regime)
    regime.close()
    blob = deploy.convert(thing, {})
    assert deploy.check(blob, thing, learner)[0] == len(thing.trials["obs"])
    with torch.no_grad():
        for p in learner.parameters():
            p.add_(0.1 * torch.randn_like(p))
    with pytest.raises(ActrixError):
        deploy.check(blob, thing, learner)


def test_old_file_survives_a_refusal(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "policy.onnx"
    deploy.export(run, out)
    before = out.read_bytes()
    monkeypatch.setattr(deploy, "check", lambda *a: (_ for _ in ()).throw(deploy.refused("of a test")))
    with pytest.raises(ActrixError):
        deploy.export(run, out)
    assert out.read_bytes() == before


def test_missing_extra_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ActrixError, match="onnxruntime") as caught:
        deploy.export(run, tmp_path / "policy.onnx")
    assert caught.value.hint == "pip install 'actrix[deploy]'"


@pytest.mark.skipif("grpo" not in registry.catalogue(), reason="no language system yet")
def test_language_policy(tmp_path: Path) -> None:
    entry = registry.load("grpo")
    settings = {"prompts": 2, "group": 2, "minibatches": 1, "warm_steps": 1, "warm_batch": 4}
    options = RunOptions(task="countdown", steps=1, eval_episodes=2, threads=1, compile="no")
    trainer = Trainer.start("grpo", options, entry.config(**settings), tmp_path / "run")
    for _ in trainer:
        pass
    trainer.close()
    out = tmp_path / "policy.onnx"
    assert deploy.export(tmp_path / "run", out)["checked"] == 32
    learner, regime, _ = load_learner(tmp_path / "run")
    regime.close()
    tokens = torch.randint(learner.spec.vocab, (3, 11))
    with torch.no_grad():
        truth = learner.actor.logits(tokens)
    found = onnxruntime.InferenceSession(out).run(None, {"tokens": tokens.numpy()})[0]
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-4)


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(ActrixError, match="not a run folder"):
        deploy.export(tmp_path, tmp_path / "policy.onnx")


def test_every_weight_is_one_number_of_the_file(run: Path, tmp_path: Path) -> None:
    """Only the actor travels: no critic, no optimiser."""
    deploy.export(run, tmp_path / "policy.onnx")
    learner, regime, _ = load_learner(run)
    regime.close()
    actor = sum(p.numel() for p in learner.actor.parameters()) * 4
    assert actor <= (tmp_path / "policy.onnx").stat().st_size < 2 * actor + 20_000
