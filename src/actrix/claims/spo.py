"""The claim of SPO: win rates among one's own trajectories teach faster than a reward model of the same comparisons."""

from __future__ import annotations

from actrix.claims.claim import Arm, Check, Claim, Trained, Training, trained

PPO = {"hidden": (32, 32), "horizon": 20, "envs": 16, "rate": 1e-3, "epochs": 10, "steps": 12_800, "eval_episodes": 10}
HOMING = {**PPO, "env": "actrix.claims.worlds:Homing-v0"}
RESERVOIR = {**PPO, "env": "actrix.claims.worlds:Reservoir-v0", "prefers": "peak"}
NOISY = {"noise": 0.2}


def area(run: Training) -> float:
    """Mean true return of all training episodes."""
    return sum(value for _, value, _ in run.episodes) / len(run.episodes)


def peaks(run: Training) -> float:
    """Mean peak of the last ten trajectories of training."""
    return float(run.trainer.feed.contest.queue.mean())  # type: ignore[attr-defined]


def arms(learned: Trained) -> tuple[Arm, ...]:
    def other(name: str) -> Trained:
        return trained("spo", dict(learned.settings), measure=learned.measure, variant=f"contests:{name}")

    return (
        Arm("spo", "method", learned),
        Arm("modelled", "baseline", other("Modelled")),
        Arm("shuffled", "ablation", other("Shuffled")),
    )


METRIC = "mean true return of all training episodes (area under the curve), 640 of them, 6,400 comparisons"

claim = Claim(
    system="spo",
    statement="Without a reward model, win rates among its own trajectories teach a policy faster than iterated reward "
    "modelling from as many comparisons, also where one in five is wrong, and also preferences that no reward of "
    "single steps expresses.",
    source="2401.04056, the experiments",
    minutes=3,
    note="Small worlds made for this: a point that is to come home in twenty steps, and a reservoir whose one high "
    "peak is had by holding back. Where the judge is never wrong and likes returns, what he likes is a sum of "
    "rewards of two observations and an action, which a model learns from a few thousand comparisons and then "
    "pays step by step: the model is ahead on all seeds, by a return of 1. With one answer in five turned round "
    "it is behind on two seeds of three, by half of one in the mean. Peaks can be had by sums too, if late steps "
    "are paid enough: on one seed the model's are the higher ones, on one it hardly learned, which makes most of "
    "the difference. Three seeds do not tell these two apart. Beforehand, on seed 1000: learning rate (1e-3; 3e-3"
    " was slower in the end), passes (10; 5 were slower) and length were chosen by SPO's curve, the model's rate,"
    " updates and standardised rewards by the model's (a first one, with fewer updates and rewards as they came, "
    "learned little), and home was moved away from the middle of the starts, where PPO went for a constant reward"
    " above 0 too: values that still rise pay for what is familiar. That is why win rates are centred. The rules "
    "ask for no less than the model has, and not for a fifth more, which has no meaning for returns below 0. PPO "
    "only, on no task of MuJoCo, and no preferences that go in a circle, where the average of the policies would "
    "have to be kept.",
    checks=(
        Check(
            "clean",
            question="Does it learn faster than with a reward model, where the judge knows the returns, and not from "
            "others' win rates?",
            metric=METRIC,
            seeds=3,
            arms=arms(trained("spo", HOMING, measure=area)),
            rules=("mean(spo) >= mean(modelled)", "mean(spo) >= mean(shuffled) + 5"),
        ),
        Check(
            "noisy",
            question="And where one in five of his answers is turned round?",
            metric=METRIC,
            seeds=3,
            arms=arms(trained("spo", HOMING, NOISY, measure=area)),
            rules=("mean(spo) >= mean(modelled)", "mean(spo) >= mean(shuffled) + 5"),
        ),
        Check(
            "peak",
            question="Does it reach higher peaks, where the judge prefers the trajectory with the higher one?",
            metric="mean peak of the last ten of 640 training trajectories (best possible: 1)",
            seeds=3,
            arms=arms(trained("spo", RESERVOIR, measure=peaks)),
            rules=("mean(spo) >= mean(modelled)", "mean(spo) >= mean(shuffled) + 0.1"),
        ),
    ),
)
