"""What only critics may see: no actor sees it, every critic does, and whoever deploys the policy need not have it."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from torch import Tensor

from actrix import registry
from actrix.data.batches import Steps, Transitions
from actrix.envs.spaces import ObsMap
from actrix.errors import ActrixError
from actrix.nets.encoder import Encoder
from actrix.rng import torch_stream
from actrix.run.feeds import CurriculumFeed, RolloutFeed, Setting, flatten
from actrix.run.trainer import RunOptions, Trainer
from actrix.spec import Spec

HOVER = "actrix.envs.quadrotor:Hover-v0"
# what is hidden stands in the middle, so that the visible columns are in two pieces
SPACE = Dict(a=Box(-1, 1, (2,)), privileged=Dict(wind=Box(-1, 1, (3,)), mass=Box(0, 1, (1,))), z=Box(-1, 1, (1,)))
SYSTEMS = [e.slug for e in registry.catalogue().values() if e.family == "control" and "box" in e.acts]


class Secret(gym.Env):
    """The reward is for an action that only the privileged part tells."""

    observation_space, action_space = SPACE, Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.t += 1
        return self.observation_space.sample(), float(action[0]), False, self.t >= 5, {}


gym.register("Secret-v0", entry_point=Secret)


def spec() -> Spec:
    obs = ObsMap(SPACE)
    with_action = Trainer.start("td3", RunOptions(env="Secret-v0", steps=1, threads=1, compile="no"))
    found = with_action.learner.spec
    with_action.close()
    assert found.obs == obs.parts
    return found


def test_parts_know_that_they_are_privileged() -> None:
    assert [(p.name, p.start, p.stop, p.privileged) for p in spec().obs] == [
        ("obs.a", 0, 2, False),
        ("obs.privileged.wind", 2, 5, True),
        ("obs.privileged.mass", 5, 6, True),
        ("obs.z", 6, 7, False),
    ]


def test_encoders_look_at_what_they_may() -> None:
    row = torch.arange(14.0).reshape(2, 7)
    assert Encoder(spec())(row)[0].tolist() == [0, 1, 6]
    assert Encoder(spec().for_critic())(row) is row
    wind = spec().looking_at(spec().obs[1:2])
    assert Encoder(wind)(row)[1].tolist() == [9, 10, 11]
    assert wind.for_critic() is wind
    with pytest.raises(ActrixError, match="the actor would see nothing"):
        Encoder(dataclasses.replace(spec(), obs=spec().obs[1:3]))


def learn(learner: Any, obs: Tensor) -> None:
    """A few updates on rewards that the privileged part tells."""
    none = torch.zeros(16, 1, dtype=torch.bool)
    for _ in range(5):
        acted = learner.act(obs)
        rows = (obs[:, None], acted.action[:, None], acted.logp[:, None], obs[:, 3:4], ~none, none, ~none, obs[:, None])
        post = obs[:, None] if learner.wants_post else None
        learner.update(flatten(learner.prepare(Steps(*rows, slope=torch.ones(16, 1, 1), post_obs=post))))


@pytest.mark.parametrize("slug", SYSTEMS)
def test_no_actor_sees_it_and_every_critic_does(slug: str) -> None:
    config = registry.load(slug).config
    known = {f.name for f in dataclasses.fields(config)}
    # (an ensemble of trees that actor and critic share sees what the actor may)
    settings = {"hidden": (8,), "normalise_obs": True, "shared": False}
    with torch_stream(0, "initialise"):
        learner: Any = registry.load(slug).learner(spec(), config(**{k: v for k, v in settings.items() if k in known}))
    obs = torch.rand(16, 7)
    if issubclass(learner.feed, RolloutFeed):
        learn(learner, obs)  # critics that begin with nothing (trees) see nothing before they learn
    other = obs.clone()
    other[:, 2:6] = torch.rand(16, 4)
    assert torch.equal(learner.act(obs, "mean").action, learner.act(other, "mean").action)
    if not hasattr(learner, "critic"):
        pytest.skip("it has no critic that learns")

    def judged(rows: Tensor) -> Tensor:
        try:
            return learner.critic(rows)
        except TypeError:
            return learner.critic(rows, torch.zeros(16, 1)).members

    assert not torch.equal(judged(obs), judged(other))


def test_a_symmetric_critic_sees_what_the_actor_sees() -> None:
    entry = registry.load("learning-to-fly")
    obs = torch.rand(16, 7)
    other = obs.clone()
    other[:, 2:6] = torch.rand(16, 4)
    action = torch.zeros(16, 1)
    for asymmetric in (True, False):
        critic: Any = entry.learner(spec(), entry.config(asymmetric=asymmetric)).critic
        same = torch.equal(critic(obs, action).members, critic(other, action).members)
        assert same != asymmetric
    # the card of the system: its critic sees nothing but what is privileged
    other = torch.rand(16, 7)
    other[:, 2:6] = obs[:, 2:6]
    critic = entry.learner(spec(), entry.config()).critic
    assert torch.equal(critic(obs, action).members, critic(other, action).members)


def test_history_can_be_switched_off() -> None:
    entry = registry.load("learning-to-fly")
    trainer = Trainer.start("learning-to-fly", RunOptions(env=HOVER, steps=1, threads=1, compile="no"))
    seen = trainer.learner.spec
    trainer.close()
    sizes = [entry.learner(seen, entry.config(history=h)).actor.encoder.size for h in (True, False)]
    assert sizes == [146, 18]


# -- the curriculum ---------------------------------------------


def feed(**settings: Any) -> tuple[CurriculumFeed, Trainer]:
    entry = registry.load("learning-to-fly")
    config = entry.config(hidden=(8,), envs=4, stage_every=40, warmup=0, batch=64, updates_per_step=1.0, **settings)
    options = RunOptions(env=HOVER, steps=1_000, threads=1, compile="no")
    trainer = Trainer.start("learning-to-fly", options, config)
    found = CurriculumFeed(Setting(trainer.learner, trainer.regime.worlds, 0, None, 1_000, 1_000))  # type: ignore[attr-defined]
    found.reset()
    return found, trainer


def rewards(stage: int, rows: dict[str, Tensor]) -> Tensor:
    from actrix.envs.quadrotor import reward_at

    return reward_at(stage)(Transitions(**rows))


def test_old_experience_gets_the_reward_of_the_moment() -> None:
    found, trainer = feed()
    stages = set()
    for _ in range(25):
        for batch, _ in found.round(trainer.learner):
            columns = {k: v for k, v in vars(batch).items() if isinstance(v, Tensor)}
            torch.testing.assert_close(batch.reward, rewards(found.stage, columns), rtol=1e-4, atol=1e-5)
        stages.add(found.stage)
    assert stages == {0, 1, 2}
    rows = found.replay.tensors()  # as they were gathered
    torch.testing.assert_close(rows["reward"], rewards(0, rows), rtol=1e-4, atol=1e-5)
    trainer.close()


def test_without_relabelling_a_row_keeps_its_reward() -> None:
    found, trainer = feed(relabel=False)
    for _ in range(25):
        list(found.round(trainer.learner))
    rows = found.replay.tensors()
    for stage in range(3):
        of_stage = {k: v[40 * stage : 40 * (stage + 1)] for k, v in rows.items()}
        torch.testing.assert_close(of_stage["reward"], rewards(stage, of_stage), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(rows["reward"][80:], rewards(0, {k: v[80:] for k, v in rows.items()}))
    trainer.close()
