"""The claim of PDPPO: where a step is a known effect and then chance, a critic of the state in between helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actrix.claims.claim import Arm, Check, Claim, Part, Training, trained

LOTS = {
    "env": "actrix.envs.lots:LotSizing-v0", "steps": 30_000, "eval_episodes": 100, "envs": 16, "horizon": 60,
    "minibatch": 120, "hidden": (64, 64), "rate": 1e-3, "entropy_weight": 0.012, "decay": 0.95,
}  # fmt: skip
KNOWN = {"env": "actrix.envs.lots:LotSizingKnown-v0"}
TWIN = {"post_state": False}  # two critics, and nothing known
ONE = {"baseline": "post"}
GAIN = {"baseline": "gain"}


def cost(run: Training) -> Mapping[str, float]:
    return {"cost": -float(run.evaluation["mean"])}


def judged(run: Training) -> Mapping[str, float]:
    """The cost; and of what the trained policy does in 60 further steps of 16 plants: the standard deviation of its
    advantages with three baselines, and the correlation of returns with what both critics say. Returns are discounted
    sums of scaled rewards to the end of the episode, and the value there."""
    import torch

    from actrix.rng import torch_stream

    trainer = run.trainer
    learner: Any = trainer.learner
    feed: Any = trainer.feed
    with torch.no_grad(), torch_stream(trainer.options.seed, "judged"):
        feed.reset()
        steps = feed.collect(learner)
        steps = learner.critic.credit(steps, learner.config.discount, 1.0, learner.scaler(steps.reward))
        value, post = steps.target - steps.advantage, learner.post(steps.post_obs)

        def correlation(said: torch.Tensor) -> float:
            return float(torch.corrcoef(torch.stack((said.flatten(), steps.target.flatten())))[0, 1])

        return {
            **cost(run),
            "min": float((steps.target - torch.minimum(value, post)).std()),
            "state": float(steps.advantage.std()),
            "right": correlation(post),
            "right_state": correlation(value),
        }


PDPPO = trained("pdppo", LOTS)


def arm(name: str, role: Any, system: str, *settings: Mapping[str, Any]) -> Arm:
    return Arm(name, role, Part(trained(system, LOTS, *settings), cost, "cost"))


claim = Claim(
    system="pdppo",
    statement="With a second critic of the state after the decision and before chance, and the smaller value as the "
    "baseline, PPO reaches better policies in fewer episodes where transitions are uncertain, in some lot-sizing tasks "
    "twice as good.",
    source="2504.05150, sections 4 and 5",
    minutes=5,
    note="PDPPO costs a tenth more than PPO here, where a tenth less was asked. The reason is likely the one that "
    "theory gives: a baseline that knows the action takes away what the action has done. The more a baseline "
    "is of the second critic, the worse: PPO 206, two critics of the state 212, the smaller of both 228, the "
    "second critic alone 341, which hardly learns; and PDPPO is behind where the demand is known too. The "
    "second critic does know more of what comes (correlations are small for both, as the time left is not "
    "seen, and returns of 30 steps end in a value), and the advantages vary a little less (3 percent). Used "
    "without that bias (gain: A = V_post - V) it costs 231, with a great spread. Tried on seed 1,000: whole "
    "returns as in the paper (232 against 221 with a decay of 0.95; PPO 220 and 210), gain with whole returns"
    " (216), and the paper's joint loss of the smaller value (352: nothing is learned, likely as the greater "
    "value is never corrected). All arms have the same sizes, rates and decay. 1,000 episodes of 30 steps, 5 "
    "items and 2 machines: the paper has thousands of 100, 15 to 25 and 5 to 10. Metrics and margins were "
    "fixed before.",
    checks=(
        Check(
            "lots",
            question="Does PDPPO plan lots at a tenth less cost than PPO, and do two critics of the state not?",
            metric="mean cost of 100 final episodes of 30 steps, after 1,000 episodes",
            seeds=3,
            arms=(
                Arm("pdppo", "method", Part(PDPPO, judged, "cost")),
                arm("ppo", "baseline", "ppo"),
                arm("twin", "ablation", "pdppo", TWIN),
                arm("one_critic", "ablation", "pdppo", ONE),
                arm("gain", "ablation", "pdppo", GAIN),
            ),
            rules=(
                "mean(pdppo) <= 0.9 * mean(ppo)",
                "mean(ppo) - mean(twin) <= 0.5 * (mean(ppo) - mean(pdppo))",
            ),
        ),
        Check(
            "known",
            question="Is there nothing to gain where the demand is known?",
            metric="mean cost of 100 final episodes, where the demand is always its mean",
            seeds=3,
            arms=(arm("pdppo", "method", "pdppo", KNOWN), arm("ppo", "baseline", "ppo", KNOWN)),
            rules=("abs(mean(ppo) - mean(pdppo)) <= 0.03 * mean(ppo)",),
        ),
        Check(
            "advantage",
            question="Do advantages vary less by a sixth with the smaller value as baseline?",
            metric="standard deviation of the advantages of the trained PDPPO's policy, in scaled reward",
            seeds=3,
            arms=(
                Arm("smaller", "method", Part(PDPPO, judged, "min")),
                Arm("state", "baseline", Part(PDPPO, judged, "state")),
            ),
            rules=("mean(smaller) <= 0.85 * mean(state)",),
        ),
        Check(
            "critics",
            question="Does the second critic know more of what comes?",
            metric="correlation of a critic's values with the returns of the trained PDPPO's policy",
            seeds=3,
            arms=(
                Arm("post", "method", Part(PDPPO, judged, "right")),
                Arm("state", "baseline", Part(PDPPO, judged, "right_state")),
            ),
            rules=("mean(post) - mean(state) >= 0.05",),
        ),
    ),
)
