"""The claim of off-policy MDPO: as good as SAC, with a price on the distance from an old policy in place of entropy."""

from __future__ import annotations

from actrix.claims.claim import Arm, Check, Claim, trained

SWING = {
    "env": "Pendulum-v1", "steps": 5_000, "hidden": (64, 64), "batch": 64, "rate": 1e-3, "warmup": 500,
    "eval_episodes": 20,
}  # fmt: skip
MDPO = {"price": 1.0, "temperature": 0.2, "anchor_every": 250, "target_rate": 0.02}
ALWAYS = {"anchor_every": 1}  # the old policy is the new one: the distance is 0, and so is its gradient on average
SAC = {"target_rate": 0.01}

claim = Claim(
    system="mdpo-off-policy",
    statement="Off-policy MDPO matches or beats SAC, of which it is a generalisation; the old policy has to stay where "
    "it is for many gradient steps.",
    source="2005.09814, sections 5 and 6.3",
    minutes=5,
    note="On one seed of three it is as good as SAC (-144), on the others behind (-274 against -200, and -654 "
    "against -186: it still turns round there after 5,000 steps); the anchor that is renewed in every update "
    "ends at -437, -154 and -203, so nothing can be said of what standing still is for. The budget is short, "
    "and the value of the state is a second thing to be learned before the actor's target is right. SAC also "
    "learns its temperature, which is fixed here. Chosen on seed 1,000 in runs of 4,000 steps: price 1 and "
    "temperature 0.2, as in an example of the authors, with an anchor of 250 updates and a target rate of "
    "0.02, gave -125; the defaults of price and temperature (0.3 and 0) with an anchor of 500 and a target "
    "rate of 0.01 gave -1,188; SAC gave -100. No others were tried. The published comparison is on MuJoCo "
    "tasks of a million steps.",
    checks=(
        Check(
            "pendulum",
            question="Does it learn to swing the pendulum up as well as SAC, and better than with an anchor that is "
            "renewed in every update?",
            metric="mean return of 20 final episodes after 5,000 steps",
            seeds=3,
            arms=(
                Arm("mdpo", "method", trained("mdpo-off-policy", SWING, MDPO)),
                Arm("always", "ablation", trained("mdpo-off-policy", SWING, MDPO, ALWAYS)),
                Arm("sac", "baseline", trained("sac", SWING, SAC)),
            ),
            rules=("mean(mdpo) >= mean(sac) - 50", "mean(mdpo) > mean(always)"),
        ),
    ),
)
