"""The C file, compiled by the system's compiler, does what the policy does."""

from __future__ import annotations

import ctypes
import math
import re
import subprocess
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_onnx import ABLE, finished, offline, small

import actrix
from actrix import registry
from actrix.deploy import c, onnx
from actrix.errors import ActrixError
from actrix.run import regimes
from actrix.run.trainer import RunOptions

pytestmark = pytest.mark.skipif(c.compiler() is None, reason="there is no C compiler")
FLAT = ["Plain", "Uneven", "Matrix", "Unbounded", "Whole", "Start", "Masked", "Several", "Bits"]
CASES = [(slug, name) for name in FLAT for slug in ABLE[name][:1]]
CASES += [("bn-mappo", "Several")]
CASES += [(slug, "Plain") for slug in ABLE["Plain"][1:]] + [(slug, "Start") for slug in ABLE["Start"][1:]]


def library(path: Path) -> ctypes.CDLL:
    """Compiled as a user would, with every warning an error."""
    out = path.with_suffix(".so")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wno-unused-variable", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run([c.compiler(), *flags, str(path), "-o", str(out), "-lm"], check=True)
    return ctypes.CDLL(str(out))


@pytest.mark.parametrize(("slug", "name"), CASES, ids=map("-".join, CASES))
def test_every_kind_of_space_and_every_system(slug: str, name: str) -> None:
    """On random, extreme and disturbed inputs: `compare` raises where they differ."""
    regime = regimes.make(registry.load(slug), RunOptions(env=f"deploy_worlds:Deploy{name}-v0").resolved(), small(slug))
    learner = regime.learner(registry.load(slug).learner, small(slug), 0).eval()
    thing = onnx.exportable(learner, regime)
    regime.close()
    source = c.convert(thing, {})
    assert set(re.findall(r"#include <(\w+)\.h>", source)) == {"math", "stdint"}
    checked, _ = c.compare([c.execute(source, thing)], thing, learner)
    assert checked >= 28
    before = thing.policy(learner, thing.trials)
    for _ in range(20):  # a choice that does not depend on what is seen may stay the same by chance
        with torch.no_grad():
            for p in learner.parameters():
                p.add_(0.3 * torch.randn_like(p))
        if (thing.policy(learner, thing.trials) != before).any():
            break
    if name != "Masked":  # (most masks leave little to choose)
        with pytest.raises(ActrixError, match="does not do what"):
            c.compare([c.execute(source, thing)], thing, learner)


OFFLINE = {
    "bins": ("bc", {"actor": "autoregressive"}),
    "ranked and moved": ("pa-rl", {"proposals": 4, "keep": 2, "ascent": 1, "step": 0.3, "members": 2}),
    "edited": ("expo", {"proposals": 3, "edits": 2, "denoising_steps": 2, "members": 2}),
    "guided chunks": ("qgf", {"chunk": 2, "denoising_steps": 2, "guide": "jacobian", "guidance": 2.0}),
}


@pytest.mark.parametrize("case", OFFLINE)
def test_what_acts_by_more_than_a_network(case: str, data: str) -> None:
    """Gradients, ranking and chunks in C: `compare` raises where the policy does another thing."""
    slug, settings = OFFLINE[case]
    regime, config = offline(slug, data, **settings)
    learner = regime.learner(registry.load(slug).learner, config, 0).eval()
    thing = onnx.exportable(learner, regime)
    regime.close()
    source = c.convert(thing, {})
    assert c.compare([c.execute(source, thing)], thing, learner)[0] > 100
    assert f"float action[{3 * learner.chunk}]" in source


def test_arrays_share_room_when_their_time_is_over(tmp_path: Path) -> None:
    """A chain of many layers needs room for a few, whatever its length."""
    stack = []
    for layers in (2, 12):
        net = torch.nn.Sequential(*(m for _ in range(layers) for m in (torch.nn.Linear(64, 64), torch.nn.Tanh())))
        trials = {"obs": np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)}
        inputs = {"obs": torch.from_numpy(trials["obs"][:2])}
        thing = onnx.Exportable(net, inputs, (), "action", trials, lambda learner, given: np.empty(0), None, {})
        source = c.convert(thing, {})
        with torch.no_grad():
            expected = net(torch.from_numpy(trials["obs"])).numpy()
        np.testing.assert_allclose(c.execute(source, thing), expected, rtol=1e-5, atol=1e-6)
        stack.append(int(re.search(r"stack: .([\d,]+) bytes", source)[1].replace(",", "")))  # type: ignore[index]
    assert stack[0] == stack[1]
    assert stack[0] < 5 * 64 * 4, "and none for transposed weights"


def test_a_run_becomes_a_file(tmp_path: Path) -> None:
    """With normalised observations and a box of uneven bounds; called with what the environment returned."""
    folder, out = finished("ppo", "deploy_worlds:DeployUneven-v0", tmp_path / "run"), tmp_path / "policy.c"
    result = c.export(folder, out)
    assert result["bytes"] == out.stat().st_size
    assert result["checked"] > 100
    act, policy = library(out).actrix_act, actrix.load(folder)
    env = gym.make("deploy_worlds:DeployUneven-v0")
    for seed in range(10):
        obs, _ = env.reset(seed=seed)
        action = np.empty(3, np.float32)
        act(ctypes.c_void_p(obs.ctypes.data), ctypes.c_void_p(action.ctypes.data))
        np.testing.assert_allclose(action, policy.act(obs), rtol=1e-5, atol=1e-5)
        assert env.action_space.contains(action)


def test_privileged_parts_stay_at_home(tmp_path: Path) -> None:
    """The file of a policy whose critic saw more takes what the actor sees, and so does ONNX's."""
    folder, out = finished("learning-to-fly", "actrix.envs.quadrotor:Hover-v0", tmp_path / "run"), tmp_path / "policy.c"
    c.export(folder, out)
    assert "const float obs[146], float action[4]" in out.read_text()
    act, policy = library(out).actrix_act, actrix.load(folder)
    obs, _ = gym.make("actrix.envs.quadrotor:Hover-v0").reset(seed=1)
    row = np.concatenate([obs["history"], obs["observation"]])
    action = np.empty(4, np.float32)
    act(ctypes.c_void_p(row.ctypes.data), ctypes.c_void_p(action.ctypes.data))
    np.testing.assert_allclose(action, policy.act(obs), atol=1e-6)
    np.testing.assert_array_equal(policy.act({k: v for k, v in obs.items() if k != "privileged"}), policy.act(obs))
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx.export(folder, tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    assert session.get_inputs()[0].shape[1] == 146
    np.testing.assert_allclose(session.run(None, {"obs": row[None]})[0][0], action, atol=1e-5)


def test_what_has_no_words_in_c_is_named(tmp_path: Path) -> None:
    folder = finished("sac", "deploy_worlds:DeployImage-v0", tmp_path / "run")
    with pytest.raises(ActrixError, match="no C for the operation convolution") as caught:
        c.export(folder, tmp_path / "policy.c")
    assert "onnx" in str(caught.value.hint)
    assert not (tmp_path / "policy.c").exists()


def test_numbers_are_exact() -> None:
    for value in (0.1, 1.0, -3.0, 1e-42, 3.4e38, 16777217.0):
        number = float(np.float32(value))
        assert np.float32(c.literal(number, torch.float32).strip("()").rstrip("f")) == np.float32(value)
        assert float(c.literal(value, torch.float64).strip("()")) == value
    assert c.literal(math.inf, torch.float32) == "INFINITY"
    assert c.literal(-math.inf, torch.float64) == "-INFINITY"
