"""Pictures of a policy at work, on machines with no OpenGL and no screen.

MuJoCo bodies are drawn from their poses (drawing.py), environments that render themselves are asked to
(pygame without a window), and for everything else the episode is drawn as curves over its steps.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actrix.evaluate import charts, flights
from actrix.evaluate.drawing import draw
from actrix.evaluate.episodes import checked, episode_seed
from actrix.evaluate.scene import Pose, camera, can_draw, geoms, pose

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Picture:
    """One picture: PNG bytes or an SVG document, with when it was taken and the return so far."""

    image: bytes | str
    step: int
    score: float
    seconds: float | None = None
    place: float | None = None
    last: bool = False

    @property
    def uri(self) -> str:
        """A `data:` address that shows the picture without a file."""
        return data_uri(self.image)


def data_uri(image: bytes | str) -> str:
    """PNG bytes or SVG text as a `data:` address."""
    kind, raw = ("svg+xml", image.encode()) if isinstance(image, str) else ("png", image)
    return f"data:image/{kind};base64,{base64.b64encode(raw).decode()}"


def open_env(env_id: str, **options: Any) -> Any:
    """`make_env(env_id)` in a way that can be pictured: rendering to arrays where that needs no GL."""
    from actrix.envs.make import make_env

    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        env = make_env(env_id, render_mode="rgb_array", **options)
    except Exception:  # an environment without that mode, or one whose renderer is not installed
        return make_env(env_id, **options)
    if not can_draw(env):
        env.reset(seed=0)
        if _screen(env) is None:
            env.close()
            return make_env(env_id, **options)
    return env


def frames(
    env: Any, act: Callable[[Any], Any], seed: int, n_frames: int = 8, *, max_steps: int = 1_000
) -> list[Picture]:
    """Play evaluation episode 0 of `seed` for at most `max_steps` steps and picture it.

    env: a Gymnasium environment (`open_env` makes one that can be pictured); not closed here.
    act: `obs -> action` of this one environment.

    Returns `n_frames` pictures spread evenly from the first to the last moment (fewer if the episode has
    fewer steps). Where the environment only says where it is (`flights`): one SVG of the trajectories of as many
    episodes. Where it cannot be pictured at all: one SVG with observation, action and reward.
    """
    if flights.can_draw(env):
        flown, length = flights.fly(env, act, seed, n_frames, max_steps), _step_seconds(env)
        most, mean = max(f.steps for f in flown), float(np.mean([f.score for f in flown]))
        when = None if length is None else most * length
        return [Picture(flights.draw(flown, float(env.unwrapped.reach), length), most, mean, when, last=True)]
    obs, _ = env.reset(seed=episode_seed(seed, 0))
    look = _looker(env)
    record = _Record(max_steps, n_frames)
    record.keep(0, 0.0, look())
    total, step, over = 0.0, 0, False
    while not over and step < max_steps:
        action = act(obs)
        record.watch(obs, action)
        obs, reward, end, cut, _ = env.step(action)
        total += checked(reward, 0, step)
        step += 1
        over = bool(end or cut)
        record.keep(step, total, look(), last=over or step == max_steps)
    kept = [view for view in record.views if view[2] is not None]
    if not kept:
        return [Picture(_curves(record), step, total, last=True)]
    chosen = [kept[i] for i in sorted({round(i) for i in np.linspace(0, len(kept) - 1, n_frames)})]
    return _pictures(env, chosen, kept)


class _Record:
    """What an episode looked like: every view that may be needed, and numbers for the fallback."""

    def __init__(self, max_steps: int, n_frames: int) -> None:
        self.views: list[tuple[int, float, Any]] = []
        self.scores: list[float] = [0.0]
        self.obs: list[Array] = []
        self.actions: list[Array] = []
        self.limit = max(8 * n_frames, 64)
        self.every = 1

    def keep(self, step: int, total: float, view: Any, last: bool = False) -> None:
        if step:
            self.scores.append(total)
        if step % self.every == 0 or last:
            self.views.append((step, total, view))
        if len(self.views) > 2 * self.limit and not isinstance(view, Pose):
            self.every *= 2  # screens are large: halve what is held, evenly
            self.views = [v for v in self.views if v[0] % self.every == 0]

    def watch(self, obs: Any, action: Any) -> None:
        self.obs.append(_numbers(obs))
        self.actions.append(_numbers(action))


def _numbers(value: Any, most: int = 12) -> Array:
    """The first few numbers of an observation or action of any structure, `[<= most]`."""
    if isinstance(value, dict):
        parts = [_numbers(v, most) for v in value.values()]
    elif isinstance(value, tuple):
        parts = [_numbers(v, most) for v in value]
    else:
        try:
            return np.asarray(value, dtype=np.float64).ravel()[:most]
        except (TypeError, ValueError):  # text and the like
            return np.zeros(0)
    return np.concatenate(parts)[:most] if parts else np.zeros(0)


def _looker(env: Any) -> Callable[[], Any]:
    """A function that returns the current view: a Pose, a screen `[height, width, 3]`, or None."""
    if can_draw(env):
        shapes = geoms(env)
        return lambda: pose(env, shapes)
    if _screen(env) is None:
        return lambda: None
    return lambda: _screen(env)


def _screen(env: Any) -> npt.NDArray[np.uint8] | None:
    if getattr(env, "render_mode", None) != "rgb_array":
        return None
    try:
        screen = env.render()
    except Exception:  # no renderer here (OpenGL, pygame or Box2D missing): the caller draws curves instead
        return None
    array = np.asarray(screen)
    return array.astype(np.uint8) if array.ndim == 3 and array.shape[2] in (3, 4) else None


def _pictures(env: Any, chosen: Sequence[tuple[int, float, Any]], kept: Sequence[Any]) -> list[Picture]:
    length = _step_seconds(env)
    out = []
    drawn = isinstance(chosen[0][2], Pose)
    shapes = geoms(env) if drawn else None
    cam = camera(shapes, [view for _, _, view in chosen]) if shapes else None
    for step, total, view in chosen:
        image: bytes | str
        place = None
        if shapes and cam:
            image = draw(shapes, view, cam)
            place = float(view.root[0] - kept[0][2].root[0]) if cam.follow else None
        else:
            image = png(shrink(view, 320))
        when = None if length is None else step * length
        out.append(Picture(image, step, total, when, place, last=step == kept[-1][0]))
    return out


def _step_seconds(env: Any) -> float | None:
    """Simulated seconds per step where the environment says so."""
    inner = env.unwrapped
    length = getattr(inner, "dt", None) or getattr(inner, "tau", None)
    return float(length) if isinstance(length, int | float) else None


def shrink(screen: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.uint8]:
    """A screen `[h, w, 3]` at most about `width` wide, by averaging whole blocks of pixels."""
    k = max(1, screen.shape[1] // width)
    h, w = screen.shape[0] // k * k, screen.shape[1] // k * k
    blocks = screen[:h, :w, :3].reshape(h // k, k, w // k, k, 3)
    return np.asarray(blocks.mean(axis=(1, 3)).round().astype(np.uint8))


def png(screen: npt.NDArray[np.uint8]) -> bytes:
    """An RGB image `[height, width, 3]` as PNG (ISO/IEC 15948): three chunks, each row filtered by `Up`."""
    height, width, _ = screen.shape
    up = screen.astype(np.int16)
    up[1:] -= screen[:-1]
    rows = np.concatenate((np.full((height, 1), 2, np.uint8), (up % 256).astype(np.uint8).reshape(height, -1)), 1)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + chunk(b"IEND", b"")
    )


def _curves(record: _Record) -> str:
    """Observation, action and return of an episode over its steps, one above the other, as one SVG."""
    width, height, drawings = 640, 150, []
    for name, rows in (("observation", record.obs), ("action", record.actions), ("return", record.scores)):
        table = _table(rows)
        lines = [
            charts.Series("", *charts.thin(np.arange(len(table), dtype=np.float64), column)[:2], colour=i)
            for i, column in enumerate(table.T)
        ]
        frame = charts.Frame(width, height, bottom=26, kind="small", ticks=5)
        figure = charts.line_chart(lines, y_label=name, frame=frame)
        drawings.append(figure[figure.index("<svg") : figure.index("</figure>")])
    placed = "".join(
        d.replace("<svg ", f'<svg y="{i * height}" width="{width}" height="{height}" ', 1)
        for i, d in enumerate(drawings)
    )
    total = height * len(drawings)
    outer = f'<svg class="chart" viewBox="0 0 {width} {total}"><rect width="100%" height="100%" '
    return charts.standalone(outer + f'fill="var(--paper)"/>{placed}</svg>', width, total)


def _table(rows: Sequence[Any]) -> Array:
    """Rows of numbers as `[steps, columns]`; those longer or shorter than the first are cut or filled."""
    columns = len(np.atleast_1d(rows[0])) if rows else 0
    table = np.full((len(rows), columns), np.nan)
    for i, row in enumerate(rows):
        values = np.atleast_1d(row)[:columns]
        table[i, : len(values)] = values
    return table


def save(pictures: Sequence[Picture], folder: Path) -> Path:
    """Write pictures and `frames.json` under `folder/rollout`; returns that folder. Old pictures go."""
    target = Path(folder) / "rollout"
    target.mkdir(parents=True, exist_ok=True)
    for old in [*target.glob("frame-*.png"), *target.glob("frame-*.svg")]:
        old.unlink()
    rows = []
    for i, picture in enumerate(pictures):
        svg = isinstance(picture.image, str)
        name = f"frame-{i:03d}.{'svg' if svg else 'png'}"
        raw = picture.image.encode() if isinstance(picture.image, str) else picture.image
        (target / name).write_bytes(raw)
        rows.append(
            {
                "file": name,
                "step": picture.step,
                "return": picture.score,
                "seconds": picture.seconds,
                "place": picture.place,
                "last": picture.last,
            }
        )
    (target / "frames.json").write_text(json.dumps({"schema": 1, "frames": rows}, indent=1))
    return target
