"""The claim of SoftGAC: a policy that generates its actions, with several modes, at the cost of one pass."""

from __future__ import annotations

import time
from dataclasses import dataclass

from actrix.claims.claim import Arm, Check, Claim, Training, trained

GAUSSIAN = "bridges:GaussianSAC"
PEAKS = {
    "env": "actrix.claims.worlds:SixPeaks-v0", "steps": 1_200, "envs": 4, "warmup": 200, "updates_per_step": 1.0,
    "delay": 1, "hidden": (64, 64), "actor_width": 64, "batch": 128, "rate": 3e-3, "bound": 2.0, "atoms": 51,
    "temperature": 0.1, "learn_temperature": False, "eval_episodes": 1,
}  # fmt: skip
GREEDY = {"temperature": 1e-6}
PENDULUM = {
    "env": "Pendulum-v1", "steps": 3_500, "warmup": 500, "updates_per_step": 1.0, "delay": 1, "hidden": (64, 64),
    "actor_width": 64, "batch": 64, "bound": 800.0, "discount": 0.98, "eval_episodes": 10,
}  # fmt: skip
BRIDGE, GAUSS = {"rate": 3e-3, "cost_share": 0.6}, {"rate": 1e-3}  # the best of those tried


def covered(run: Training) -> float:
    """How many peaks have at least half of a sixth of 4,000 actions within 0.3."""
    import numpy as np
    import torch

    from actrix.claims.worlds import SixPeaks

    with torch.no_grad():
        seen = torch.from_numpy(SixPeaks.seen).expand(4_000, -1)
        action = run.trainer.learner.act(seen).action.numpy()
    far = np.linalg.norm(action[:, None] - SixPeaks.places, axis=-1)
    nearest = far.argmin(1)[far.min(1) < 0.3]
    return float((np.bincount(nearest, minlength=6) / 4_000 >= 1 / 12).sum())


@dataclass(frozen=True)
class Climbing:
    """Milliseconds of the processor for one gradient of an actor that climbs a critic, of 256 states, the median of 60:
    of a bridge of 4 steps, or of a flow of 10 through all of them. Both have hidden layers of 64."""

    flow: bool

    def __call__(self, seed: int) -> float:
        import numpy as np
        import torch

        from actrix.actors.bridge import Bridge
        from actrix.actors.generative import Generative
        from actrix.critics.values import QEnsemble
        from actrix.nets.processes import Flow
        from actrix.rng import torch_stream
        from actrix.spec import vector_spec

        spec = vector_spec(17, 6)
        with torch_stream(seed, "initialise"):
            actor = Generative(spec, (64, 64), Flow(), 10) if self.flow else Bridge(spec, 64, 4)
            critic, obs = QEnsemble(spec, (64, 64)), torch.randn(256, 17)
            taken = []
            for _ in range(70):
                began = time.process_time()
                if isinstance(actor, Bridge):
                    action, cost = actor.sample(obs)
                else:
                    action, cost = actor.sample(obs), torch.zeros(256)
                loss = (0.1 * cost - critic.frozen(obs, action).reduce("min")).mean()
                torch.autograd.grad(loss, list(actor.parameters()))
                taken.append(time.process_time() - began)
        return float(1_000 * np.median(taken[10:]))


claim = Claim(
    system="softgac",
    statement="A stochastic bridge regularised by the cost of its paths is as good as or better than SAC and other "
    "generative policies with the same critics, at the latency of one pass; without the cost it is worse.",
    source="2605.08733, abstract and experiments",
    minutes=5,
    note="Only the latency holds. On the bandit every seed ends in one peak, with the cost of paths or without it; the "
    "Gaussian, spread over the square, has half of a share at 3 or 4. A bridge of 6 steps that climbs the true "
    "reward (no critic, one seed) does the same: at temperatures of 0.02 to 0.1 it stays nearly uniform or falls "
    "into one or two neighbouring peaks, also where the temperature comes down from 1 by its budget, with 16 "
    "steps, or with layers of 256. The likely reason: a drift to one side is learned at once and pays at once, "
    "one to six sides is not. With two bumps of unlike height and a milder temperature the ends have the right "
    "shares (in the tests), and the cost agrees with closed forms. On Pendulum the bridge is far behind the "
    "Gaussian with the same critics; whether it gets there later was not tried. Rates of 1e-3 and 3e-3 and shares "
    "of 0.2, 0.6 and 1.2 of the budget were tried, all on seed 1,000 for 1,500 to 3,000 steps; the Gaussian had "
    "1e-3 alone. One path per state and updates with every step may be too few: the authors recommend up to 32 "
    "paths where seeds die, and make twice as many updates. Steps and seeds were set by the time there was. None "
    "of the paper's tasks, of 20 dimensions and more, is here, and no other generative policy but the flow of the "
    "last check.",
    checks=(
        Check(
            "peaks",
            question="Does it cover five of six equal peaks of a bandit, where a Gaussian covers two at most?",
            metric="peaks with at least half of their share of 4,000 actions after 1,200 steps, at temperature 0.1",
            seeds=3,
            arms=(
                Arm("softgac", "method", trained("softgac", PEAKS, measure=covered)),
                Arm("gaussian", "baseline", trained("softgac", PEAKS, measure=covered, variant=GAUSSIAN)),
                Arm("free", "ablation", trained("softgac", PEAKS, GREEDY, measure=covered)),
            ),
            rules=("min(softgac) >= 5", "max(gaussian) <= 2", "mean(free) < mean(softgac)"),
        ),
        Check(
            "pendulum",
            question="Is it as good as SAC with the same critics, to 5 % of what lies between random and good?",
            metric="mean return of 10 final episodes of Pendulum after 3,500 steps (random -1,200, good -150)",
            seeds=3,
            arms=(
                Arm("softgac", "method", trained("softgac", PENDULUM, BRIDGE)),
                Arm("gaussian", "baseline", trained("softgac", PENDULUM, GAUSS, variant=GAUSSIAN)),
            ),
            rules=("mean(softgac - gaussian) >= -50",),
        ),
        Check(
            "latency",
            question="Does a gradient of the actor take at most 0.6 of that through a flow of 10 steps?",
            metric="milliseconds of the processor for one gradient of 256 states, the median of 60",
            seeds=3,
            arms=(Arm("bridge", "method", Climbing(False)), Arm("flow", "baseline", Climbing(True))),
            rules=("mean(bridge) <= 0.6 * mean(flow)",),
        ),
    ),
)
