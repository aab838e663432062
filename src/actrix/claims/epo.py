"""The claim of EPO: a bonus alone lets the entropy of conversations run away; a corridor around its past holds it."""

from __future__ import annotations

from typing import Any

from actrix.claims.claim import Arm, Check, Claim, Part, Role, Training, trained

ROUNDS = 25
TASK = {"task": "house", "model": "micro", "steps": ROUNDS, "anneal": ROUNDS, "prompts": 64, "group": 1,
        "minibatches": 2, "epochs": 2, "warm_steps": 200, "warm_batch": 48, "warm_slips": 0.8, "rate": 5e-4,
        "critic_rate": 1e-3, "eval_episodes": 64}  # fmt: skip
FREE: dict[str, Any] = {"penalty": 0.0}
HELD: dict[str, Any] = {"penalty": 4.0, "high": 1.5}
SMALL, LARGE = {"weight": 0.01}, {"weight": 0.05}


def figures(run: Training) -> dict[str, float]:
    """Conversations of the final evaluation that end outside, and rounds whose entropy is between half and twice the
    mean of the rounds before it, both per cent; and how far the last entropy is above the lowest."""
    import numpy as np

    entropy = np.array([f["entropy"] for f in run.figures if "before" in f])
    before = np.cumsum(entropy)[:-1] / np.arange(1, len(entropy))
    within = (entropy[1:] >= 0.5 * before) & (entropy[1:] <= 2 * before)
    return {
        "outside": 100 * float(run.evaluation["mean"]),
        "within": 100 * float(within.mean()),
        "risen": float(entropy[-3:].mean() / entropy.min()),
    }


def arm(name: str, role: Role, figure: str, *settings: dict[str, Any]) -> Arm:
    return Arm(name, role, Part(trained("epo", TASK, *settings), figures, figure))


def arms(figure: str) -> tuple[Arm, ...]:
    return (
        arm("epo", "method", figure, SMALL, HELD),
        arm("epo_large", "method", figure, LARGE, HELD),
        arm("ppo", "baseline", figure, {"weight": 0.0}, FREE),
        arm("bonus", "ablation", figure, SMALL, FREE),
        arm("bonus_large", "ablation", figure, LARGE, FREE),
    )


claim = Claim(
    system="epo",
    statement="In long conversations with a reward at their end alone, an entropy bonus makes the entropy swing or run "
    "away; kept in a corridor around its past, PPO succeeds up to 2.5 times as often.",
    source="2509.22576 (version 2), section 5 and table 1",
    minutes=6,
    note="A model of 0.1 M parameters, conversations of at most twelve turns where the paper has thirty and more. The "
    "corridor does its work: a bonus of 0.05, which costs plain PPO 10 points, is harmless with it (66 % get out "
    "against 52, on every seed more), and that is what is seen of the failure that the paper describes. At a "
    "small bonus there is nothing to hold: entropy stays within its bounds in every round of every arm, and EPO "
    "(66 %), the bonus alone (66) and PPO (63) are no further apart than seeds put them, where five points were "
    "asked. A large bonus made the entropy rise to 1.6 times its lowest on one seed of three, and not on average; "
    "in a pilot of 30 rounds (seed 1000) it was more than twice. The corridor and its weight were chosen there "
    "for the large bonus: 1.5 times the mean and 4, of two widths and three weights, where the published ones are "
    "2 and 0.05 to 0.1, which at a bonus of 0.001 come to nothing beside PPO's gradient. The small bonus is the "
    "best of those tried there that are not nought (73 % got out with 0, 64 with 0.01, 44 with 0.02, 13 with "
    "0.05). The rates, and two passes, were set once. That the released code's penalty moves nothing is shown by "
    "a test, to the bit.",
    checks=(
        Check(
            "success",
            question="Do five points more get out than with PPO and with PPO and a small bonus, and than with a large "
            "bonus that nothing holds?",
            metric="share of 256 conversations that end outside, per cent, after 1,600 conversations",
            seeds=3,
            arms=arms("outside"),
            rules=(
                "mean(epo) >= mean(ppo) + 5",
                "mean(epo) >= mean(bonus) + 5",
                "mean(epo_large) >= mean(bonus_large) + 5",
            ),
        ),
        Check(
            "within",
            question="Is the entropy in nine rounds of ten between half and twice what it was on average before?",
            metric="share of rounds, per cent",
            seeds=3,
            arms=arms("within"),
            rules=("min(epo) >= 90", "min(epo_large) >= 90"),
        ),
        Check(
            "risen",
            question="Does a large bonus blow the entropy up in the end, and not where it is held?",
            metric="entropy of the last three rounds, as a multiple of the lowest",
            seeds=3,
            arms=arms("risen"),
            rules=("mean(bonus_large) >= 1.5", "mean(epo_large) < 1.5"),
        ),
    ),
)
