"""The archive against a brute-force one, and the cells that it is made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from actrix.data.archive import Archive, centroids
from actrix.rng import numpy_stream, torch_stream

CELLS, SIZE = 12, 3


def batches(count: int, seed: int = 0) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Random offers; whole-numbered fitness, so that there are ties, and some descriptors outside the cube."""
    rng, found = numpy_stream(seed, "offers"), []
    for _ in range(count):
        n = int(rng.integers(1, 20))
        columns = rng.normal(size=(n, SIZE)), rng.integers(-5, 6, n), rng.uniform(-0.2, 1.2, (n, 2))
        found.append(tuple(torch.from_numpy(c.astype(np.float32)) for c in columns))
    return found  # type: ignore[return-value]


def test_it_keeps_what_one_by_one_insertion_keeps() -> None:
    """Of a batch only the fittest of a cell, and of equals the first; an elite gives way only to a fitter one."""
    archive = Archive(CELLS, SIZE, 2)
    centres = centroids(CELLS, 2)
    kept: dict[int, tuple[float, list[float], list[float]]] = {}
    for genotype, fitness, descriptor in batches(60):
        offered: dict[int, int] = {}
        for i in range(len(fitness)):
            cell = int(np.argmin([math.dist(descriptor[i], c) for c in centres]))
            if cell not in offered or fitness[i] > fitness[offered[cell]]:
                offered[cell] = i
        expected = set()
        for cell, i in offered.items():
            if cell not in kept or float(fitness[i]) > kept[cell][0]:
                kept[cell] = (float(fitness[i]), genotype[i].tolist(), descriptor[i].tolist())
                expected.add(i)
        taken = archive.add(genotype, fitness, descriptor)
        assert set(torch.nonzero(taken)[:, 0].tolist()) == expected
        assert archive.filled.tolist() == sorted(kept)
        for cell, (value, row, place) in kept.items():
            assert archive.fitness[cell] == value
            assert archive.genotype[cell].tolist() == row
            assert archive.descriptor[cell].tolist() == place
        best = max(value for value, _, _ in kept.values())
        assert any(value == best and archive.champion[0].tolist() == row for value, row, _ in kept.values())
        figures = archive.figures(offset=5.0)
        assert figures["qd_score"].item() == pytest.approx(sum(value + 5.0 for value, _, _ in kept.values()))
        assert figures["coverage"].item() == pytest.approx(len(kept) / CELLS)
        assert figures["max_fitness"].item() == best
    assert len(kept) == CELLS


def test_no_cell_gets_worse_and_none_empties() -> None:
    archive = Archive(CELLS, SIZE, 2)
    for genotype, fitness, descriptor in batches(100, seed=1):
        before = archive.fitness.clone()
        archive.add(genotype, fitness, descriptor)
        assert (archive.fitness >= before).all()
        assert (archive.cell(archive.descriptor[archive.filled]) == archive.filled).all()


def test_parents_are_drawn_uniformly_from_the_filled_cells() -> None:
    archive = Archive(CELLS, SIZE, 2)
    with pytest.raises(ValueError, match="empty"):
        archive.sample(1)
    places = archive.centroids[[1, 4, 5]]
    archive.add(torch.zeros(3, SIZE), torch.zeros(3), places)
    with torch_stream(0, "parents"):
        drawn = archive.sample(30_000)
    count = torch.bincount(drawn, minlength=CELLS)
    assert torch.nonzero(count)[:, 0].tolist() == [1, 4, 5]
    assert (count[[1, 4, 5]] / 30_000 - 1 / 3).abs().max() < 4 * math.sqrt(2 / 9 / 30_000)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_centroids_are_spread_evenly(dimensions: int) -> None:
    """Each is about the middle of its cell, and cells are about equal, as fresh uniform points see it."""
    cells = 27
    centres = centroids(cells, dimensions)
    points = np.random.default_rng(5).random((40_000, dimensions))
    cell = ((points[:, None] - centres) ** 2).sum(-1).argmin(1)
    share = np.bincount(cell, minlength=cells) / len(points)
    assert share.min() > 0.4 / cells
    assert share.max() < 2.0 / cells
    width = cells ** (-1 / dimensions)
    for k in range(cells):
        assert math.dist(points[cell == k].mean(0), centres[k]) < 0.2 * width
    assert np.array_equal(centres, centroids.__wrapped__(cells, dimensions))
