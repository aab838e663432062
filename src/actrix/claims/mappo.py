"""The claim of MAPPO: PPO does for teams, with a value of all that is seen, in units of its targets."""

from __future__ import annotations

from actrix.claims.bn_mappo import ALOHA, THEIRS
from actrix.claims.claim import Arm, Check, Claim, Training, trained

RAW, LOUD = {"value_rate": 0.0}, {"env": "pettingzoo:actrix.claims.worlds.LoudAloha"}


def undone(run: Training) -> float:
    """The final mean return, in the units of Aloha as it is."""
    from actrix.claims.worlds import LoudIslands

    return float(run.evaluation["mean"]) / LoudIslands.loudness


claim = Claim(
    system="mappo",
    statement="With a value of all that is seen, in units of its targets, PPO learns to cooperate without tuning to a "
    "domain: as well as or better than with values of what each agent sees (IPPO), and whatever the scale of rewards, "
    "where values without normalisation fail.",
    source="2103.01955, sections 4, 5.1 and 5.2",
    minutes=3,
    note="All arms come to two islands that always send (2.48) or just below, so that what differs is how soon, and "
    "IPPO is the sooner: on seed 1000 it was there after 40 % of the steps, MAPPO after 80 %. Here an island's "
    "own backlog is all that its choice depends on, and a value of four backlogs is no help; the paper, too, "
    "finds both alike in many tasks. Normalisation did not help either, nor did rewards a hundred times as "
    "large hurt without it: returns begin at -80 (collisions cost 10) and end at 2.5, so that the running "
    "statistics are those of a past that is over. Rates are those of MAPPO in the claim of BN-MAPPO, for all "
    "arms. The off-policy methods that the paper compares with (QMix and others) are not in the library.",
    checks=(
        Check(
            "aloha",
            question="On four islands of Aloha, is it at most a twentieth below IPPO?",
            metric="mean return of 200 episodes after 300,000 steps (at best 3.92; two islands that never wait 2.48)",
            seeds=3,
            arms=(
                Arm("mappo", "method", trained("mappo", ALOHA, THEIRS)),
                Arm("ippo", "baseline", trained("mappo", ALOHA, THEIRS, variant="teams:Independent")),
            ),
            rules=("mean(mappo) >= 0.95 * mean(ippo)",),
        ),
        Check(
            "scale",
            question="With rewards a hundred times as large, does it do as well, and better than without normalised "
            "values?",
            metric="mean return of 200 episodes after 300,000 steps, divided by 100",
            seeds=3,
            arms=(
                Arm("loud", "method", trained("mappo", ALOHA, THEIRS, LOUD, measure=undone)),
                Arm("loud_raw", "ablation", trained("mappo", ALOHA, THEIRS, LOUD, RAW, measure=undone)),
                Arm("quiet", "control", trained("mappo", ALOHA, THEIRS)),
            ),
            rules=("mean(loud) >= 0.95 * mean(quiet)", "mean(loud) >= 1.1 * mean(loud_raw)"),
        ),
    ),
)
