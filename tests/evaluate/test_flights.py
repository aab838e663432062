"""Trajectories are drawn where they were flown."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import gymnasium as gym
import numpy as np

from actrix.evaluate import flights, pictures
from actrix.evaluate.flights import SIZE, Flight, draw

SVG = "{http://www.w3.org/2000/svg}"


class Line(gym.Env):
    """Moves a tenth of a metre along x at every step; ends at half a metre."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Box(-1, 1, (1,))
    reach, dt = 0.6, 0.1

    def place(self) -> np.ndarray:
        return np.array([0.1 * self.t, 0.0, 0.0])

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[np.ndarray, dict]:
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.t += 1
        return np.zeros(1, np.float32), 2.0, self.t == 5, False, {}


def test_an_episode_becomes_a_path() -> None:
    (picture,) = pictures.frames(Line(), lambda obs: np.zeros(1), seed=0, n_frames=3)
    assert picture.step == 5
    assert picture.score == 10.0
    assert picture.seconds == 0.5
    assert isinstance(picture.image, str)
    tree = ET.fromstring(picture.image)
    lines = [p for p in tree.iter(f"{SVG}polyline") if "line" in p.get("class", "")]
    assert len(lines) >= 6  # three flights, each from two sides
    assert len(re.findall("l8 8m0 -8", picture.image)) == 6  # all were ended


def test_from_above_x_goes_right_and_y_goes_up() -> None:
    scale = 0.42 * SIZE / 0.6 / np.sqrt(2)
    places = np.array([[0.1, 0.0, 0.0], [0.1, 0.3, 0.5], [-0.2, 0.3, 0.0]])
    drawn = draw([Flight(places, 0.0, False)], 0.6, None)
    above = ET.fromstring(drawn).findall(f"{SVG}polyline")[1].get("points", "")
    dots = np.array([[float(v) for v in dot.split(",")] for dot in above.split()])
    expected = np.array([1.5 * SIZE, 0.5 * SIZE]) + places[:, :2] * [scale, -scale]
    np.testing.assert_allclose(dots, expected, atol=0.06)
    assert "l8 8m0" not in drawn


def test_the_quadrotor_can_be_drawn() -> None:
    env = pictures.open_env("actrix.envs.quadrotor:Hover-v0")
    assert flights.can_draw(env)
    assert not flights.can_draw(gym.make("CartPole-v1"))
    found = flights.fly(env, lambda obs: np.full(4, 0.334, np.float32), seed=0, episodes=2, max_steps=20)
    assert [f.steps for f in found] == [20, 20]
    assert np.abs(found[0].places - found[1].places).max() > 0.01
    assert np.abs(found[0].places[0]).max() <= 0.2
