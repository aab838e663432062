"""MuJoCo scenes as SVG, drawn from the poses of their shapes: no OpenGL, so it works on any machine.

The view is orthographic, in which outlines are exact: a sphere is a circle, a capsule is a thick line with
round ends of its true radius, and the floor is an affine image of the plane (one pattern draws its tiles).
Shading is Lambert's cosine law along a capsule's cross-section.
"""

from __future__ import annotations

import math

import numpy as np

from actrix.evaluate.charts import MINUS
from actrix.evaluate.scene import CAPSULE, CYLINDER, HEIGHT, MESH, WIDTH, Camera, Geoms, Pose, radius
from actrix.evaluate.shapes import shape

LIGHT = np.array([-0.42, 0.72, 0.55]) / np.linalg.norm([-0.42, 0.72, 0.55])

STYLE = """<style>svg{--sky:#eef2f6;--tile:#d5dce3;--tile2:#e6ebf0;--mark:#5d6772;--edge:#b9c2cc}
@media (prefers-color-scheme:dark){
svg{--sky:#1b2027;--tile:#2b323b;--tile2:#232932;--mark:#9aa5b1;--edge:#48525e}}
text{font:11px system-ui,sans-serif;fill:var(--mark)}</style>"""


def draw(shapes: Geoms, at: Pose, cam: Camera) -> str:
    """One pose as an SVG document of WIDTH x HEIGHT."""
    depth = cam.project(at.position, at.root)[:, 2]
    body = "".join(shape(shapes, int(i), at, cam, LIGHT) for i in np.argsort(depth, kind="stable"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}">{STYLE}<rect width="{WIDTH}" height="{HEIGHT}" fill="var(--sky)"/>'
        f"{floor(shapes, at, cam)}{body}</svg>"
    )


def floor(shapes: Geoms, at: Pose, cam: Camera) -> str:
    """Checkered ground in world coordinates, shadows, and marks in metres where the view is from the side."""
    if shapes.floor is None:
        return ""
    z = shapes.floor
    origin = cam.project(np.array([0.0, 0.0, z]), at.root)
    ex = cam.project(np.array([1.0, 0.0, z]), at.root) - origin
    ey = cam.project(np.array([0.0, 1.0, z]), at.root) - origin
    matrix = " ".join(f"{v:.4f}" for v in (ex[0], ex[1], ey[0], ey[1], origin[0], origin[1]))
    tile = nice(42 / cam.scale)
    top = 0.0
    if cam.upright:  # the ground ends a body's length behind the body, and there is sky above it
        depth = 0.62 * HEIGHT / cam.scale
        near = at.root[:2] if cam.follow else np.zeros(2)
        top = float(cam.project(np.append(near - depth * cam.axes[2, :2], z), at.root)[1])
    out = [
        f'<pattern id="tiles" width="{2 * tile:g}" height="{2 * tile:g}" patternUnits="userSpaceOnUse" '
        f'patternTransform="matrix({matrix})"><path fill="var(--tile)" d="M0 0h{tile:g}v{2 * tile:g}h{tile:g}'
        f'v-{tile:g}h-{2 * tile:g}z"/></pattern>',
        f'<rect y="{top:.1f}" width="{WIDTH}" height="{HEIGHT - top:.1f}" fill="var(--tile2)"/>',
        f'<rect y="{top:.1f}" width="{WIDTH}" height="{HEIGHT - top:.1f}" fill="url(#tiles)"/>',
    ]
    if cam.upright:
        out.append(f'<path d="M0 {top:.1f}H{WIDTH}" stroke="var(--edge)"/>')
    out.append(f'<g transform="matrix({matrix})" opacity=".2" stroke-linecap="round">{_shadows(shapes, at)}</g>')
    if cam.upright and cam.axes[0, 1] == 0:
        out.append(_marks(at, cam, tile))
    return "".join(out)


def _shadows(shapes: Geoms, at: Pose) -> str:
    """What a light straight above leaves on the floor, in floor coordinates; exact for balls and capsules."""
    out = []
    for i in np.flatnonzero(shapes.moving):
        half = shapes.size[i, 1] * at.rotation[i, :2, 2] if shapes.kind[i] in (CAPSULE, CYLINDER) else np.zeros(2)
        a, b = at.position[i, :2] - half, at.position[i, :2] + half + 1e-4
        wide = 2 * (shapes.size[i, 0] if shapes.kind[i] != MESH else 0.5 * radius(shapes, int(i)))
        out.append(f'<path d="M{a[0]:.3f} {a[1]:.3f}L{b[0]:.3f} {b[1]:.3f}" stroke="#000" stroke-width="{wide:.3f}"/>')
    return "".join(out)


def _marks(at: Pose, cam: Camera, tile: float) -> str:
    """Ticks and metres along the bottom of a side view: they move as the body moves."""
    step = nice(80 / cam.scale)
    left = (at.root[0] if cam.follow else 0.0) + cam.centre[0] - WIDTH / 2 / cam.scale
    out = []
    for k in range(math.ceil(left / step), math.floor((left + WIDTH / cam.scale) / step) + 1):
        x = (k * step - left) * cam.scale
        out.append(f'<path d="M{x:.1f} {HEIGHT - 16}v6" stroke="var(--mark)"/>')
        if 12 < x < WIDTH - 12:
            label = f"{k * step:g} m".replace("-", MINUS)
            out.append(f'<text x="{x:.1f}" y="{HEIGHT - 2}" text-anchor="middle">{label}</text>')
    return "".join(out)


def nice(value: float) -> float:
    """The round number (1, 2 or 5 times a power of ten) next above a length."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= value * 0.999)
