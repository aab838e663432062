"""The claim of GBRL: boosted trees can be actor and critic, and on categorical observations with noise they do better
than a network."""

from __future__ import annotations

import numpy as np

from actrix.claims.claim import Arm, Check, Claim, Training, trained

CARTPOLE = {"env": "CartPole-v1", "steps": 100_000, "eval_episodes": 20}
# discount and decay as published for CartPole; its rates are for a million steps and one pass over each batch
POLE = {"discount": 0.98, "decay": 0.8, "epochs": 10, "minibatch": 256, "policy_rate": 0.15, "value_rate": 0.05}
DOOR = {"steps": 49_152, "envs": 16, "horizon": 128, "discount": 0.98, "decay": 0.95, "eval_episodes": 1}
PLAIN = {**DOOR, "env": "actrix.claims.worlds:PlainKeyDoor-v0"}
CROWDED = {**DOOR, "env": "actrix.claims.worlds:CrowdedKeyDoor-v0"}
# few trees, each grown on a whole round of experience (2,048 steps): what finds a signal among 160 columns of noise
GBRL = {"policy_rate": 0.3, "value_rate": 0.05, "epochs": 20, "minibatch": 0}
PPO = {"rate": 1e-3, "epochs": 10, "minibatch": 256, "normalise_obs": False}
EQUAL = {"value_rate": 0.3}  # the value learns as fast as the policy


def opened(run: Training) -> float:
    """How many of the training episodes in the last quarter of the steps ended with the door open, percent."""
    late = [value > 0 for step, value, _ in run.episodes if step > 0.75 * run.trainer.options.steps]
    return 100 * float(np.mean(late))


claim = Claim(
    system="gbrl",
    statement="An ensemble of boosted trees that policy and value share is competitive with networks on classic "
    "control and better on structured, categorical tasks; it is more robust to observations that mean nothing.",
    source="2407.08250, sections 5.1 to 5.4",
    minutes=5,
    note="CartPole misses its bar, which two seeds of four pass (500; the others reached 355 and 410). The published "
    "run has ten times the steps, at lower rates in one pass over each batch; with those, three trials on other seeds "
    "ended at 202, 375 and 430 after 100,000 steps, with ten passes one ended at 500. The key and the door are as "
    "claimed, and 40 meaningless values cost the trees nothing, but only with each tree grown on all 2,048 steps of "
    "a round: on minibatches of 128 the trees split on noise, and lost to the network (one seed, 24,576 steps). Eight "
    "settings were tried for the trees and eight for the network, on other seeds; among the network's were passes "
    "over whole rounds too, which changed little.",
    checks=(
        Check(
            "cartpole",
            question="Do boosted trees solve CartPole in 100,000 steps, in 3 of 4 seeds?",
            metric="mean return of 20 final episodes",
            seeds=4,
            arms=(Arm("gbrl", "method", trained("gbrl", CARTPOLE, POLE)),),
            rules=("quartile(gbrl) >= 475",),
        ),
        Check(
            "key_door",
            question="Fetching a key and opening a door, with everything seen categorical: are trees at least as good "
            "as a network, and does the network lose 10 points more to 40 values that mean nothing?",
            metric="doors opened in the last quarter of 49,152 training steps, percent",
            seeds=4,
            arms=(
                Arm("gbrl", "method", trained("gbrl", PLAIN, GBRL, measure=opened)),
                Arm("gbrl_crowded", "method", trained("gbrl", CROWDED, GBRL, measure=opened)),
                Arm("ppo", "baseline", trained("ppo", PLAIN, PPO, measure=opened)),
                Arm("ppo_crowded", "baseline", trained("ppo", CROWDED, PPO, measure=opened)),
            ),
            rules=(
                "mean(gbrl) >= mean(ppo)",
                "mean(gbrl_crowded) >= mean(ppo_crowded)",
                "mean(ppo) - mean(ppo_crowded) >= mean(gbrl) - mean(gbrl_crowded) + 10",
            ),
        ),
        Check(
            "rates",
            question="Does it slow learning down if the value learns as fast as the policy?",
            metric="doors opened in the last quarter of 49,152 training steps, percent",
            seeds=4,
            arms=(
                Arm("gbrl", "method", trained("gbrl", CROWDED, GBRL, measure=opened)),
                Arm("equal_rates", "ablation", trained("gbrl", CROWDED, GBRL, EQUAL, measure=opened)),
            ),
            rules=("mean(equal_rates) < mean(gbrl)",),
        ),
    ),
)
