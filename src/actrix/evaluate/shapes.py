"""The outline and shading of one MuJoCo shape, as SVG (see scene.py for the view)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from actrix.evaluate.scene import BOX, CAPSULE, CYLINDER, ELLIPSOID, SPHERE, Array, Camera, Geoms, Pose

AMBIENT, DIFFUSE = 0.62, 0.55


def shape(shapes: Geoms, i: int, at: Pose, cam: Camera, light: Array) -> str:
    """Shape i at a pose, shaded by a light `[right, up, towards]` in the camera's frame."""
    kind, size = shapes.kind[i], shapes.size[i] * cam.scale
    centre = cam.project(at.position[i], at.root)
    turn = cam.axes @ at.rotation[i]  # columns: the shape's own axes, seen from the camera
    rgb, key = shapes.colour[i, :3], f"g{i}"
    if kind == SPHERE:
        drawn = ball(key, centre, float(size[0]), rgb)
    elif kind == CAPSULE:
        drawn = capsule(key, centre, turn[:, 2] * size[1], float(size[0]), rgb, light)
    elif kind == CYLINDER:
        drawn = cylinder(key, centre, turn, size, rgb, light)
    elif kind == BOX:
        drawn = box(centre, turn, size, rgb, light)
    elif kind == ELLIPSOID:
        angle = np.linspace(0, 2 * np.pi, 33)[:-1]
        seen = turn * size  # support points: where the outline's normal is each direction of the picture
        normal = np.stack((np.cos(angle), np.sin(angle), np.zeros_like(angle)), axis=1) @ seen
        outline = (normal / np.linalg.norm(normal, axis=1, keepdims=True)) @ seen.T
        drawn = polygon(flat(centre, outline), paint(rgb, 0.95), paint(rgb, 0.5))
    else:
        vertices = shapes.vertices[i]
        assert vertices is not None
        ring = hull(flat(centre, vertices * cam.scale @ turn.T))
        drawn = polygon(ring, paint(rgb, 0.95), paint(rgb, 0.5))
    alpha = shapes.colour[i, 3]
    return drawn if alpha > 0.98 else f'<g opacity="{alpha:.2f}">{drawn}</g>'


def paint(rgb: Array, light: float) -> str:
    """A colour under a light between 0 and about 1.2: darker below 1, towards white above."""
    value = rgb * min(light, 1.0) + (1 - rgb) * max(light - 1.0, 0.0) * 1.6
    return "#" + "".join(f"{round(255 * float(v)):02x}" for v in np.clip(value, 0, 1))


def flat(centre: Array, offsets: Array) -> Array:
    """Offsets `[n, 3]` in the camera's frame (up is positive) -> pixels `[n, 2]`."""
    return np.stack((centre[0] + offsets[:, 0], centre[1] - offsets[:, 1]), axis=1)


def polygon(ring: Array, fill: str, stroke: str) -> str:
    """A filled ring of pixels `[n, 2]`."""
    dots = " ".join(f"{x:.2f},{y:.2f}" for x, y in ring)
    return f'<polygon points="{dots}" fill="{fill}" stroke="{stroke}" stroke-width=".8"/>'


def ball(key: str, centre: Array, r: float, rgb: Array) -> str:
    """A sphere: a circle, lit from the upper left."""
    return (
        f'<radialGradient id="{key}" cx=".36" cy=".3" r=".78"><stop stop-color="{paint(rgb, 1.2)}"/>'
        f'<stop offset=".5" stop-color="{paint(rgb, 0.95)}"/>'
        f'<stop offset="1" stop-color="{paint(rgb, 0.6)}"/></radialGradient>'
        f'<circle cx="{centre[0]:.2f}" cy="{centre[1]:.2f}" r="{r:.2f}" fill="url(#{key})" '
        f'stroke="{paint(rgb, 0.45)}" stroke-width=".8"/>'
    )


def across(axis: Array, light: Array) -> tuple[Array, list[float]]:
    """The picture direction across a rod `axis [3]`, and the light at five places along it."""
    normal = np.array([-axis[1], axis[0], 0.0]) / np.hypot(axis[0], axis[1])
    front = np.cross(axis / np.linalg.norm(axis), normal)
    front = front if front[2] > 0 else -front
    places = np.linspace(-1, 1, 5)
    facing = [float((t * normal + np.sqrt(1 - t * t) * front) @ light) for t in places]
    return normal, [AMBIENT + DIFFUSE * max(f, 0.0) for f in facing]


def gradient(key: str, centre: Array, axis: Array, r: float, rgb: Array, light: Array) -> str:
    """The shading of a rod of radius r as a linear gradient across it."""
    normal, lights = across(axis, light)
    a, b = flat(centre, np.stack((-r * normal, r * normal)))
    stops = "".join(f'<stop offset="{i / 4:g}" stop-color="{paint(rgb, value)}"/>' for i, value in enumerate(lights))
    return (
        f'<linearGradient id="{key}" gradientUnits="userSpaceOnUse" x1="{a[0]:.2f}" y1="{a[1]:.2f}" '
        f'x2="{b[0]:.2f}" y2="{b[1]:.2f}">{stops}</linearGradient>'
    )


def capsule(key: str, centre: Array, half: Array, r: float, rgb: Array, light: Array) -> str:
    """A capsule of radius r with half axis `half [3]`: a thick line with round ends, exactly."""
    if np.hypot(half[0], half[1]) < 0.05 * r:
        return ball(key, centre, r, rgb)
    a, b = flat(centre, np.stack((-half, half)))
    path = f'd="M{a[0]:.2f} {a[1]:.2f}L{b[0]:.2f} {b[1]:.2f}" stroke-linecap="round"'
    return (
        gradient(key, centre, half, r, rgb, light)
        + f'<path {path} stroke="{paint(rgb, 0.45)}" stroke-width="{2 * r + 1.2:.2f}"/>'
        + f'<path {path} stroke="url(#{key})" stroke-width="{2 * r:.2f}"/>'
    )


def cylinder(key: str, centre: Array, turn: Array, size: Array, rgb: Array, light: Array) -> str:
    """A cylinder: the hull of its two end discs, and the end that faces the viewer."""
    angle = np.linspace(0, 2 * np.pi, 29)[:-1]
    disc = size[0] * (np.outer(np.cos(angle), turn[:, 0]) + np.outer(np.sin(angle), turn[:, 1]))
    axis = turn[:, 2] * size[1]
    end = axis if axis[2] > 0 else -axis
    cap = polygon(
        flat(centre, disc + end),
        paint(rgb, AMBIENT + DIFFUSE * max(float(end @ light) / max(float(size[1]), 1e-9), 0.0)),
        paint(rgb, 0.45),
    )
    if np.hypot(axis[0], axis[1]) < 1e-3 * size[0]:
        return cap
    side = polygon(hull(flat(centre, np.concatenate((disc + axis, disc - axis)))), f"url(#{key})", paint(rgb, 0.45))
    return gradient(key, centre, axis, float(size[0]), rgb, light) + side + cap


def box(centre: Array, turn: Array, size: Array, rgb: Array, light: Array) -> str:
    """A box: those of its six faces that face the viewer."""
    out = []
    for k in range(3):
        for sign in (-1.0, 1.0):
            normal = sign * turn[:, k]
            if normal[2] <= 1e-6:
                continue
            u, v = (turn[:, j] * size[j] for j in range(3) if j != k)
            ring = flat(centre, normal * size[k] + np.stack((u + v, u - v, -u - v, v - u)))
            out.append(polygon(ring, paint(rgb, AMBIENT + DIFFUSE * max(float(normal @ light), 0.0)), paint(rgb, 0.5)))
    return "".join(out)


def hull(points: Array) -> Array:
    """The convex hull of pixels `[n, 2]`, in order (Andrew's monotone chain)."""
    ordered = sorted({(round(float(x), 3), round(float(y), 3)) for x, y in points})

    def chain(run: list[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for p in run:
            while len(kept) > 1:
                (ax, ay), (bx, by) = next(pairwise(kept[-2:]))
                if (bx - ax) * (p[1] - ay) - (by - ay) * (p[0] - ax) > 0:
                    break
                kept.pop()
            kept.append(p)
        return kept[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]))
