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
