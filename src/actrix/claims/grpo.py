"""The claim of GRPO: verdicts alone lift a language model, and comparing answers within a group is what does it."""

from __future__ import annotations

from actrix.claims.claim import Arm, Check, Claim, Training, trained

WARM = {"model": "mini", "warm_steps": 700, "warm_slips": 0.7}
TASK = {**WARM, "task": "countdown", "rate": 2e-4, "steps": 60, "eval_episodes": 200}


def start(run: Training) -> float:
    """pass@1 of the warm-started policy, before the first round: the mean over the first round's answers."""
    return float(run.episodes[0][1])


claim = Claim(
    system="grpo",
    statement="Sampling a group of answers to each prompt and weighting each by its verdict against the group's "
    "raises the accuracy of a language model beyond supervised training, without a value network.",
    source="2402.03300, sections 4.1 and 4.2",
    minutes=9,
    note="A small model (0.3 M parameters) and countdown instead of the 7 B model and the mathematics of the paper. "
    "GRPO takes it from 0.37 to 0.67, twice as much supervised training to 0.49. The rule that fails, by 0.002, is "
    "about how two things were measured: with one answer to each prompt (alone) there is nothing to compare, every "
    "advantage is zero and no weight moves, so its 0.42 on the test prompts is the same policy as the start's 0.37 on "
    "the 64 prompts of the first round.",
    checks=(
        Check(
            "countdown",
            question="Does GRPO raise pass@1 of a warm-started model, and by comparing within groups?",
            metric="pass@1 over 200 test prompts (the start: over the 512 answers of the first round)",
            seeds=3,
            arms=(
                Arm("grpo", "method", trained("grpo", TASK)),
                Arm("start", "baseline", trained("grpo", {**TASK, "steps": 1}, measure=start)),
                Arm("sft", "baseline", trained("grpo", {**TASK, "steps": 1, "warm_steps": 1_400})),
                Arm("alone", "ablation", trained("grpo", TASK, {"group": 1, "prompts": 512})),
            ),
            rules=("low(grpo - start) > 0.05", "mean(grpo) > mean(sft)", "mean(alone) <= mean(start) + 0.05"),
        ),
    ),
)
