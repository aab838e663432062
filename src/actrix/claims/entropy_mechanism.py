"""The claim of the entropy mechanism: entropy falls with a covariance, and to restrain a few tokens keeps it up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actrix.claims.claim import Arm, Check, Claim, Part, Training, trained

TASK = {"task": "countdown", "model": "micro", "steps": 150, "prompts": 32, "group": 8, "minibatches": 4,
        "warm_steps": 300, "rate": 2e-4, "eval_episodes": 10}  # fmt: skip
PROMPTS, SAMPLES = 200, 16
BANDITS, ACTIONS = 400, 50


@dataclass(frozen=True)
class Step:
    """How well the covariance foretells the change of entropy that one step makes: their correlation over bandits whose
    advantages, policies and step sizes (to 0.05) are drawn anew. `shuffled`: log-probabilities of other actions."""

    natural: bool
    shuffled: bool = False

    def __call__(self, seed: int) -> float:
        import numpy as np
        import torch

        from actrix.rng import numpy_stream

        source = numpy_stream(seed, "claims/entropy-mechanism")
        told = []
        for _ in range(BANDITS):
            z, a = torch.from_numpy(source.normal(size=(2, ACTIONS)))
            rate = float(source.uniform(0.01, 0.05))
            p, logp = z.softmax(0), z.log_softmax(0)
            a = a - (p * a).sum()
            change = rate * (a if self.natural else p * a)
            after = (z + change).log_softmax(0)
            said = logp[torch.from_numpy(source.permutation(ACTIONS))] if self.shuffled else logp
            foretold = -((p * said * change).sum() - (p * said).sum() * (p * change).sum())
            told.append((float(foretold), float((p * logp).sum() - (after.exp() * after).sum())))
        return float(np.corrcoef(np.array(told).T)[0, 1])


def figures(run: Training) -> dict[str, float]:
    """Accuracy and pass@16 on test prompts, the entropy of the policy's tokens (nats, last 20 rounds), and by how many
    points the law R = b - a exp(H), fitted to the first 30 % of the rounds, and the last of these themselves, miss the
    score of the last ten."""
    import numpy as np

    from actrix.language.evaluate import evaluate_task

    learner: Any = run.trainer.learner
    task = run.trainer.feed.task  # type: ignore[attr-defined]
    score = evaluate_task(learner.actor, task, (1, SAMPLES), PROMPTS, run.trainer.options.seed)
    entropy = np.array([f["entropy"] for f in run.figures if "entropy" in f])
    right = 100 * np.array([value for _, value, _ in run.episodes])
    early = int(0.3 * len(right))
    slope, level = np.polyfit(np.exp(entropy[:early]), right[:early], 1)
    end = right[-10:].mean()
    return {
        "accuracy": 100 * score.pass_at[1].mean,
        "pass": 100 * score.pass_at[SAMPLES].mean,
        "entropy": float(entropy[-20:].mean()),
        "law": abs(float(slope * np.exp(entropy[-10:]).mean() + level - end)),
        "same": abs(float(right[early - 10 : early].mean() - end)),
    }


def arms(name: str) -> tuple[Arm, ...]:
    def arm(label: str, role: Any, system: str, settings: Mapping[str, Any]) -> Arm:
        return Arm(label, role, Part(trained(system, TASK, settings), figures, name))

    return (
        arm("kl_cov", "method", "entropy-mechanism", {"share": 0.05, "weight": 1.5}),
        arm("clip_cov", "method", "entropy-mechanism", {"restrain": "clip-cov", "share": 7e-3}),
        arm("grpo", "baseline", "grpo", {"clip_high": 0.2}),
        arm("higher", "baseline", "grpo", {"clip_high": 0.28}),
        arm("anywhere", "ablation", "entropy-mechanism", {"restrain": "clip-cov", "share": 7e-3, "choose": "random"}),
    )


claim = Claim(
    system="entropy-mechanism",
    statement="The entropy of a policy falls with the covariance of log-probability and advantage; to restrain the few "
    "tokens that covary most keeps it up and lifts what the policy comes to. Without that, what is right is paid for "
    "with entropy, by the law R = b - a exp(H).",
    source="2505.22617, sections 2 to 4",
    minutes=5,
    note="A model of 0.1 M parameters and 38,400 answers to countdown. Clip-Cov does all that was asked of it: twice "
    "GRPO's entropy, 26 points more in sixteen tries, and as much in one; as many tokens silenced anywhere change "
    "nothing, so it is the covariance that finds them. KL-Cov goes the same way by less: 1.6 times the entropy, 7 "
    "points more in sixteen tries, but 3 fewer in one, where none fewer was asked. Its penalty acts from a round's "
    "second minibatch on, and there are four here where the paper has eight. The law misses the end by 5 to 15 points, "
    "more than do the last ten of the rounds that it was fitted to: likely the 45 rounds are too few, since the score "
    "of one, of 256 answers, scatters by several points. The shares of tokens (0.05 for KL-Cov and 0.007 for Clip-Cov, "
    "where the paper has 0.002 and 0.0002: a round has 3,000 tokens here) and the weight were chosen between three "
    "tries each on seed 1000, GRPO's rate from 2e-4, 5e-4 and 1e-3. GRPO with an entropy bonus was not run.",
    checks=(
        Check(
            "theory",
            question="Does the covariance foretell by how much one step changes the entropy of a softmax?",
            metric="correlation over 400 random bandits of 50 actions",
            seeds=3,
            arms=(
                Arm("natural", "method", Step(natural=True)),
                Arm("plain", "method", Step(natural=False)),
                Arm("shuffled", "ablation", Step(natural=True, shuffled=True)),
            ),
            rules=("min(natural) > 0.99", "min(plain) > 0.99", "max(shuffled) < 0.5"),
        ),
        Check(
            "law",
            question="Does the law, fitted to the first 30 % of GRPO's rounds, foretell its end?",
            metric="error of the share of right training answers in the last ten rounds, in points",
            seeds=3,
            arms=(
                Arm("law", "method", Part(trained("grpo", TASK, {"clip_high": 0.2}), figures, "law")),
                Arm("same", "baseline", Part(trained("grpo", TASK, {"clip_high": 0.2}), figures, "same")),
            ),
            rules=("max(law) < 5",),
        ),
        Check(
            "entropy",
            question="Is the entropy at the end twice GRPO's, and only if tokens are chosen by their covariance?",
            metric="mean surprise of sampled tokens over the last 20 rounds, nats",
            seeds=3,
            arms=arms("entropy"),
            rules=(
                "mean(kl_cov) >= 2 * mean(grpo)",
                "mean(clip_cov) >= 2 * mean(grpo)",
                "mean(anywhere) <= 1.2 * mean(grpo)",
            ),
        ),
        Check(
            "pass",
            question="Is more solved in sixteen tries?",
            metric="pass@16, per cent, 200 test prompts",
            seeds=3,
            arms=arms("pass"),
            rules=("mean(kl_cov) >= mean(grpo) + 3", "mean(clip_cov) >= mean(grpo) + 3"),
        ),
        Check(
            "accuracy",
            question="And no less in one?",
            metric="share of right answers at temperature 1, per cent",
            seeds=3,
            arms=arms("accuracy"),
            rules=("mean(kl_cov) >= mean(grpo)", "mean(clip_cov) >= mean(grpo)"),
        ),
    ),
)
