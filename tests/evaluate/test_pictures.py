"""Pictures: valid images, exact outlines of MuJoCo shapes, and a fallback for everything else."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from actrix.evaluate import pictures, scene, shapes
from actrix.evaluate.records import read_run

SVG = "{http://www.w3.org/2000/svg}"


def decode(raw: bytes) -> np.ndarray:
    """A PNG as `[height, width, 3]`, for the one filter the encoder uses."""
    width, height = struct.unpack(">II", raw[16:24])
    at = raw.index(b"IDAT")
    (size,) = struct.unpack(">I", raw[at - 4 : at])
    rows = np.frombuffer(zlib.decompress(raw[at + 4 : at + 4 + size]), np.uint8).reshape(height, -1)
    assert (rows[:, 0] == 2).all()
    return np.cumsum(rows[:, 1:].astype(np.int64), axis=0).reshape(height, width, 3) % 256


def test_png_round_trip() -> None:
    screen = np.random.default_rng(0).integers(0, 256, (7, 11, 3)).astype(np.uint8)
    np.testing.assert_array_equal(decode(pictures.png(screen)), screen)
    assert pictures.shrink(np.zeros((400, 640, 3), np.uint8), 320).shape == (200, 320, 3)


def test_classic_control_is_pictured_as_png() -> None:
    env = pictures.open_env("CartPole-v1")
    if env.render_mode is None:
        pytest.skip("pygame is not installed")
    found = pictures.frames(env, lambda obs: int(obs[2] > 0), 0, 5)
    assert len(found) == 5
    assert [p.step for p in found] == sorted(p.step for p in found)
    assert found[0].step == 0
    assert found[-1].last
    assert found[-1].score == found[-1].step  # one per step
    for picture in found:
        assert isinstance(picture.image, bytes)
        assert decode(picture.image).std() > 0


@pytest.mark.parametrize(
    ("env_id", "geoms"),
    [("HalfCheetah-v5", 8), ("Hopper-v5", 4), ("Ant-v5", 13), ("Humanoid-v5", 17), ("Reacher-v5", 9)],
)
def test_mujoco_bodies_are_drawn_inside_the_picture(env_id: str, geoms: int) -> None:
    pytest.importorskip("mujoco")
    env = pictures.open_env(env_id)
    rng = np.random.default_rng(0)
    low, high = env.action_space.low, env.action_space.high
    found = pictures.frames(env, lambda obs: rng.uniform(low, high), 0, 4)
    env.close()
    for picture in found:
        assert isinstance(picture.image, str)
        root = ET.fromstring(picture.image)
        balls = root.findall(f"{SVG}circle")
        rods = [p for p in root.findall(f"{SVG}path") if str(p.get("stroke")).startswith("url")]
        cylinders = 1 if env_id == "Reacher-v5" else 0
        assert len(balls) + len(rods) == geoms - cylinders
        for rod in rods:
            x, y = (float(v) for v in str(rod.get("d"))[1:].split("L")[0].split(" "))
            assert -40 < x < scene.WIDTH + 40
            assert -40 < y < scene.HEIGHT + 40


def side_view() -> scene.Camera:
    return scene.Camera(scene.view(0, 0), np.zeros(2), 100.0, follow=False, upright=True)


def one(kind: int, size: list[float]) -> scene.Geoms:
    return scene.Geoms(
        np.array([0]), np.array([kind]), np.array([size]), np.array([[0.8, 0.6, 0.4, 1.0]]), np.array([True]),
        (None,), 0.0,
    )  # fmt: skip


def test_a_capsule_is_a_thick_line_of_its_true_size() -> None:
    """Half length 0.5 along +x at 100 pixels a metre, radius 0.1: 100 long between its ends, 20 wide."""
    turn = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # its own z axis points along +x
    pose = scene.Pose(np.array([[0.2, 0.0, 0.3]]), turn[None], np.zeros(3))
    text = shapes.shape(one(scene.CAPSULE, [0.1, 0.5, 0.0]), 0, pose, side_view(), np.array([0.0, 1.0, 0.0]))
    drawn = ET.fromstring(f"<svg>{text}</svg>").findall("path")[-1]
    assert drawn.get("d") == "M130.00 90.00L230.00 90.00"
    assert drawn.get("stroke-width") == "20.00"


def test_a_sphere_is_a_circle_and_a_box_its_facing_side() -> None:
    pose = scene.Pose(np.zeros((1, 3)), np.eye(3)[None], np.zeros(3))
    ball = ET.fromstring(
        f"<svg>{shapes.shape(one(scene.SPHERE, [0.25, 0, 0]), 0, pose, side_view(), np.ones(3))}</svg>"
    ).find("circle")
    assert ball is not None
    assert (ball.get("cx"), ball.get("cy"), ball.get("r")) == ("160.00", "120.00", "25.00")
    box = ET.fromstring(
        f"<svg>{shapes.shape(one(scene.BOX, [0.3, 0.1, 0.2]), 0, pose, side_view(), np.ones(3))}</svg>"
    ).findall("polygon")
    assert len(box) == 1
    corners = {tuple(float(v) for v in p.split(",")) for p in str(box[0].get("points")).split(" ")}
    assert corners == {(130.0, 100.0), (130.0, 140.0), (190.0, 100.0), (190.0, 140.0)}


def test_camera_axes_are_orthonormal_and_follow_the_root() -> None:
    for azimuth, elevation in [(0, 0), (0, 90), (-28, 17)]:
        axes = scene.view(azimuth, elevation)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(np.cross(axes[0], axes[1]), axes[2], atol=1e-12)
    cam = scene.Camera(scene.view(0, 0), np.zeros(2), 100.0, follow=True, upright=True)
    root = np.array([7.0, 0.0, 1.0])
    np.testing.assert_allclose(cam.project(root, root)[:2], [160.0, 20.0])


def test_hull() -> None:
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2], [1, 1], [1, 0]], float)
    assert {tuple(p) for p in shapes.hull(square)} == {(0, 0), (2, 0), (2, 2), (0, 2)}


class Blind(gymnasium.Env[Any, Any]):
    """Cannot be pictured at all, and observes a dictionary."""

    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.age = 0
        return {"a": np.zeros(2), "b": 1}, {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.age += 1
        return {"a": np.full(2, self.age), "b": 1}, 0.5, self.age == 30, False, {}


def test_everything_else_is_drawn_as_curves_and_saved_pictures_are_found(tmp_path: Path) -> None:
    [picture] = pictures.frames(Blind(), lambda obs: 1, 0, 8)
    assert picture.score == 15.0
    assert isinstance(picture.image, str)
    assert len(list(ET.fromstring(picture.image).iter(f"{SVG}polyline"))) == 5  # 3 numbers, action, return
    (tmp_path / "config.json").write_text(json.dumps({"system": "x", "env": "Blind"}))
    pictures.save([picture] * 3, tmp_path)
    pictures.save([picture], tmp_path)
    assert [p.name for p in sorted((tmp_path / "rollout").iterdir())] == ["frame-000.svg", "frames.json"]
    [shot] = read_run(tmp_path).shots
    assert shot.uri == picture.uri
    assert shot.about["return"] == 15.0
