"""Trajectories through space as one drawing: where several episodes went, and how far from the goal they were.

Any environment can be drawn so whose unwrapped object has `place()`, the position in metres `[3]` of what it moves
(the goal is the origin, z is up), and `reach`, half the side in metres of the box in which an episode goes on. The
view is orthographic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actrix.evaluate import charts
from actrix.evaluate.episodes import checked, episode_seed
from actrix.evaluate.scene import view

Array = npt.NDArray[np.float64]
SIZE, HEIGHT = 340, 190  # of the view from the side and of the chart below it


@dataclass(frozen=True)
class Flight:
    """One episode: places `[steps + 1, 3]` (m), its return, and whether the environment ended it."""

    places: Array
    score: float
    terminated: bool

    @property
    def steps(self) -> int:
        return len(self.places) - 1


def can_draw(env: Any) -> bool:
    """Whether the environment says where what it moves is."""
    return callable(getattr(env.unwrapped, "place", None)) and hasattr(env.unwrapped, "reach")


def fly(env: Any, act: Callable[[Any], Any], seed: int, episodes: int, max_steps: int) -> list[Flight]:
    """Evaluation episodes 0, 1, ... of `seed`."""
    found = []
    for episode in range(episodes):
        obs, _ = env.reset(seed=episode_seed(seed, episode))
        places, total, end, cut = [env.unwrapped.place()], 0.0, False, False
        while not (end or cut) and len(places) <= max_steps:
            obs, reward, end, cut, _ = env.step(act(obs))
            total += checked(reward, episode, len(places) - 1)
            places.append(env.unwrapped.place())
        found.append(Flight(np.array(places, np.float64), total, bool(end)))
    return found


def draw(flights: Sequence[Flight], reach: float, seconds: float | None) -> str:
    """The flights as an SVG document: from the side, from above, and their distance from the goal over time."""
    width = 2 * SIZE
    scale = 0.42 * SIZE / reach / np.sqrt(2)
    panels = []
    for left, (name, axes) in zip((0, SIZE), {"from the side": view(-28, 17), "from above": view(0, 90)}.items()):
        centre = np.array([left + SIZE / 2, SIZE / 2])

        def flat(points: Array, axes: Array = axes, centre: Array = centre) -> Array:
            seen = points @ axes.T * scale
            return np.stack((centre[0] + seen[..., 0], centre[1] - seen[..., 1]), -1)

        panels.append(_box(flat, reach) + "".join(_path(flat(f.places), f, i) for i, f in enumerate(flights)))
        goal = flat(np.zeros(3))
        panels.append(f'<circle class="goal" cx="{goal[0]:.1f}" cy="{goal[1]:.1f}" r="3.5" fill="var(--ink)"/>')
        panels.append(f'<text x="{left + 12}" y="20">{name}, box of {2 * reach:g} m</text>')
    length = 1.0 if seconds is None else seconds
    lines = [
        charts.Series(
            "", np.linspace(0, f.steps * length, f.steps + 1), np.sqrt((f.places**2).sum(1)), colour=i % charts.COLOURS
        )
        for i, f in enumerate(flights)
    ]
    frame = charts.Frame(width, HEIGHT, bottom=40, kind="small", ticks=5)
    chart = charts.line_chart(lines, x_label="steps" if seconds is None else "s", y_label="m from goal", frame=frame)
    chart = chart[chart.index("<svg") : chart.index("</figure>")]
    chart = chart.replace("<svg ", f'<svg y="{SIZE}" width="{width}" height="{HEIGHT}" ', 1)
    total = SIZE + HEIGHT
    outer = f'<svg class="chart" viewBox="0 0 {width} {total}"><rect width="100%" height="100%" fill="var(--paper)"/>'
    return charts.standalone(f"{outer}{''.join(panels)}{chart}</svg>", width, total)


def _box(flat: Callable[[Array], Array], reach: float) -> str:
    """The twelve edges of the box."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * reach
    out = []
    for i in range(8):
        for bit in (1, 2, 4):
            if not i & bit:
                a, b = flat(corners[i]), flat(corners[i | bit])
                out.append(f"M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}")
    return f'<path d="{"".join(out)}" stroke="var(--rule)" fill="none"/>'


def _path(dots: Array, flight: Flight, i: int) -> str:
    """A flight with a ring where it began and, where it was ended by the environment, a cross."""
    colour = f"k{i % charts.COLOURS}"
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
    (x, y), (u, v) = dots[0], dots[-1]
    cross = f'<path class="{colour}" d="M{u - 4:.1f} {v - 4:.1f}l8 8m0 -8l-8 8" stroke-width="2"/>'
    return (
        f'<polyline class="line {colour}" points="{points}"/>'
        f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="4" fill="none" stroke-width="1.5"/>'
        + (cross if flight.terminated else "")
    )
