"""The map of an archive: its cells are the Voronoi cells, and its colours say the fitness."""

from __future__ import annotations

import re

import numpy as np

from actrix.data.archive import centroids
from actrix.evaluate.archives import Elites, cell_map, colour, voronoi


def area(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def test_cells_tile_the_square_and_hold_what_is_nearest() -> None:
    points = centroids(40, 2).astype(np.float64)
    cells = voronoi(points)
    assert abs(sum(map(area, cells)) - 1.0) < 1e-9
    for i, corners in enumerate(cells):
        inside = 0.98 * corners + 0.02 * points[i]  # a little inside of every corner
        assert (((inside[:, None] - points) ** 2).sum(-1).argmin(1) == i).all()


def test_colours_follow_fitness_and_empty_cells_have_none() -> None:
    points = centroids(9, 2).astype(np.float64)
    fitness = np.array([3.0, -np.inf, 7.0, 5.0, -np.inf, 3.0, 7.0, 4.0, 6.0])
    text = cell_map(Elites(points, fitness))
    drawn = re.findall(r'<polygon class="cell( none)?" points="[^"]+"(?: fill="(#\w+)")?/>', text)
    assert [bool(none) for none, _ in drawn] == [not np.isfinite(f) for f in fitness]
    assert [fill for _, fill in drawn if fill] == [colour((f - 3.0) / 4.0) for f in fitness if np.isfinite(f)]
    assert len({colour(share) for share in np.linspace(0, 1, 50)}) == 50
    assert "7 of 9 cells" in text


def test_other_dimensions_are_told_in_words() -> None:
    text = cell_map(Elites(np.random.default_rng(0).random((5, 3)), np.arange(5.0)))
    assert "descriptors have 3 numbers" in text
    assert "<svg" not in text
