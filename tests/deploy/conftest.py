"""Recorded data for the policies that learn from them."""

from __future__ import annotations

import gymnasium as gym
import pytest

from actrix.data.formats import write_flat
from actrix.run.collect import record


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Random actions in uneven bounds, by nobody knows which environment."""
    path = tmp_path_factory.mktemp("data") / "uneven.npz"
    env = gym.make("deploy_worlds:DeployUneven-v0")
    played = record(lambda obs, mask: env.action_space.sample(), env, 5, 0)
    write_flat(path, played, (env.observation_space, env.action_space), {"env": ""})
    return str(path)
