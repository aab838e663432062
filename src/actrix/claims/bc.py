"""The claim of behaviour cloning: as good as its demonstrator where it has seen enough, and lost where it has not."""

from __future__ import annotations

from actrix.claims.claim import Arm, Check, Claim
from actrix.claims.recordings import Recorded, on

PENDULUM = {"env": "Pendulum-v1", "hidden": (64, 64), "batch": 128, "rate": 1e-3, "steps": 3_000, "eval_episodes": 20}

claim = Claim(
    system="bc",
    statement="Supervised learning of recorded actions comes near the demonstrator where its states are covered; from "
    "few demonstrations, small errors lead to states never seen, and compound.",
    source="Pomerleau 1989; Ross & Bagnell 2010, section 2",
    minutes=2,
    checks=(
        Check(
            "pendulum",
            question="Does it swing up as its demonstrator does, after 20 episodes of it, but not after one?",
            metric="mean return of 20 final episodes after 3,000 updates (of the demonstrator: of its 20 episodes)",
            seeds=5,
            arms=(
                Arm("bc", "method", on("pendulum-expert", "bc", PENDULUM)),
                Arm("one_episode", "ablation", on("pendulum-few", "bc", PENDULUM)),
                Arm("shuffled", "control", on("pendulum-shuffled", "bc", PENDULUM)),
                Arm("demonstrator", "control", Recorded("pendulum-expert")),
            ),
            rules=(
                "mean(bc) >= mean(demonstrator) - 100",
                "high(one_episode - bc) < 0",
                "mean(shuffled) <= mean(bc) - 500",
            ),
        ),
    ),
)
