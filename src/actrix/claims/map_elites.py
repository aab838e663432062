"""The claim of MAP-Elites: keeping the best of every kind lights up a space, and also finds the better best."""

from __future__ import annotations

from typing import Any

from actrix.claims.archives import CRAWL, TRAP, last
from actrix.claims.claim import Arm, Check, Claim, Part, Trained, trained


def arms(world: dict[str, Any], name: str, steps: dict[str, Any]) -> tuple[Arm, ...]:
    """`steps`: of the variation of the evolutionary algorithm, where others suit it."""

    def arm(label: str, role: Any, run: Trained) -> Arm:
        return Arm(label, role, Part(run, last, name))

    return (
        arm("map_elites", "method", trained("map-elites", world)),
        arm("fittest", "ablation", trained("map-elites", world, steps, variant="archives:Fittest")),
        arm("random", "baseline", trained("map-elites", world, variant="archives:Sampled")),
    )


claim = Claim(
    system="map-elites",
    statement="It fills more of the space than a traditional evolutionary algorithm and random sampling do, with "
    "better policies in every cell, and its best policy is also better than theirs.",
    source="1504.04909, section 4 (figure 3): coverage, reliability, global performance",
    minutes=1,
    note="What fails, by 0.004, is how much more of the plane is reached than by the evolutionary algorithm: 61 % "
    "against 51 %, where a fifth more was asked for. There the latter has the steps that suited it on seed 1000 "
    "(iso 0.1, line 0.3, by which it reached 54 % and not 39), and MAP-Elites those of the claim of DCG-MAP- "
    "Elites (0.05, 0.1); larger ones were not tried for it. A pool of as many of the fittest as there are cells "
    "is also milder than the elitism of a small population. For the crawler the sum over cells is 46 % higher "
    "than the algorithm's; the best policies of both are near the most that there is (60), so that little can "
    "be seen of who finds the better one. Novelty search, the paper's other baseline, is not in the library.",
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
