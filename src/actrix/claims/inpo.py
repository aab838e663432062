"""The claim of INPO: self-play finds the solution of an intransitive game, where iterated DPO does not."""

from __future__ import annotations

from actrix.claims.claim import Arm, Check, Claim
from actrix.claims.preferences import last_gap, mean_gap_of_last_tenth, played

GAME = {"eta": 1.0, "tau": 0.1}
SAMPLED = {"exact": False, "labels": True, "opponents": 0, "prompts": 16, "group": 32}
DPO = {"model": "table", "warm_steps": 0, "online": True, "prompts": 16, "group": 32, "labels": True, "beta": 0.1,
       "rate": 0.02, "optimiser": "adam"}  # fmt: skip

claim = Claim(
    system="inpo",
    statement="No-regret self-play on pairs approaches the Nash policy of a general preference, which iterative DPO, "
    "which fits a reward, does not.",
    source="2407.00617, sections 3 and 4",
    minutes=3,
    checks=(
        Check(
            "exact",
            question="With exact expectations, does the duality gap vanish, and is DPO's on its own answers large?",
            metric="duality gap on random games of 20 answers, divergence weight 0.1, after 100 iterations (DPO: mean "
            "of the last 30 of 300 updates)",
            seeds=10,
            arms=(
                Arm("inpo", "method", played("inpo", "random-20-{seed}", 100, last_gap, GAME, {"rate": 5.0})),
                Arm("dpo", "baseline", played("dpo", "random-20-{seed}", 300, mean_gap_of_last_tenth, DPO)),
            ),
            rules=("max(inpo) <= 1e-6", "mean(dpo) >= 0.1"),
        ),
        Check(
            "sampled",
            question="And with drawn answers and labels, is its gap smaller than DPO's after as many labels?",
            metric="mean duality gap over the last tenth of the rounds; 30 iterations of 10 updates, or 300 updates",
            seeds=5,
            arms=(
                Arm("inpo", "method", played(
                    "inpo", "random-20-{seed}", 30, mean_gap_of_last_tenth, GAME, SAMPLED,
                    {"inner": 10, "optimiser": "adam", "rate": 0.02},
                )),
                Arm("dpo", "baseline", played("dpo", "random-20-{seed}", 300, mean_gap_of_last_tenth, DPO)),
            ),
            rules=("mean(inpo) <= 0.5 * mean(dpo)",),
        ),
    ),
)  # fmt: skip
