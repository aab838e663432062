"""The archive of a quality-diversity run as a picture: the cells of two descriptors, coloured by fitness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from actrix.evaluate.charts import Frame, Scale, axes, compact, figure, svg, ticks

Array = npt.NDArray[np.float64]

FRAME = Frame(width=620, height=500, left=56, right=110, top=12, bottom=46)
# from little to much: even in lightness, and told apart by people who do not see all colours
RAMP = np.array([(59, 28, 99), (56, 82, 139), (32, 136, 140), (84, 187, 107), (239, 221, 66)], np.float64)


@dataclass(frozen=True)
class Elites:
    """An archive as its picture needs it: `centroids` [C, K] in the unit cube, `fitness` [C], -inf where empty."""

    centroids: Array
    fitness: Array


def read_elites(folder: Path, problems: list[str]) -> Elites | None:
    """The archive in a run's newest checkpoint; None where the run has none."""
    found = sorted(p for p in (folder / "checkpoints").glob("*") if p.name.isdigit())
    if not found:
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(found[-1] / "learner.safetensors", framework="numpy") as file:
            names = ("archive.centroids", "archive.fitness")
            if not set(names) <= set(file.keys()):
                return None
            centroids, fitness = (file.get_tensor(name).astype(np.float64) for name in names)
    except (OSError, SafetensorError):
        problems.append(f"checkpoint {found[-1].name} cannot be read: the archive is not shown.")
        return None
    return Elites(centroids, fitness)


def cell_map(elites: Elites) -> str:
    """The archive over two descriptors as a figure; of more or fewer, words."""
    filled = np.isfinite(elites.fitness)
    cells, dimensions = elites.centroids.shape
    said = f"{int(filled.sum()):,} of {cells:,} cells hold a policy"
    if dimensions != 2 or not filled.any():
        why = "" if dimensions == 2 else f"; descriptors have {dimensions} numbers, and only two can be drawn"
        return f"<p>{said}{why}.</p>"
    low, high = float(elites.fitness[filled].min()), float(elites.fitness[filled].max())
    x = Scale(0.0, 1.0, FRAME.left, FRAME.width - FRAME.right)
    y = Scale(0.0, 1.0, FRAME.height - FRAME.bottom, FRAME.top)
    drawn = []
    for corners, fitness in zip(voronoi(elites.centroids), elites.fitness):
        at = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x(corners[:, 0]), y(corners[:, 1])))
        if np.isfinite(fitness):
            share = (fitness - low) / (high - low) if high > low else 1.0
            drawn.append(f'<polygon class="cell" points="{at}" fill="{colour(share)}"/>')
        else:
            drawn.append(f'<polygon class="cell none" points="{at}"/>')
    around = axes(x, y, FRAME, "first descriptor, as a part of its range", "second descriptor")
    body = around + "".join(drawn) + scale_bar(low, high)
    return figure(f"Fitness of the elites: {said}", "", svg(body, FRAME, "map of the archive"))


def voronoi(points: Array) -> list[Array]:
    """The cell of each of C points in the unit square: its corners [V, 2] in order."""
    from scipy.spatial import Voronoi

    # with their mirror images in all four sides, the sides are edges of the cells
    mirrored = [points]
    for axis in (0, 1):
        for side in (0.0, 1.0):
            image = points.copy()
            image[:, axis] = 2 * side - image[:, axis]
            mirrored.append(image)
    found = Voronoi(np.concatenate(mirrored))
    cells = [found.vertices[found.regions[found.point_region[i]]] for i in range(len(points))]
    ordered = []
    for corners in cells:
        away = corners - corners.mean(0)
        ordered.append(corners[np.argsort(np.arctan2(away[:, 1], away[:, 0]))].clip(0.0, 1.0))
    return ordered


def colour(share: float) -> str:
    """A colour of the ramp, for a share in [0, 1]."""
    at = np.clip(share, 0.0, 1.0) * (len(RAMP) - 1)
    mixed = [round(float(np.interp(at, np.arange(len(RAMP)), RAMP[:, k]))) for k in range(3)]
    return "#" + "".join(f"{value:02x}" for value in mixed)


def scale_bar(low: float, high: float) -> str:
    """What the colours mean, at the right of the map."""
    left, top, height, parts = FRAME.width - 84, FRAME.top, FRAME.height - FRAME.top - FRAME.bottom, 48
    piece = height / parts
    out = [
        f'<rect x="{left}" y="{top + height - (k + 1) * piece:.2f}" width="16" height="{piece + 0.4:.2f}" '
        f'fill="{colour((k + 0.5) / parts)}"/>'
        for k in range(parts)
    ]
    if high > low:
        at = Scale(low, high, top + height, top)
        out += [
            f'<text x="{left + 22}" y="{float(at(tick)):.2f}" dy=".35em">{compact(tick)}</text>'
            for tick in ticks(low, high, 6)
        ]
    else:
        out.append(f'<text x="{left + 22}" y="{top + height / 2:.2f}" dy=".35em">{compact(low)}</text>')
    return "".join(out)
