"""Other ways to breed policies for an archive."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from actrix.data.archive import Archive
from actrix.run.population import Brood
from actrix.search.variation import iso_line
from actrix.spec import Spec
from actrix.systems.quality_diversity.map_elites import MAPElites
from actrix.systems.quality_diversity.pga_map_elites import PGAMAPElites


class Sampled(MAPElites):
    """Random search: every policy is drawn anew, and the archive only records."""

    def breed(self) -> Brood:
        return Brood(self.policies.initial(self.config.offspring))


class Fittest(MAPElites):
    """A traditional evolutionary algorithm: parents are drawn from the fittest policies so far, as many as the archive
    has cells, whatever their behaviour. The archive only records."""

    def __init__(self, spec: Spec, config: Any) -> None:
        super().__init__(spec, config)
        self.archive = Record(config.cells, self.policies.size, spec.descriptor)

    def breed(self) -> Brood:
        assert isinstance(self.archive, Record)
        pool, count = self.archive.pool, self.config.offspring
        first, second = pool[torch.randint(len(pool), (2, count))]
        return Brood(iso_line(first, second, self.config.iso, self.config.line))


class Record(Archive):
    """An archive beside a pool [P, size] of the fittest policies of all that were offered, P at most its cells."""

    def __init__(self, cells: int, size: int, dimensions: int) -> None:
        super().__init__(cells, size, dimensions)
        self.pool, self.worth = torch.zeros(0, size), torch.zeros(0)

    def add(self, genotype: Tensor, fitness: Tensor, descriptor: Tensor) -> Tensor:
        every, worth = torch.cat((self.pool, genotype)), torch.cat((self.worth, fitness))
        best = worth.argsort(descending=True, stable=True)[: len(self.fitness)]
        self.pool, self.worth = every[best], worth[best]
        return super().add(genotype, fitness, descriptor)


class Unclimbing(PGAMAPElites):
    """Without gradients for offspring: the greedy actor is offered, and all the others are crossed."""

    def breed(self) -> Brood:
        crossed = self.crossed(self.config.offspring - 1)
        return Brood(torch.cat((crossed, self.policies.specialised(self.actor))))
