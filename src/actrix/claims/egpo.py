"""The claim of EGPO: its last iterate converges linearly to the solution, where online mirror descent circles."""

from __future__ import annotations

from actrix.claims.claim import Arm, Check, Claim, trained
from actrix.claims.preferences import from_even, last_gap, played, slope

ETA = 0.4  # step; ETA * beta = 4 rate / number of answers
FAR = (1.0, 0.0, -1.0)  # logits of start and reference, away from the solution


def step(n: int, beta: float) -> dict[str, float]:
    return {"beta": beta, "rate": ETA * beta * n / 4}


PLAIN = {"extragradient": False}
STYLES = {"task": "styles", "model": "micro", "warm_steps": 150, "prompts": 32, "group": 8, "eval_episodes": 10,
          "beta": 0.05}  # fmt: skip

claim = Claim(
    system="egpo",
    statement="The extragradient step gives linear convergence of the last iterate to the Nash policy of the "
    "KL-regularised preference game, where online mirror descent with the same step circles or plateaus; a language "
    "policy ends nearer to the Nash policy than with methods that maximise a reward.",
    source="2503.08942, sections 4 and 6",
    minutes=6,
    checks=(
        Check(
            "rate",
            question="Is log KL to the solution at least as steep as log(1 - eta beta), for 3, 10 and 100 answers?",
            metric="slope of log KL(solution || policy) per round, random games, eta 0.4, beta 0.1",
            seeds=5,
            arms=(
                Arm("three", "method", played("egpo", "random-3-{seed}", 600, slope, step(3, 0.1))),
                Arm("ten", "method", played("egpo", "random-10-{seed}", 600, slope, step(10, 0.1))),
                Arm("hundred", "method", played("egpo", "random-100-{seed}", 600, slope, step(100, 0.1))),
            ),
            rules=("max(three) <= -0.0408", "max(ten) <= -0.0408", "max(hundred) <= -0.0408"),
        ),
        Check(
            "cheap_divergence",
            question="At beta 0.001 in rock, paper, scissors, does it settle where mirror descent circles?",
            metric="duality gap after 2,000 rounds (4,000 of mirror descent: as many oracle calls)",
            seeds=1,
            arms=(
                Arm("egpo", "method", played("egpo", "rps", 2_000, last_gap, step(3, 0.001), start=FAR)),
                Arm("omd", "ablation", played("egpo", "rps", 4_000, last_gap, step(3, 0.001), PLAIN, start=FAR)),
            ),
            rules=("max(egpo) <= 1e-5", "min(omd) >= 100 * max(egpo)"),
        ),
        Check(
            "styles",
            question="Does a language policy come nearer to an even mixture of three styles that beat each other in a "
            "circle than with DPO and IPO, after as many pairs of answers?",
            metric="total variation distance of the styles of its answers from a third each",
            seeds=3,
            arms=(
                Arm("egpo", "method", trained("egpo", STYLES, {"steps": 120, "rate": 5e-5, "opponents": 4},
                                              measure=from_even)),
                Arm("dpo", "baseline", trained("dpo", STYLES, {"steps": 240, "rate": 1e-4}, measure=from_even)),
                Arm("ipo", "baseline", trained("ipo", STYLES, {"steps": 240, "rate": 1e-4}, measure=from_even)),
            ),
            rules=("mean(egpo) <= 0.5 * mean(dpo)", "mean(egpo) <= 0.5 * mean(ipo)"),
        ),
    ),
)  # fmt: skip
