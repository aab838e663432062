"""The claim of PA-RL: one rule improves policies of any class, from demonstrations that go either way round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from actrix.claims.claim import Arm, Check, Claim, Training
from actrix.claims.recordings import OnData, on

OFFLINE, ONLINE = 1_000, 300  # updates before the part online, and environment steps in it
IMITATED = 5_000  # updates of BC, which is given as many as it needs
MAZE = {
    "env": "actrix.envs.plane:PointUnevenToll-v0", "hidden": (64, 64), "batch": 64, "steps": OFFLINE,
    "eval_every": OFFLINE, "eval_episodes": 40, "denoising_steps": 5,
}  # fmt: skip
PARL = {
    "online_steps": ONLINE, "critic_rate": 1e-3, "actor_rate": 1e-3, "members": 2, "proposals": 8, "keep": 3,
    "ascent": 3, "step": 0.1, "samples": 3, "discount": 0.98, "temperature": 0.02, "imitation": 200,
    "target_rate": 0.05,
}  # fmt: skip
RANKED = {"ascent": 0}  # best of N, without the climb
OFF = {"proposals": 1, "keep": 1, "ascent": 0, "distill": False}  # nothing proposed but one, and nothing learned of it
CLASSES = {"gaussian": "gaussian", "tokens": "autoregressive", "diffusion": "diffusion"}


@cache
def scores(run: OnData, seed: int) -> Mapping[int, float]:
    """The mean returns of a run by step; checks that look at one run at different moments share it."""
    found: dict[int, float] = {}

    def keep(training: Training) -> float:
        found.update(training.scores)
        return 0.0

    replace(run, figure=replace(run.figure, measure=keep))(seed)
    return found


@dataclass(frozen=True)
class At:
    """The mean return of the evaluation after so many steps."""

    run: OnData
    step: int

    def __call__(self, seed: int) -> float:
        return scores(self.run, seed)[self.step]


def arms(step: int, ablated: bool) -> tuple[Arm, ...]:
    """PA-RL of every class after `step` steps, and BC trained to its end; `ablated`: PA-RL without the climb and
    without all of it, and BC after as many updates as that had."""
    found = []
    for name, actor in CLASSES.items():
        kind = {"actor": actor}
        found.append(Arm(f"pa_{name}", "method", At(on("routes-toll", "pa-rl", MAZE, PARL, kind), step)))
        bc, longer = {"rate": 1e-3}, {"steps": IMITATED, "eval_every": IMITATED}
        found.append(Arm(f"bc_{name}", "baseline", At(on("routes-toll", "bc", MAZE, kind, bc, longer), IMITATED)))
        if ablated:
            found.append(Arm(f"brief_{name}", "baseline", At(on("routes-toll", "bc", MAZE, kind, bc), OFFLINE)))
            alone = {"online_steps": 0}
            ranked = on("routes-toll", "pa-rl", MAZE, PARL, alone, RANKED, kind)
            off = on("routes-toll", "pa-rl", MAZE, PARL, alone, OFF, kind)
            found.append(Arm(f"ranked_{name}", "ablation", At(ranked, step)))
            found.append(Arm(f"off_{name}", "ablation", At(off, step)))
    return tuple(found)


IMPROVED = tuple(f"mean(pa_{name} - bc_{name}) >= 0.35" for name in CLASSES)

claim = Claim(
    system="pa-rl",
    statement="Imitating actions that a critic has ranked and moved up its gradient improves policies of any class, "
    "Gaussian, diffusion and autoregressive, offline and then online, with the same rule and the same critic.",
    source="2412.06685, sections 4 and 5",
    minutes=8,
    note="One margin of nine is missed, by 0.012: the Gaussian after 1,000 updates offline, of which one seed of three"
    " had not found the way; online all had. The climb is not what does it here: the best of 8 proposals without "
    "it (ranked, for which no rule was fixed) does as well. BC has five times the updates; in a first run of this"
    " claim it had as many as PA-RL, 1,000, and all rules held then. It does not learn online. There is no arm "
    "that follows the critic's gradient through a diffusion. Updates, target rate and step were chosen on seed "
    "1,000, and the share of the data that wanders so that imitation leaves room.",
    checks=(
        Check(
            "offline",
            question="Does every class get better than imitation by a fifth of what lies between expert and chance?",
            metric=f"mean return of 40 episodes after {OFFLINE:,} updates on data in which two fifths wander; 0.75 is "
            "the shortest way, -1 not to arrive",
            seeds=3,
            arms=arms(OFFLINE, True),
            rules=(
                *IMPROVED,
                *(f"abs(mean(off_{name}) - mean(brief_{name})) <= 0.175" for name in CLASSES),
            ),
        ),
        Check(
            "online",
            question="Are they so after they went on online?",
            metric=f"mean return of 40 episodes after {ONLINE} more steps online, half of each batch from them",
            seeds=3,
            arms=arms(OFFLINE + ONLINE, False),
            rules=IMPROVED,
        ),
    ),
)
