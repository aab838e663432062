"""The claim of Lite PPO: the round's spread and the mean over tokens are all that PPO without a critic needs."""

from __future__ import annotations

from actrix.claims.claim import Arm, Check, Claim, trained

# most problems are hardly ever solved, and their answers differ in form alone: the spread of their verdicts is small
SKEWED = {"task": "countdown", "level": 2, "model": "micro", "steps": 80, "prompts": 32, "group": 8, "minibatches": 4,
          "warm_steps": 300, "warm_slips": 0.3, "rate": 2e-4, "eval_episodes": 400}  # fmt: skip

claim = Claim(
    system="lite-ppo",
    statement="Two tricks, advantages over the spread of the round and a mean over tokens, make PPO without a critic "
    "as good as GRPO and DAPO or better, above all where verdicts are skewed.",
    source="2508.08221, sections 4 and 5",
    minutes=5,
    checks=(
        Check(
            "skewed",
            question="Where most prompts are hardly ever answered right, is it as good as GRPO and (less a point) "
            "DAPO, and two points better than with the spread of the group?",
            metric="share of right answers, four to each of 400 test prompts",
            seeds=3,
            arms=(
                Arm("lite", "method", trained("lite-ppo", SKEWED)),
                Arm("grpo", "baseline", trained("grpo", SKEWED, {"clip_high": 0.2, "average": "sequence"})),
                Arm("dapo", "baseline", trained("grpo", SKEWED, {"clip_high": 0.28})),
                Arm("group", "ablation", trained("lite-ppo", SKEWED, {"scale": "group"})),
                Arm("batch", "ablation", trained("lite-ppo", SKEWED, {"centre": "batch"})),
            ),
            rules=(
                "mean(lite) >= mean(group) + 0.02",
                "mean(lite) >= mean(grpo)",
                "mean(lite) >= mean(dapo) - 0.01",
                "mean(lite) > mean(batch)",
            ),
        ),
    ),
)
