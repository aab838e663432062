"""MAP-Elites: an archive of the fittest policy of every kind of behaviour, filled by variation and selection alone.

There is no critic and no gradient: two elites are drawn, their child is a small step away along the line that joins
them, and it takes the place of whoever is less fit in the cell where its behaviour falls.

    offspring  x = x_i + iso N(0, I) + line (x_j - x_i) N(0, 1),  x_i, x_j uniform from the filled cells
    archive    cell(d(x)) <- x  if it is empty or f(x) > f(there);  f: return of one episode, d: its descriptor

The environment describes each episode by `info["descriptor"]` at its end. Cells are centroidal Voronoi cells of the
descriptor space; the first round's offspring are random policies. `actrix eval`, `export` and `collect` use the
fittest policy of the archive. Figures: qd_score (sum of fitness + offset over filled cells), coverage, max_fitness.

Source: Mouret & Clune 2015, Illuminating Search Spaces by Mapping Elites (1504.04909), with the cells of 1610.05729
and the variation of 1804.03906.
"""

from __future__ import annotations

from dataclasses import dataclass

from actrix.registry import system
from actrix.run.population import Brood, QualityDiversity


@dataclass(frozen=True)
class Config:
    hidden: tuple[int, ...] = (128, 128)  # units of each hidden layer of a policy
    cells: int = 1024  # of the archive
    offspring: int = 256  # policies evaluated in a round, one episode each
    iso: float = 0.005  # standard deviation of the step in every parameter
    line: float = 0.05  # standard deviation of the step along the parents' line, as part of their distance
    horizon: int = 1_000  # environment steps that an episode may take; a longer one is an error
    offset: float = 0.0  # added to every fitness in qd_score, to make it positive
    envs: int = 64  # environments stepped together; offspring are evaluated in blocks of so many


@system("map-elites", family="quality-diversity", paper="1504.04909", acts=("box",))
class MAPElites(QualityDiversity):
    def breed(self) -> Brood:
        return Brood(self.crossed(self.config.offspring))
