"""The claim of MAP-Elites: keeping the best of every kind lights up a space, and also finds the better best."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from actrix.claims.archives import CRAWL, TRAP, last
from actrix.claims.claim import Arm, Check, Claim, Part, Trained, trained
from actrix.data.archive import Archive
from actrix.run.population import Brood
from actrix.search.variation import iso_line
from actrix.spec import Spec
from actrix.systems.quality_diversity.map_elites import MAPElites


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


def arms(world: dict[str, Any], name: str, steps: dict[str, Any]) -> tuple[Arm, ...]:
    """`steps`: of the variation of the evolutionary algorithm, where others suit it."""

    def arm(label: str, role: Any, run: Trained) -> Arm:
        return Arm(label, role, Part(run, last, name))

    return (
        arm("map_elites", "method", trained("map-elites", world)),
        arm("fittest", "ablation", trained("map-elites", world, steps, variant=Fittest)),
        arm("random", "baseline", trained("map-elites", world, variant=Sampled)),
    )


claim = Claim(
    system="map-elites",
    statement="It fills more of the space than a traditional evolutionary algorithm and random sampling do, with "
    "better policies in every cell, and its best policy is also better than theirs.",
    source="1504.04909, section 4 (figure 3): coverage, reliability, global performance",
    minutes=2,
    checks=(
        Check(
            "coverage",
            question="On a plane with a trap, does it reach more cells?",
            metric="share of 256 cells that hold a policy, after 160,000 environment steps (3,200 policies)",
            seeds=5,
            arms=arms(TRAP, "coverage", {"iso": 0.1, "line": 0.3}),
            rules=("mean(map_elites) >= 1.2 * mean(fittest)", "mean(map_elites) >= 1.2 * mean(random)"),
        ),
        Check(
            "reliability",
            question="For a crawler, is what the cells hold better in sum?",
            metric="QD score: distance in 60 steps, summed over 256 cells, after 300,000 steps (5,000 policies)",
            seeds=5,
            arms=arms(CRAWL, "qd_score", {}),
            rules=("mean(map_elites) >= 1.2 * mean(fittest)", "mean(map_elites) >= 1.2 * mean(random)"),
        ),
        Check(
            "best",
            question="And is the best of all at least as good?",
            metric="distance crawled by the best policy (at most 60)",
            seeds=5,
            arms=arms(CRAWL, "max_fitness", {}),
            rules=("mean(map_elites) > mean(fittest)", "mean(map_elites) > mean(random)"),
        ),
    ),
)
