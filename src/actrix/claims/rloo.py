"""The claim of RLOO: plain policy gradients on whole answers, each against the others to its prompt, are enough."""

from __future__ import annotations

from actrix.claims.answers import SUMS, right
from actrix.claims.claim import Arm, Check, Claim, trained

TASK = {**SUMS, "steps": 50, "prompts": 64, "group": 4}
RATE, PPO = {"rate": 5e-4}, {"minibatches": 4, "rate": 2e-4}


claim = Claim(
    system="rloo",
    statement="After a supervised start, REINFORCE on whole answers with the mean of the other answers to the same "
    "prompt as baseline reaches a higher reward than PPO, than supervised learning on the best of as many answers "
    "(RAFT), and than REINFORCE with one running baseline.",
    source="2402.14740, section 5",
    minutes=3,
    checks=(
        Check(
            "reward",
            question="Is it better by two points than PPO, RAFT and an average baseline, after as many answers?",
            metric="right answers to 200 test problems, per cent, after 50 rounds of 64 times 4 answers",
            seeds=3,
            arms=(
                Arm("rloo", "method", trained("rloo", TASK, RATE, measure=right)),
                Arm("ppo", "baseline", trained("ppo-token", TASK, PPO, measure=right)),
                Arm("raft", "baseline", trained("rloo", TASK, RATE, measure=right, variant="answers:Raft")),
                Arm("average", "ablation", trained("rloo", TASK, RATE, measure=right, variant="answers:Average")),
            ),
            rules=("mean(rloo - ppo) >= 2", "mean(rloo - raft) >= 2", "mean(rloo - average) >= 2"),
        ),
    ),
)
