"""What is in a MuJoCo scene and from where it is seen; `drawing.py` turns it into SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
PLANE, SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX, MESH = 0, 2, 3, 4, 5, 6, 7
WIDTH, HEIGHT = 320, 240


@dataclass(frozen=True)
class Pose:
    """Where everything is at one moment: positions `[geoms, 3]` (m), rotations `[geoms, 3, 3]`, root."""

    position: Array
    rotation: Array
    root: Array


@dataclass(frozen=True)
class Geoms:
    """The shapes of a model that can be drawn; arrays are `[geoms, ...]` and never change."""

    index: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    size: Array
    colour: Array
    moving: npt.NDArray[np.bool_]
    vertices: tuple[Array | None, ...]
    floor: float | None


def can_draw(env: Any) -> bool:
    """Whether the environment holds a MuJoCo model and its data."""
    inner = getattr(env, "unwrapped", env)
    return hasattr(getattr(inner, "model", None), "geom_size") and hasattr(getattr(inner, "data", None), "geom_xpos")


def geoms(env: Any) -> Geoms:
    """The visible shapes of the environment's model: groups 0 to 2, not transparent, planes apart."""
    model, data = env.unwrapped.model, env.unwrapped.data
    kind = np.array(model.geom_type, dtype=np.int64)
    colour = np.array(model.geom_rgba, dtype=np.float64)
    visible = (np.array(model.geom_group) <= 2) & (colour[:, 3] > 0.02)
    shown = np.flatnonzero(visible & np.isin(kind, [SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX, MESH]))
    planes = np.flatnonzero(visible & (kind == PLANE))
    return Geoms(
        index=shown,
        kind=kind[shown],
        size=np.array(model.geom_size, dtype=np.float64)[shown],
        colour=colour[shown],
        moving=np.array(model.geom_bodyid)[shown] != 0,
        vertices=tuple(_vertices(model, int(i)) if kind[i] == MESH else None for i in shown),
        floor=float(data.geom_xpos[planes[0], 2]) if len(planes) else None,
    )


def _vertices(model: Any, geom: int) -> Array:
    mesh = int(model.geom_dataid[geom])
    start, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
    return np.array(model.mesh_vert[start : start + count], dtype=np.float64)


def pose(env: Any, shapes: Geoms) -> Pose:
    """A copy of the current pose."""
    data = env.unwrapped.data
    return Pose(
        np.array(data.geom_xpos, dtype=np.float64)[shapes.index],
        np.array(data.geom_xmat, dtype=np.float64).reshape(-1, 3, 3)[shapes.index],
        np.array(data.xpos[min(1, len(data.xpos) - 1)], dtype=np.float64),
    )


@dataclass(frozen=True)
class Camera:
    """An orthographic camera. `axes` rows: right, up, towards the viewer; `follow` keeps the root centred."""

    axes: Array
    centre: Array
    scale: float
    follow: bool
    upright: bool

    def project(self, points: Array, root: Array) -> Array:
        """World points `[..., 3]` -> pixels right, pixels down, depth towards the viewer `[..., 3]`."""
        origin = np.array([root[0], root[1], 0.0]) if self.follow else np.zeros(3)
        seen = (points - origin) @ self.axes.T
        return np.stack(
            (
                WIDTH / 2 + self.scale * (seen[..., 0] - self.centre[0]),
                HEIGHT / 2 - self.scale * (seen[..., 1] - self.centre[1]),
                self.scale * seen[..., 2],
            ),
            axis=-1,
        )


def view(azimuth: float, elevation: float) -> Array:
    """Camera axes for angles in degrees; azimuth 0 looks along +y with +x to the right."""
    a, e = math.radians(azimuth), math.radians(elevation)
    towards = np.array([math.sin(a), -math.cos(a), 0.0])
    return np.stack(
        (
            np.array([math.cos(a), math.sin(a), 0.0]),
            -math.sin(e) * towards + np.array([0, 0, math.cos(e)]),
            math.cos(e) * towards + np.array([0, 0, math.sin(e)]),
        )
    )


def camera(shapes: Geoms, poses: Sequence[Pose]) -> Camera:
    """A camera that shows all poses: from the side for planar bodies, from above for flat ones."""
    positions = np.stack([p.position for p in poses])
    moving = shapes.moving if shapes.moving.any() else np.ones(len(shapes.index), np.bool_)
    spread = np.ptp(positions[:, moving].reshape(-1, 3), axis=0)
    body = float(np.max(np.ptp(positions[:, moving], axis=1)))
    if spread[2] < 0.02 * max(float(spread.max()), 1e-6):
        axes, upright = view(0, 90), False
    elif spread[1] < 1e-3 * float(spread.max()):
        axes, upright = view(0, 10), True
    else:
        axes, upright = view(-28, 17), True
    roots = np.stack([p.root for p in poses])
    follow = float(np.ptp(roots[:, :2], axis=0).max()) > 0.6 * body
    shown = moving if follow else np.ones(len(shapes.index), np.bool_)
    origin = roots * np.array([1.0, 1.0, 0.0]) if follow else np.zeros_like(roots)
    seen = (positions[:, shown] - origin[:, None]) @ axes.T
    half = np.stack([extent(shapes, p, axes)[shown] for p in poses])
    low = (seen[..., :2] - half).reshape(-1, 2).min(axis=0)
    high = (seen[..., :2] + half).reshape(-1, 2).max(axis=0)
    if shapes.floor is not None and upright:  # keep the ground in view where it is not far below
        low[1] = max(min(low[1], shapes.floor * axes[1, 2] - 0.02 * body), low[1] - 0.5 * (high[1] - low[1]))
    scale = min(0.86 * WIDTH / (high[0] - low[0]), 0.76 * HEIGHT / (high[1] - low[1]))
    centre = (low + high) / 2
    if upright:  # the feet stand at the same height in every picture
        centre[1] = low[1] + (0.5 - 0.14) * HEIGHT / scale
    return Camera(axes, centre, float(scale), follow, upright)


def extent(shapes: Geoms, at: Pose, axes: Array) -> Array:
    """How far each shape reaches right and up of its centre in the picture, `[geoms, 2]`."""
    out = np.zeros((len(shapes.index), 2))
    for i, kind in enumerate(shapes.kind):
        size, turn = shapes.size[i], np.abs(axes[:2] @ at.rotation[i])
        if kind in (CAPSULE, CYLINDER):
            out[i] = size[0] + turn[:, 2] * size[1]
        elif kind == BOX:
            out[i] = turn @ size
        else:
            out[i] = radius(shapes, i)
    return out


def radius(shapes: Geoms, i: int) -> float:
    """The radius of a ball, ellipsoid or mesh i about its centre."""
    vertices = shapes.vertices[i]
    if vertices is not None:
        return float(np.linalg.norm(vertices, axis=1).max())
    return float(shapes.size[i].max())
