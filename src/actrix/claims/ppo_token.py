"""The claim of PPO on tokens: clipping each token's ratio makes several passes over the same answers safe."""

from __future__ import annotations

from actrix.claims.answers import SUMS, right
from actrix.claims.claim import Arm, Check, Claim, trained

TASK = {**SUMS, "steps": 15}
PPO = {"epochs": 4, "minibatches": 4, "rate": 1e-4}
NO_CLIP = {"clip": 1e9, "clip_high": 1e9}
ONE_PASS = {"epochs": 1}
START = {"steps": 1, "rate": 1e-12}

claim = Claim(
    system="ppo-token",
    statement="The clipped objective allows several passes of minibatches over the same samples, and learns better by "
    "them than without a clip and than with one pass; on language it makes a policy that is preferred to the "
    "supervised one that it started from.",
    source="1707.06347, sections 3 and 6.1 (table 1); on language 2203.02155, section 4.1",
    minutes=4,
    checks=(
        Check(
            "passes",
            question="After four passes over each round, is it better by two points than without a clip, than with one "
            "pass, and by three than the supervised policy that it started from?",
            metric="right answers to 200 test problems, per cent, after 15 rounds of 32 times 8 answers",
            seeds=3,
            arms=(
                Arm("ppo", "method", trained("ppo-token", TASK, PPO, measure=right)),
                Arm("no_clip", "ablation", trained("ppo-token", TASK, PPO, NO_CLIP, measure=right)),
                Arm("one_pass", "ablation", trained("ppo-token", TASK, PPO, ONE_PASS, measure=right)),
                Arm("start", "baseline", trained("ppo-token", TASK, PPO, START, measure=right)),
            ),
            rules=("mean(ppo - no_clip) >= 2", "mean(ppo - one_pass) >= 2", "mean(ppo - start) >= 3"),
        ),
    ),
)
