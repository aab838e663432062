"""The claim of QGF: a critic's gradient guides a flow best at the action that the flow is about to make."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from actrix.claims.claim import Arm, Check, Claim
from actrix.claims.recordings import path

if TYPE_CHECKING:
    from torch import Tensor

ENV = "actrix.envs.plane:PointUneven-v0"
LIMIT = 32  # steps of an episode that is judged: enough for the short way
MODES, SPREAD = (-2.0, 0.0, 1.0), 0.12  # of the data of the first check, in units of which the box has 3


# --- one action, three modes -------------------------------------------------------------------------------------


def paid(action: Tensor) -> Tensor:
    """The true reward of actions of the box [B, 1]: [B]."""
    return -(3.0 * action[:, 0] - 1.0).square()


def believed(action: Tensor) -> Tensor:
    """What the critic says: the same, and a bump at 3, where there are no data."""
    return paid(action) + 8.0 * (-0.5 * ((3.0 * action[:, 0] - 3.0) / 0.6).square()).exp()


@cache
def imitator(seed: int) -> Any:
    """QGF of single actions, whose flow has learned the three modes, and whose critic is the one above."""
    import torch
    from torch import nn

    from actrix import registry
    from actrix.critics.values import Value
    from actrix.rng import torch_stream
    from actrix.spec import vector_spec

    class Given(nn.Module):
        def forward(self, obs: Tensor, action: Tensor) -> Value:
            return Value(believed(action)[None].expand(2, -1))

    entry = registry.load("qgf")
    with torch_stream(seed, "imitate"):
        learner: Any = entry.learner(vector_spec(1, 1), entry.config(chunk=1, hidden=(64, 64), rate=3e-3))
        modes = torch.tensor(MODES)
        for _ in range(1_500):
            action = (modes[torch.randint(3, (256, 1))] + SPREAD * torch.randn(256, 1)) / 3.0
            learner.optimiser.step({"actor": learner.actor.imitate(torch.zeros(256, 1), action)})
    learner.target_critic = Given()
    return learner


@dataclass(frozen=True)
class Paid:
    """The mean true reward of 4,000 actions."""

    guide: str
    guidance: float = 1.0

    def __call__(self, seed: int) -> float:
        import torch

        learner = imitator(seed)
        learner.configure(guide=self.guide, guidance=self.guidance)
        with torch.no_grad(), stream(seed):
            return float(paid(learner.exploit(torch.zeros(4_000, 1))[0].action).mean())


# --- two ways to the goal ----------------------------------------------------------------------------------------


@cache
def checkpoint(seed: int) -> Any:
    """What all arms of the second check act with: the networks after 3,000 updates."""
    from actrix import registry
    from actrix.run.trainer import RunOptions, Trainer

    config = registry.load("qgf").config(hidden=(128, 128), rate=1e-3)
    options = RunOptions(
        data=(str(path("routes")),), env=ENV, steps=3_000, seed=seed, eval_every=3_000, checkpoint_every=3_000,
        eval_episodes=1, compile="no", threads=1,
    )  # fmt: skip
    trainer = Trainer.start("qgf", options, config)
    try:
        for _ in trainer:
            pass
        return trainer.learner
    finally:
        trainer.close()


@cache
def weighted(seed: int, scale: float) -> Any:
    """The same with another flow, which has imitated with weight exp(scale * advantage) (at most 100) for as long."""
    import copy

    import torch

    from actrix.actors.generative import Generative
    from actrix.data.chunks import Chunks
    from actrix.nets.processes import Flow
    from actrix.optim import Optimiser
    from actrix.rng import torch_stream
    from actrix.run.offline import Recorded

    learner: Any = copy.deepcopy(checkpoint(seed))
    config = learner.config
    recorded = Recorded((str(path("routes")),))
    chunks = Chunks(recorded.read(recorded.maps())[0], config.chunk, config.discount)
    with torch_stream(seed, "weighted"):
        actor = Generative(
            learner.spec, config.hidden, Flow(grid=config.denoising_steps), config.denoising_steps, layer_norm=True,
            chunk=config.chunk,
        )  # fmt: skip
        optimiser = Optimiser({"actor": (actor.parameters(), learner.optimiser.settings["actor"])})
        for _ in range(3_000):
            batch = chunks.sample(config.batch)
            assert batch.valid is not None
            with torch.no_grad():
                advantage = learner.worth(batch.obs, batch.action) - learner.value(batch.obs)
            weight = (scale * advantage).exp().clamp(max=100.0) * batch.valid
            optimiser.step({"actor": actor.imitate(batch.obs, batch.action, weight)})
    actor.planner = learner.made
    learner.actor = actor
    return learner


@dataclass(frozen=True)
class Success:
    """The share of 400 episodes that reach the goal within LIMIT steps. `scale` not 0: with the weighted flow."""

    guide: str
    guidance: float = 1.0
    samples: int = 1
    ascent_size: float = 0.01
    scale: float = 0.0

    def __call__(self, seed: int) -> float:
        import torch

        from actrix.envs.plane import PointMazes
        from actrix.envs.worlds import VectorWorlds
        from actrix.evaluate.episodes import score

        learner = weighted(seed, self.scale) if self.scale else checkpoint(seed)
        learner.configure(guide=self.guide, guidance=self.guidance, samples=self.samples, ascent_size=self.ascent_size)

        def act(obs: Any, mask: Any, memory: Any) -> Any:
            decided, memory = learner.exploit(torch.from_numpy(obs), None, memory)
            return decided.action.numpy(), memory

        with stream(seed):
            return score(act, VectorWorlds(PointMazes(400, level="uneven", limit=LIMIT), ENV, 60.0), 400, seed).mean


def stream(seed: int) -> Any:
    from actrix.rng import torch_stream

    return torch_stream(seed, "judged")


claim = Claim(
    system="qgf",
    statement="Guiding a flow policy at test time by the critic's gradient at a one-step estimate of the clean action, "
    "without that estimate's Jacobian, exceeds the gradient at noisy actions, through the Jacobian and through the "
    "whole denoising chain, and best-of-N; it does as well as policies that were trained against the critic.",
    source="2606.11087, sections 4 and 5",
    minutes=4,
    note="QGF exceeds noisy guidance, bptt, ascent and best-of-N on the same networks, and the Jacobian changes "
    "nothing at its own best weight, 1,000 (at 100 it was weaker on both seeds of the tuning). What failed is the "
    "rule that ten times the best weight must hurt: on the maze it gives 0.97 against 0.95 (three times 0.87, "
    "thirty times 0.85), so from 100 on weights differ by less than seeds do. The likely reason, not tested, is "
    "the task: velocities that are too large end at the bounds of the box, and full speed is the best that can be "
    "done here. On the modes, where the best action lies inside the box, too large a weight hurts. There noisy "
    "guidance is no worse up to a weight of 0.3; at 1 half of its actions overshoot to the far bound and a third "
    "go to the critic's mistake, where 0.7 of QGF's go too (one seed of the tuning). Tuning ended at the largest "
    "value tried for bptt (3,000), ascent (100) and weighted imitation (100, on one seed only). The last cannot "
    "be faster than its players, who are slow; so the end of the statement is hardly tested.",
    checks=(
        Check(
            "modes",
            question="Of three modes of the data, does guidance find the best, and does guidance at noisy actions go "
            "wrong where the critic is wrong, away from the data?",
            metric="mean true reward -(x - 1)^2 of 4,000 actions of a flow that imitates modes at -2, 0 and 1 (a third "
            "each); the critic is given: the truth, and a bump at 3",
            seeds=4,
            arms=(
                Arm("qgf", "method", Paid("clean", 0.1)),
                Arm("qgf_light", "control", Paid("clean", 0.03)),
                Arm("qgf_strong", "control", Paid("clean", 1.0)),
                Arm("qgf_excess", "control", Paid("clean", 10.0)),
                Arm("noisy", "baseline", Paid("noisy", 0.1)),
                Arm("noisy_strong", "baseline", Paid("noisy", 1.0)),
                Arm("bc", "ablation", Paid("none")),
            ),
            rules=(
                "low(qgf_light - bc) > 0.5",
                "low(qgf - qgf_light) > 0.5",
                "low(qgf_strong - noisy_strong) > 0.5",
                "mean(qgf_excess) < mean(qgf)",
            ),
        ),
        Check(
            "routes",
            question="Where the data go two ways to the goal, does guidance take the short one, and better than the "
            "other uses of the same critic?",
            metric=f"share of 400 episodes that reach the goal of PointUneven-v0 within {LIMIT} steps; all arms have "
            "the same networks after 3,000 updates, and each the weight that was best for it on two other seeds",
            seeds=4,
            arms=(
                Arm("qgf", "method", Success("clean", 100.0)),
                Arm("bc", "ablation", Success("none")),
                Arm("best_of_16", "baseline", Success("none", samples=16)),
                Arm("noisy", "baseline", Success("noisy", 300.0)),
                Arm("bptt", "baseline", Success("bptt", 3_000.0)),
                Arm("ascent", "baseline", Success("ascent", ascent_size=100.0)),
                Arm("weighted", "baseline", Success("none", scale=100.0)),
                Arm("jacobian", "ablation", Success("jacobian", 1_000.0)),
                Arm("tenth", "control", Success("clean", 10.0)),
                Arm("third", "control", Success("clean", 30.0)),
                Arm("threefold", "control", Success("clean", 300.0)),
                Arm("tenfold", "control", Success("clean", 1_000.0)),
                Arm("thirtyfold", "control", Success("clean", 3_000.0)),
            ),
            rules=(
                "mean(qgf) >= mean(bc) + 0.2",
                "mean(qgf) >= mean(best_of_16) + 0.05",
                "low(qgf - noisy) > 0",
                "low(jacobian - qgf) <= 0",
                "mean(tenfold) < mean(qgf)",
            ),
        ),
    ),
)
