"""QGF with a critic and a velocity field that are known in closed form, and what its parts learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_contracts import SPECS, batch_of, build, gradient
from torch import Tensor, nn
from worlds import name, recorded

from actrix import api, registry
from actrix.critics.values import Value
from actrix.errors import ActrixError
from actrix.nets.processes import Flow
from actrix.rng import torch_stream
from actrix.run.trainer import RunOptions, Trainer
from actrix.spec import vector_spec

MODES = torch.tensor([-2.0, 0.0, 1.0]) / 3  # where the data are; one unit of the box is 3 of the reward's
STD = 0.04


def reward(action: Tensor) -> Tensor:
    return -(3 * action - 1).square()


def critic(action: Tensor) -> Tensor:
    """Right where there are data; it believes in a great prize near the edge, where there are none."""
    return reward(action) + 8.0 * (-0.5 * ((3 * action - 3) / 0.6).square()).exp()


def velocity(noisy: Tensor, time: Tensor) -> Tensor:
    """Of a perfect flow to the modes, a third each."""
    alpha, sigma = time[:, None], 1 - time[:, None]
    variance = (alpha * STD).square() + sigma.square()
    gap = noisy - alpha * MODES
    share = (-0.5 * gap.square() / variance).softmax(-1)
    clean = (share * (MODES + alpha * STD**2 / variance * gap)).sum(-1, keepdim=True)
    return (clean - noisy) / sigma


class Known(nn.Module):
    def __init__(self, worth: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.worth = worth

    def forward(self, obs: Tensor, action: Tensor) -> Value:
        found = self.worth(action)[:, 0]
        return Value(torch.stack((found, found + 5.0)))


def known(worth: Callable[[Tensor], Tensor] = critic, **settings: Any) -> Any:
    """A learner of single actions whose target critic and flow are those above."""
    learner: Any = build("qgf", vector_spec(1, 1), chunk=1, **settings)
    learner.target_critic = Known(worth)
    learner.actor._field = lambda features, noisy, time: velocity(noisy, time)
    return learner


def acted(learner: Any, n: int = 4_000) -> Tensor:
    with torch_stream(0, "act"):
        return learner.exploit(torch.zeros(n, 1))[0].action


def test_guidance_finds_the_best_mode_and_noisy_guidance_the_mistake() -> None:
    """The more weight, the more of the data's best mode, at clean actions; at noisy ones, the critic's mistake."""
    plain = reward(acted(known(guide="none"))).mean()
    assert plain.item() == pytest.approx((-9 - 1 - 0) / 3, abs=0.5), "a third of each mode"
    clean = [reward(acted(known(guidance=w))).mean() for w in (0.1, 0.3)]
    assert plain < clean[0] < clean[1]
    assert clean[1] > -0.3
    drifted = acted(known(guide="noisy", guidance=1.0))
    straight = acted(known(guidance=1.0))
    assert reward(drifted).mean() < reward(straight).mean() - 0.5
    assert (drifted > 0.6).float().mean() > (straight > 0.6).float().mean() + 0.1, "towards the prize that is none"


def test_no_guidance_is_the_flow_itself() -> None:
    none = acted(known(guide="none"))
    for guide in ("clean", "noisy", "jacobian", "bptt"):
        torch.testing.assert_close(acted(known(guide=guide, guidance=0.0)), none)
    torch.testing.assert_close(acted(known(guide="ascent", ascent_steps=0)), none)
    share = (none - MODES).abs().argmin(1).bincount() / len(none)
    torch.testing.assert_close(share, torch.full((3,), 1 / 3), atol=0.06, rtol=0)


@pytest.mark.parametrize("guide", ["clean", "noisy", "jacobian", "bptt"])
def test_each_guide_is_the_derivative_that_it_says(guide: str) -> None:
    """By differences, at every step of the chain."""
    learner = known(guide=guide, guidance=0.7, denoising_steps=5)
    obs, width, seen = torch.zeros(64, 1).double(), 1e-5, 0
    asked = {"clean": learner.at_clean, "noisy": learner.at_noisy, "jacobian": learner.through_one}
    asked["bptt"] = learner.through_all
    flow, times = Flow(), learner.actor.process.times(5)

    def reached(x: Tensor, time: float) -> Tensor:
        """The action at which the critic is asked."""
        if guide == "noisy":
            return x
        if guide == "bptt":
            return flow.solve(velocity, x, times[times.index(time) :])[-1].clamp(-1, 1)
        return (x + (1 - time) * velocity(x, torch.full((64,), time).double())).clamp(-1, 1)

    torch.manual_seed(0)
    for x, time in zip(flow.solve(velocity, 0.7 * torch.randn(64, 1).double(), times), times[:-1]):
        clean = x + (1 - time) * velocity(x, torch.full((64,), time).double())
        found = asked[guide](obs, x, clean, time)
        if guide == "clean":  # the derivative where it arrives, not that of arriving
            at = reached(x, time)
            expected = (critic(at + width) - critic(at - width)) / (2 * width)
        else:
            expected = (critic(reached(x + width, time)) - critic(reached(x - width, time))) / (2 * width)
        close = (found - 0.7 * expected).abs() < 1e-4 * (1 + expected.abs())
        assert close.float().mean() > 0.95, "but where clipping has a corner"
        seen += int((expected.abs() > 0.1).sum())
    assert seen > 100


def test_the_lower_of_the_target_critics_is_asked() -> None:
    """The other member, and the critic that is being trained, may say what they like."""

    class Two(nn.Module):
        def forward(self, obs: Tensor, action: Tensor) -> Value:
            return Value(torch.stack((critic(action)[:, 0], 100.0 - 50 * action[:, 0])))

    one, other = known(guidance=0.3), known(guidance=0.3)
    other.target_critic = Two()
    with torch.no_grad():
        for p in other.critic.parameters():
            p.add_(1.0)
    assert torch.equal(acted(one), acted(other))


def test_the_best_of_several_and_ascent() -> None:
    few, many = (reward(acted(known(reward, guide="none", samples=n), 1_000)) for n in (2, 16))
    assert many.mean() > few.mean() + 0.5
    assert (many > -0.2).float().mean() > 0.98, "some of 16 are of the best mode, but for (2/3)^16"
    best = acted(known(reward, guide="ascent", ascent_steps=200, ascent_size=0.01), 200)
    torch.testing.assert_close(best, torch.full_like(best, 1 / 3), atol=1e-3, rtol=0)
    one = acted(known(reward, guide="none"), 200)
    step = acted(known(reward, guide="ascent", ascent_steps=1, ascent_size=0.01), 200)
    torch.testing.assert_close(step, (one - 0.01 * 6 * (3 * one - 1)).clamp(-1, 1))


def test_what_was_cut_off_is_not_learned_from() -> None:
    learner = build("qgf", SPECS["box"])
    batch = batch_of(learner, 0)
    valid = torch.arange(32) % 3 > 0
    batch = dataclasses.replace(batch, valid=valid)
    other = batch.map(lambda x: torch.where(valid.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros_like(x)))
    found = []
    for rows in (batch, dataclasses.replace(other, valid=valid)):
        with torch_stream(0, "update"):
            found.append(gradient(learner, rows))
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    with torch_stream(0, "update"):
        everything = gradient(learner, dataclasses.replace(batch, valid=None))
    assert any(not torch.allclose(a, b) for a, b in zip(found[0], everything))


def test_chunks_are_learned_played_evaluated_and_collected(tmp_path: Path) -> None:
    env = name("box")
    entry = registry.load("qgf")
    config = entry.config(chunk=3, hidden=(8,), batch=16, denoising_steps=2, guidance=0.1)
    options = RunOptions(env=env, data=recorded(env), steps=30, eval_episodes=3, compile="no", threads=1)
    trainer = Trainer.start("qgf", options, config, tmp_path / "run")
    for _ in trainer:
        pass
    trainer.close()
    policy = api.load(tmp_path / "run")
    learner: Any = policy.learner  # type: ignore[union-attr]
    chunks = []
    learner.actor.planner = lambda obs, mode: chunks.append(learner.made(obs, mode)) or chunks[-1]
    play = policy.player()  # type: ignore[union-attr]
    played = [play(np.zeros(3, np.float32)) for _ in range(7)]
    assert len(chunks) == 3
    low, high = np.array([-2.0, -2.0]), np.array([3.0, 3.0])
    expected = torch.cat(chunks).reshape(-1, 2)[:7].double().numpy() * (high - low) / 2 + (high + low) / 2
    np.testing.assert_allclose(played, expected, rtol=1e-5, atol=1e-5)
    made = api.collect(tmp_path / "run", tmp_path / "data.npz", 4, mode="mean", format="npz")
    assert made["episodes"] == 4


def test_a_trained_policy_is_guided_otherwise() -> None:
    learner = known(guide="none")
    plain = acted(learner)
    learner.configure(guide="clean", guidance=0.3)
    assert torch.equal(acted(learner), acted(known(guidance=0.3)))
    learner.configure(guide="none")
    assert torch.equal(acted(learner), plain)
    learner.configure(samples=4)
    with pytest.raises(ActrixError, match="kept for 1 proposals, not for 4"):
        learner.act(torch.zeros(2, 1), "mean")
    with pytest.raises(ActrixError, match="chunk"):
        learner.configure(chunk=2)
    with pytest.raises(ActrixError, match="not 'best'"):
        learner.configure(guide="best")


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ActrixError, match="not 'cleann'") as caught:
        build("qgf", SPECS["box"], guide="cleann")
    assert caught.value.misuse


def test_online_its_replay_holds_the_chunks_of_what_it_did() -> None:
    """Against the steps themselves, taken down on their way into the worlds, in two environments."""
    env, entry = name("box"), registry.load("qgf")
    config = entry.config(chunk=3, hidden=(8,), batch=16, denoising_steps=2, guidance=0.1, discount=0.9, envs=2)
    options = RunOptions(
        env=env, data=recorded(env), steps=4, online_steps=60, eval_episodes=1, compile="no", threads=1
    )
    trainer = Trainer.start("qgf", dataclasses.replace(options, checkpoint_every=1000), config)
    worlds: Any = trainer.regime.worlds  # type: ignore[attr-defined]
    real, steps = worlds.step, [[[]], [[]]]  # of each world, episodes of (action, reward, ends, terminates, next obs)

    def step(action: np.ndarray) -> Any:
        out = real(action)
        for i in range(2):
            ends = bool(out.terminated[i] or out.truncated[i])
            steps[i][-1].append((action[i].copy(), out.reward[i], bool(out.terminated[i]), out.next_obs[i].copy()))
            if ends:
                steps[i].append([])
        return out

    worlds.step = step
    updates = [report.updates for report in trainer]
    feed: Any = trainer.feed
    found = feed.online.replay.tensors()
    trainer.close()
    assert updates[:4] == [1, 2, 3, 4]
    assert updates[-1] >= 4 + 60 - 3 * 2, "it begins to learn when the first chunk is whole"
    expected = []
    for episodes in steps:
        assert len(episodes) > 4
        for k, episode in enumerate(episodes):
            over = k < len(episodes) - 1
            for t in range(len(episode)):
                part = episode[t : t + 3]
                if not over and len(part) < 3:
                    continue  # under way
                action = np.zeros((3, 2), np.float32)
                action[: len(part)] = [p[0] for p in part]
                total = sum(0.9**j * p[1] for j, p in enumerate(part))
                expected.append((*action.ravel(), total, *part[-1][3], part[-1][2], len(part) == 3 or part[-1][2]))
    single = {k: found[k][:, None] for k in ("reward", "terminated", "valid")}
    parts = (found["action"], single["reward"], found["next_obs"], single["terminated"], single["valid"])
    rows = torch.cat(parts, 1).numpy()
    assert len(rows) == len(expected)
    order = lambda table: table[np.lexsort(np.round(table, 4).T)]  # noqa: E731
    np.testing.assert_allclose(order(rows), order(np.array(expected, np.float32)), rtol=1e-5, atol=1e-5)
