"""The claim of D3S: as good as GRPO after far fewer tokens, and better if it takes more and more of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actrix.claims.claim import Arm, Check, Claim, Part, Trained, Training, measured, trained

ROUNDS = 60
TASK = {"task": "countdown", "model": "micro", "steps": ROUNDS, "prompts": 32, "group": 16, "minibatches": 4,
        "warm_steps": 300, "rate": 2e-4, "clip_high": 0.2, "eval_episodes": 200}  # fmt: skip
SMOOTH = 5  # rounds that a training score is averaged over


def figures(run: Training) -> dict[str, Any]:
    """Accuracy on test prompts, the entropy of what is sampled in the end (nats), the tokens learned from, and the
    curve: training scores, and tokens learned from, after every round."""
    import numpy as np

    from actrix.rng import seed_of

    learner: Any = run.trainer.learner
    task = run.trainer.feed.task  # type: ignore[attr-defined]
    prompts = task.prompts("test", 100, seed_of(run.trainer.options.seed, "surprise"))
    said = learner.speak(
        [task.tokenizer.encode(p.text) for p in prompts], learner.players(task, 1.0)["actor"].settings, 0
    )
    spoken = said.lengths_B.sum() - said.prompt_lengths_B.sum()
    tokens = np.cumsum([f["learned"] for f in run.figures if "learned" in f])
    scores = np.convolve([score for _, score, _ in run.episodes], np.ones(SMOOTH) / SMOOTH, "valid")
    return {
        "accuracy": 100 * run.evaluation["mean"],
        "entropy": float(-said.logp_behaviour_BL.sum() / spoken),
        "tokens": float(tokens[-1]),
        "curve": (scores, tokens[SMOOTH - 1 :]),
    }


@dataclass(frozen=True)
class Share:
    """Tokens learned from until training scores are what `other` ends with, as a share of all that it learned from; at
    least 1 where they never are."""

    run: Trained
    other: Trained

    @property
    def steps(self) -> int:
        return self.run.steps

    def __call__(self, seed: int) -> float:
        mine, theirs = (measured(run, figures, seed) for run in (self.run, self.other))
        scores, tokens = mine["curve"]
        there = [t for s, t in zip(scores, tokens) if s >= theirs["curve"][0][-1]]
        return float(there[0] / theirs["tokens"]) if there else max(1.0, mine["tokens"] / theirs["tokens"])


def run(system: str, settings: Mapping[str, Any] | None = None, variant: str = "") -> Trained:
    return trained(system, TASK, {"anneal": ROUNDS} if system == "d3s" else {}, settings or {}, variant=variant)


D3S, GRPO = run("d3s"), run("grpo")
STATIC = run("d3s", {"samples_last": 0.5, "tokens_last": 0.5})
RANDOM = run("d3s", variant="samples:Anywhere")
HALF = {"samples_first": 0.5, "samples_last": 0.5, "across": 1.0, "tokens_first": 1.0, "tokens_last": 1.0}
PODS = run("d3s", HALF, variant="samples:Again")


def arms(name: str) -> tuple[Arm, ...]:
    return (
        Arm("d3s", "method", Part(D3S, figures, name)),
        Arm("grpo", "baseline", Part(GRPO, figures, name)),
        Arm("pods", "baseline", Part(PODS, figures, name)),
        Arm("static", "ablation", Part(STATIC, figures, name)),
        Arm("anywhere", "ablation", Part(RANDOM, figures, name)),
    )


claim = Claim(
    system="d3s",
    statement="To learn from the answers whose advantages vary most, and of these from the tokens with the largest "
    "product of advantage and entropy, reaches what GRPO reaches after a fifth of the tokens and then more, if the "
    "selection is relaxed as it goes on.",
    source="2509.22115, section 4",
    minutes=6,
    note="A model of 0.1 M parameters and countdown, where an answer has nine tokens. Up to what GRPO reaches it is as "
    "quick as was claimed: after a fifth of the tokens, where PODS takes a quarter and as many tokens taken "
    "anywhere do not get there on two seeds of three. But the end is 5 points below GRPO's, most of it on one seed, "
    "and not above what chance takes. The schedule does what it is for: without it the end is 4 points lower, and "
    "on no seed GRPO's level is reached. Entropy is higher the less is learned from, so that the last check had it "
    "the wrong way round. Likely why: the answers with the largest advantages are rare successes and rare failures, "
    "which the choice across groups prefers; and of nine tokens there are few to spare: a round has 600 to learn "
    "from in the beginning and 1,700 in the end, of 4,600. Tuned on seed 1000: the rate (2e-4 of 1e-4, 2e-4 and "
    "5e-4, for GRPO too) and the shares in the beginning, from a quarter of a group and a fifth of the tokens (40 % "
    "right) to a half of both (41 %, and faster; GRPO 43); one minibatch did worse. The shares of the paper are not "
    "known to us. A first run with four seeds was ended by a time limit in its third, and began anew with three.",
    checks=(
        Check(
            "accuracy",
            question="From as many answers, is it at most a point less accurate than GRPO, and two points more than "
            "with as many answers and tokens taken anywhere, and than without the schedule?",
            metric="share of right answers, per cent, four to each of 200 test prompts, after 30,720 answers",
            seeds=3,
            arms=arms("accuracy"),
            rules=(
                "mean(d3s) >= mean(grpo) - 1",
                "mean(d3s) >= mean(anywhere) + 2",
                "mean(d3s) >= mean(static) + 2",
            ),
        ),
        Check(
            "tokens",
            question="Is it where GRPO ends after three fifths of the tokens?",
            metric="share of GRPO's tokens, until training scores (means of five rounds) are GRPO's last",
            seeds=3,
            arms=(
                Arm("d3s", "method", Share(D3S, GRPO)),
                Arm("pods", "baseline", Share(PODS, GRPO)),
                Arm("static", "ablation", Share(STATIC, GRPO)),
                Arm("anywhere", "ablation", Share(RANDOM, GRPO)),
            ),
            rules=("mean(d3s) <= 0.6",),
        ),
        Check(
            "entropy",
            question="Does the policy stay more varied than without the schedule?",
            metric="mean surprise of sampled tokens in the end, nats",
            seeds=3,
            arms=arms("entropy"),
            rules=("mean(d3s) >= mean(static)",),
        ),
    ),
)
