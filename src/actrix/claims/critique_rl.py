"""The claim of Critique-RL: rewards for revisions alone lose the power to tell right from wrong; two stages keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from actrix.claims.claim import Arm, Check, Claim, Trained, Training, trained

ROUNDS = 60
TASK = {"task": "arith-trace", "model": "micro", "author": "simulated", "steps": ROUNDS, "stage_one": ROUNDS // 2,
        "pool": 256, "rate": 3e-4, "eval_episodes": 400, "warm_steps": 3_000, "warm_batch": 32, "warm_rate": 3e-3,
        "warm_slips": 0.4}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One of the figures of a finished run; the run itself is made once for all of them."""

    run: Trained
    name: str

    @property
    def steps(self) -> int:
        return self.run.steps

    def __call__(self, seed: int) -> float:
        return figures(self.run, seed)[self.name]


@cache
def figures(run: Trained, seed: int) -> dict[str, float]:
    """The final evaluation's, in per cent (see `actrix.run.critique.refined`)."""
    found: dict[str, float] = {}

    def measure(done: Training) -> float:
        for name in ("mean", "first", "verdicts", "mended", "spoilt"):
            found[name] = 100 * float(done.evaluation[name])
        return 0.0

    Trained(run.system, run.settings, measure)(seed)
    return found


def arms(name: str) -> tuple[Arm, ...]:
    def arm(label: str, role: Any, settings: Mapping[str, Any]) -> Arm:
        return Arm(label, role, Part(trained("critique-rl", TASK, settings), name))

    return (
        arm("full", "method", {}),
        arm("sft", "baseline", {"steps": 1, "rate": 1e-12}),
        arm("indirect", "baseline", {"stage_one": 0, "combine": "none"}),
        arm("stage_one", "ablation", {"stage_one": ROUNDS}),
        arm("unguarded", "ablation", {"combine": "none"}),
        arm("shuffled", "control", {"shuffle": True}),
    )


claim = Claim(
    system="critique-rl",
    statement="A critic that is rewarded for the actor's revisions only learns to help, not to judge; rewarded for its "
    "verdicts first, and for both then, it does both, and revisions get better by it.",
    source="2510.24320, sections 3 and 5",
    minutes=10,
    note="Neither the claim nor its contrary was shown, for no critic learned to judge: verdicts stayed at chance in "
    "every arm, after 96,000 supervised critiques of which three verdicts in ten are wrong. Whether a step is "
    "true is a matter of four tokens together, and a critique tells one bit of it. That the critic reads what it "
    "judges was tried apart from this: a verdict that depends on one token was learned from 3,200 rows, one on a "
    "single step, without noise, not from 16,000; so this is taken for a lack of size and data (0.1 M "
    "parameters). With no judgement to keep, two stages did what rewards for revisions alone did: critics came to "
    "approve of nearly everything, which spoils fewer right answers and mends none. The author is simulated "
    "(first answers careless in four of ten, does as it is told nine times in ten), modulus 5 instead of 17. The "
    "run took 10 core-minutes, more than the 8 that were planned.",
    checks=(
        Check(
            "verdicts",
            question="Does it judge 8 points better than one rewarded for revisions only, and not if stage I is taught "
            "other answers' correctness?",
            metric="balanced accuracy of verdicts on first answers to 400 test problems, per cent",
            seeds=3,
            arms=arms("verdicts"),
            rules=(
                "mean(full - indirect) >= 8",
                "abs(mean(full) - mean(stage_one)) <= 5",
                "mean(shuffled - indirect) < 8",
            ),
        ),
        Check(
            "revised",
            question="Are answers better after its critique?",
            metric="right answers after one critique and revision, per cent of 400 test problems",
            seeds=3,
            arms=arms("mean"),
            rules=("mean(full - indirect) >= 3", "mean(full - sft) >= 6", "mean(full) >= mean(unguarded)"),
        ),
        Check(
            "mended",
            question="Does it mend more than a critic that was rewarded for verdicts only?",
            metric="wrong answers that became right, per cent of all problems",
            seeds=3,
            arms=arms("mended"),
            rules=("mean(full - stage_one) >= 5",),
        ),
        Check(
            "spoilt",
            question="Does it spoil fewer right answers than one rewarded for revisions only?",
            metric="right answers that became wrong, per cent of all problems",
            seeds=3,
            arms=arms("spoilt"),
            rules=("mean(full) <= mean(indirect)",),
        ),
    ),
)
