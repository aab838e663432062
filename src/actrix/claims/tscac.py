"""The claim of TSCAC: as much watch time as without constraints, and no signal lost over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from actrix.claims.claim import Arm, Check, Claim, Training
from actrix.claims.measures import played
from actrix.claims.recordings import episodes, on

SESSIONS = 2_000  # that a policy is judged on, of which every seed has its own
NETWORKS = {"env": "actrix.envs.sessions:Sessions-v0", "hidden": (32, 32), "rate": 1e-3, "batch": 256,
            "eval_episodes": 1}  # fmt: skip
LEARNING = {**NETWORKS, "steps": 2_500, "stage_one": 1_000}
# the same pull towards the reward for all: weights of 0.25 for three experts sum to 0.75
ARMS: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "tscac": ("tscac", {**LEARNING, "weights": (0.25,)}, ""),
    "merged": ("tscac", {**LEARNING, "weights": (0.75,), "experts": "merged"}, ""),
    "watch_only": ("tscac", {**LEARNING, "weights": (0.75,), "experts": "none"}, ""),
    "summed": ("tscac", {**LEARNING, "weights": (0.75,)}, "sessions:Summed"),
    "rcpo": ("tscac", {**LEARNING, "weights": (0.75,)}, "sessions:RCPO"),
    "bc": ("bc", {**NETWORKS, "steps": 2_500}, ""),
}


@cache
def figures(arm: str, seed: int) -> Mapping[str, float]:
    """Of one run: minutes, likes, follows and shares of a session; the least of the signals by that of the data; the
    minutes of a video, in truth and by what is estimated from fresh records."""
    found: dict[str, float] = {}

    def keep(run: Training) -> float:
        found.update(measured(run))
        return 0.0

    system, settings, variant = ARMS[arm]
    on("sessions", system, settings, measure=keep, variant=variant)(seed)
    return found


def measured(run: Training) -> Mapping[str, float]:
    import torch

    from actrix.envs.sessions import SIGNALS, TOPICS, ranker_logits
    from actrix.evaluate.off_policy import ncis

    learner: Any = run.trainer.learner
    part = learner.spec.signals
    mine = played(run, SESSIONS, sampled=True)
    totals = (mine.next_obs[..., part.start : part.stop] * mine.within[..., None]).sum(0).mean(0)
    fresh = episodes("sessions-fresh")
    obs = np.concatenate([e.obs[:-1] for e in fresh])
    action = np.concatenate([e.action for e in fresh])
    user = next(p.start for p in learner.spec.obs if p.name == "obs.user")
    logits = ranker_logits(obs[:, user : user + TOPICS], obs[:, user + TOPICS : user + 2 * TOPICS])
    behaviour = (logits - np.logaddexp.reduce(logits, 1)[:, None])[np.arange(len(obs)), action]
    with torch.no_grad():
        logp = learner.actor.log_prob(torch.from_numpy(obs), torch.from_numpy(action)[:, None])
        reward = torch.from_numpy(np.concatenate([e.reward for e in fresh])).float()
        estimate, effective = ncis(logp, torch.from_numpy(behaviour).float(), reward)
    levels = level()
    return {
        "minutes": float(mine.returns.mean()),
        **{name: float(total) for name, total in zip(SIGNALS, totals)},
        "worst": float((totals / levels).min()),
        "rate": float(mine.returns.sum() / mine.within.sum()),
        "estimate": float(estimate),
        "effective": float(effective) / len(obs),
    }


@cache
def level() -> np.ndarray:
    """Signals of a session in the data [3]."""
    from actrix.envs.sessions import SessionRows
    from actrix.envs.spaces import ObsMap

    part = next(p for p in ObsMap(SessionRows(1).single_observation_space).parts if p.name == "obs.signals")
    return np.mean([np.sum(e.obs, 0)[part.start : part.stop] for e in episodes("sessions")], 0)


@dataclass(frozen=True)
class Figure:
    """One of the figures of a run."""

    arm: str
    name: str

    def __call__(self, seed: int) -> float:
        return figures(self.arm, seed)[self.name]


@dataclass(frozen=True)
class Agreement:
    """Rank correlation over arms of what is estimated with what is true, in minutes of a video."""

    def __call__(self, seed: int) -> float:
        from scipy.stats import spearmanr

        pairs = [(figures(arm, seed)["estimate"], figures(arm, seed)["rate"]) for arm in ARMS]
        return float(spearmanr(*zip(*pairs)).statistic)


ROLES: Mapping[str, Any] = {
    "tscac": "method", "merged": "baseline", "watch_only": "ablation", "summed": "baseline", "rcpo": "baseline",
    "bc": "baseline",
}  # fmt: skip


def arms(name: str) -> tuple[Arm, ...]:
    return tuple(Arm(arm, role, Figure(arm, name)) for arm, role in ROLES.items())


claim = Claim(
    system="tscac",
    statement="TSCAC has the best watch time of all, and the best or second best of most interactions; RCPO, with one "
    "critic or several, and a weighted sum lose the one or the other.",
    source="2302.01680, section 5; the check is the same in a simulated feed, where the truth is known",
    minutes=4,
    note="With the experts no signal falls below the data's, all are a sixth or more above who imitates the data, "
    "and watch time is above that of the policy without constraints in every seed: users who like what they "
    "see stay longer, so that in this feed the constraints help the reward, and the margin of 3 percent was "
    "not needed. (With a stronger pull, 0.4 in place of 0.75, the policy without constraints had 13.6 minutes"
    " on seed 1000, and 0.64 of the data's shares.) What the multiplicity of experts does is seen against one"
    " merged expert: that has 1.3 percent more watch time, the best of all, and 13 to 17 percent less of each"
    " signal. RCPO is the nearest baseline: 1.2 percent less watch time, and 0.97 of the data's level in its "
    "worst signal, below it in four of five seeds. The clone of the data, too, comes to 0.93 only (sessions "
    "end a little earlier than the recorded ones, and the least of three is taken), and RCPO is above the "
    "clone in every signal; it violates the constraint narrowly, and did not collapse. The weighted sum, with"
    " 5 minutes for a reaction, has the most reactions and less watch time: another point of the trade, not a"
    " worse one. The order by off-policy estimates is right but for one neighbouring pair, where the policies"
    " differ much from each other; the behaviour's probabilities were known to it, and are not in a real "
    "feed. Fixed before the run: the margins of the plan, the level of the data for the constraints, and that"
    " the policy without experts must fall below it. Tuned on seed 1000: the weights of the experts (1, 0.33 "
    "and 0.17 each; 0.25 was taken between the last two) and a rate of 1e-3; the sum of weights is the pull "
    "towards the reward, and the same for all arms. Worth and step size of the baselines are first choices. "
    "The feed is simulated, with 15 videos and made-up users, and says nothing of a real one.",
    checks=(
        Check(
            "watch_time",
            question="Do the constraints cost no more than 3 percent of the watch time?",
            metric="mean minutes of 2,000 simulated sessions",
            seeds=5,
            arms=arms("minutes"),
            rules=("mean(tscac) >= 0.97 * mean(watch_only)", "mean(tscac) > mean(bc)"),
        ),
        Check(
            "constraints",
            question="Is no signal below its level in the data, where without constraints one is, and with RCPO in one "
            "seed at least?",
            metric="least of likes, follows and shares of 2,000 simulated sessions, each by that of the data",
            seeds=5,
            arms=arms("worst"),
            rules=("mean(tscac) >= 1", "mean(watch_only) < 1", "min(rcpo) < 1"),
        ),
        *(
            Check(
                name,
                question=f"Does TSCAC have at least the {name}s of who imitates the data?",
                metric=f"{name}s of a simulated session",
                seeds=5,
                arms=arms(name),
                rules=("mean(tscac) >= mean(bc)",),
            )
            for name in ("like", "follow", "share")
        ),
        Check(
            "estimate",
            question="Does off-policy evaluation (NCIS, by fresh records) put the six policies in their true order?",
            metric="rank correlation of estimated with true minutes of a video",
            seeds=5,
            arms=(Arm("ncis", "method", Agreement()),),
            rules=("mean(ncis) > 0.6",),
        ),
    ),
)
