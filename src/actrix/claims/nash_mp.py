"""The claim of Nash-MP: linear convergence of the last iterate, also where mirror descent does not converge."""

from __future__ import annotations

from actrix.claims.claim import Arm, Check, Claim
from actrix.claims.preferences import last_gap, played, slope

LOW, HIGH = {"beta": 0.01, "eta": 0.02}, {"beta": 0.1, "eta": 0.2}  # eta = 2 beta
# One plain step of rate n / 4 solves a proximal step; slopes are per round, that is per two preference queries, so the
# published bound is -log(1 + 2 beta): -0.0198 and -0.1823.
claim = Claim(
    system="nash-mp",
    statement="Mirror prox converges linearly in the last iterate, at a rate that does not depend on the number of "
    "answers, where single-step mirror descent with the same step does not converge.",
    source="2505.19731, sections 4 and 5",
    minutes=3,
    note="Random games are matrices of uniform preferences; with those first tried (a sigmoid of Gaussian scores, on "
    "seed 1,000) mirror descent converged too, and the gate between the two could not be seen.",
    checks=(
        Check(
            "rate_low",
            question="Is log KL to the solution at least as steep as the bound at beta 0.01, for 3 and for 50 answers?",
            metric="slope of log KL(solution || policy) per round (two queries), random games",
            seeds=5,
            arms=(
                Arm("three", "method", played("nash-mp", "random-3-{seed}", 1500, slope, LOW, {"rate": 0.75})),
                Arm("fifty", "method", played("nash-mp", "random-50-{seed}", 1500, slope, LOW, {"rate": 12.5})),
                Arm(
                    "mirror_descent_fifty", "ablation",
                    played("nash-mp", "random-50-{seed}", 1500, slope, LOW, {"rate": 12.5, "prox": False}),
                ),
            ),
            rules=("max(three) <= -0.0198", "max(fifty) <= -0.0198", "mean(mirror_descent_fifty) > -0.0198"),
        ),
        Check(
            "rate_high",
            question="And at beta 0.1, for 3, 50 and 300 answers?",
            metric="slope of log KL(solution || policy) per round (two queries), random games",
            seeds=3,
            arms=(
                Arm("three", "method", played("nash-mp", "random-3-{seed}", 300, slope, HIGH, {"rate": 0.75})),
                Arm("fifty", "method", played("nash-mp", "random-50-{seed}", 300, slope, HIGH, {"rate": 12.5})),
                Arm("many", "method", played("nash-mp", "random-300-{seed}", 300, slope, HIGH, {"rate": 75.0})),
            ),
            rules=("max(three) <= -0.1823", "max(fifty) <= -0.1823", "max(many) <= -0.1823"),
        ),
        Check(
            "gate",
            question="With 50 answers and beta 0.01, does mirror prox converge where mirror descent does not?",
            metric="duality gap after 1,500 rounds (3,000 for mirror descent: equal queries)",
            seeds=5,
            arms=(
                Arm("prox", "method", played("nash-mp", "random-50-{seed}", 1500, last_gap, LOW, {"rate": 12.5})),
                Arm(
                    "descent", "ablation",
                    played("nash-mp", "random-50-{seed}", 3000, last_gap, LOW, {"rate": 12.5, "prox": False}),
                ),
            ),
            rules=("max(prox) <= 1e-8", "min(descent) >= 1e-3"),
        ),
    ),
)  # fmt: skip
