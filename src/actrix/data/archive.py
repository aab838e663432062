"""An archive of policies: the fittest of every kind of behaviour, for quality-diversity search.

Descriptors live in the unit cube (see `Outcome.descriptor`), which is cut into the Voronoi cells of points that are
spread evenly over it (a centroidal Voronoi tessellation). Source: Vassiliades, Chatzilygeroudis & Mouret 2018, Using
Centroidal Voronoi Tessellations to Scale Up the MAP-Elites Algorithm (1610.05729); the archive itself: Mouret &
Clune 2015, Illuminating Search Spaces by Mapping Elites (1504.04909).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from actrix.rng import numpy_stream

SAMPLES = 50  # uniform points that k-means moves each centroid by
ROUNDS = 50  # of k-means, at most


@cache
def centroids(cells: int, dimensions: int) -> np.ndarray:
    """Centres of `cells` about equal cells of the unit cube: [cells, dimensions] float32, the same for every run.

    Lloyd's k-means on uniform points (50 for each cell, as in the paper for 1,000 cells) from a stream of their own.
    """
    from scipy.spatial import cKDTree

    draw = numpy_stream(0, "archive/centroids", cells, dimensions)
    points = draw.random((SAMPLES * cells, dimensions))
    found = points[:cells].copy()
    nearest = np.full(len(points), -1)
    for _ in range(ROUNDS):
        before, nearest = nearest, cKDTree(found).query(points)[1]
        if (nearest == before).all():
            break
        count = np.bincount(nearest, minlength=cells)
        for axis in range(dimensions):
            total = np.bincount(nearest, points[:, axis], minlength=cells)
            found[:, axis] = np.where(count > 0, total / np.maximum(count, 1), found[:, axis])
    return found.astype(np.float32)


class Archive(nn.Module):
    """C cells, each with the fittest policy that fell into it: a row of parameters, its fitness, its descriptor.

    All of it are buffers, so it is saved, loaded and moved with its learner. An empty cell has fitness -inf.

    cells: how many. size: parameters of a policy. dimensions: numbers in a descriptor.
    """

    centroids: Tensor  # [C, K]
    genotype: Tensor  # [C, size]
    fitness: Tensor  # [C]
    descriptor: Tensor  # [C, K] what the cell's policy did; within the cell
    champion: Tensor  # [1, size] the fittest of all, by itself: what acts; zeros while there is none

    def __init__(self, cells: int, size: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("centroids", torch.from_numpy(centroids(cells, dimensions)).clone())
        self.register_buffer("genotype", torch.zeros(cells, size))
        self.register_buffer("fitness", torch.full((cells,), -torch.inf))
        self.register_buffer("descriptor", torch.zeros(cells, dimensions))
        self.register_buffer("champion", torch.zeros(1, size))

    def cell(self, descriptor: Tensor) -> Tensor:
        """The cell of each descriptor [B, K]: [B] int64. One outside the cube belongs to the nearest cell."""
        return (descriptor[:, None] - self.centroids).square().sum(-1).argmin(1)

    @torch.no_grad()
    def add(self, genotype: Tensor, fitness: Tensor, descriptor: Tensor) -> Tensor:
        """Offer B policies [B, size] with fitness [B] and descriptor [B, K]; returns [B] bool, which were taken.

        A policy is taken if its cell is empty or it is fitter than the one there, and nobody else of the batch is
        fitter in that cell; of equals the first.
        """
        cell, cells = self.cell(descriptor), len(self.fitness)
        best = torch.full_like(self.fitness, -torch.inf).scatter_reduce(0, cell, fitness, "amax")
        taken = (fitness == best[cell]) & (fitness > self.fitness[cell])
        order = torch.arange(len(cell), device=cell.device)
        ranked = torch.where(taken, order, len(cell))
        first = torch.full((cells,), len(cell), device=cell.device).scatter_reduce(0, cell, ranked, "amin")
        taken = taken & (first[cell] == order)
        at = cell[taken]
        self.genotype[at], self.fitness[at], self.descriptor[at] = genotype[taken], fitness[taken], descriptor[taken]
        if bool(taken.any()):
            self.champion.copy_(self.genotype[self.fitness.argmax()][None])
        return taken

    @property
    def filled(self) -> Tensor:
        """Numbers of the cells that hold a policy: [F] int64."""
        return torch.nonzero(self.fitness > -torch.inf)[:, 0]

    def sample(self, count: int) -> Tensor:
        """Filled cells drawn uniformly with replacement from torch's current stream: [count] int64.

        ValueError where none is filled.
        """
        filled = self.filled
        if not len(filled):
            raise ValueError("the archive is empty")
        return filled[torch.randint(len(filled), (count,), device=filled.device)]

    def qd_score(self, offset: float = 0.0) -> Tensor:
        """Sum over filled cells of fitness + offset, a scalar; `offset` is to make every summand positive."""
        fitness = self.fitness[self.filled].double()
        return (fitness + offset).sum().float()

    def figures(self, offset: float = 0.0) -> dict[str, Tensor]:
        """qd_score, coverage (share of cells filled) and max_fitness."""
        filled = self.fitness > -torch.inf
        return {
            "qd_score": self.qd_score(offset),
            "coverage": filled.float().mean(),
            "max_fitness": self.fitness.max(),
        }
