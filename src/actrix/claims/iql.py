"""The claim of IQL: it joins parts of recorded episodes into something better than any method that only imitates, and
than one step of improvement."""

from __future__ import annotations

from actrix.claims.claim import Arm, Check, Claim
from actrix.claims.recordings import on

FORKS = {
    "env": "actrix.claims.forks:Forks-v0", "hidden": (64, 64), "batch": 128, "rate": 1e-3, "steps": 4_000,
    "eval_episodes": 10,
}  # fmt: skip
MAZE = {"expectile": 0.9, "advantage_scale": 10.0}  # the paper's settings for mazes

claim = Claim(
    system="iql",
    statement="An upper expectile over recorded actions gives multi-step dynamic programming without looking at other "
    "actions: where several steps of improvement are needed, as in mazes, it exceeds imitation and one-step methods.",
    source="2110.06169, sections 4.2 and 5.1, figure 3",
    minutes=3,
    checks=(
        Check(
            "forks",
            question="Does it find the great prize, behind a fork at which the data mostly go wrong?",
            metric="mean return of 10 final episodes after 4,000 updates; 1 is the great prize, 0.3 the small one",
            seeds=5,
            arms=(
                Arm("iql", "method", on("forks", "iql", FORKS, MAZE)),
                Arm("one_step", "ablation", on("forks", "iql", FORKS, MAZE, {"expectile": 0.5})),
                Arm("bc", "baseline", on("forks", "bc", FORKS)),
                Arm("td3_bc", "baseline", on("forks", "td3-bc", FORKS)),
            ),
            rules=(
                "mean(iql) >= 0.8",
                "low(iql - one_step) > 0",
                "low(iql - bc) > 0",
                "mean(iql) >= mean(td3_bc)",
            ),
        ),
    ),
)
