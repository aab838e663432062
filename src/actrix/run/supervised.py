"""Acting under supervision: somebody watches the policy, and takes over for some steps where they would rather not see
what it is about to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from actrix.data.batches import Transitions
from actrix.data.mixture import Mixture
from actrix.envs.worlds import Outcome, Worlds
from actrix.errors import ActrixError
from actrix.run.feeds import Setting
from actrix.run.learner import Learner
from actrix.run.offline import Continued, DatasetFeed
from actrix.spec import Box

Supervise = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""What is seen [N, D] and what is about to be done [N, A] -> whether that is objected to [N] bool, and what the
supervisor would do instead [N, A]; canonical."""


class SupervisedFeed(DatasetFeed):
    """From data; then in an environment, under supervision, whose only reward is when the supervisor takes over.

    At each step of which the policy is in charge the supervisor sees what it is about to do. Where they object they
    take over with chance `attention`, elsewhere with chance `slip` (two equal numbers are a supervisor who does not
    look), for `hold` steps, after which the policy has at least one. The step before a takeover, if its episode had
    one, has the reward -1, and all others 0; with `blamed`, also the supervisor's steps but the last, as in the
    authors' script. What is stored is what was done, whoever did it. The reward of a step is known when the next
    begins: an update in between has drawn it, if it did, as 0.

    The replay counts as if it began with the data. The config gives, besides what `ReplayFeed` reads: supervisor,
    margin, attention, slip, hold, blamed. Rewards of the data are the learner's concern (`data.mixture.Unpaid`).
    """

    def continued(self, setting: Setting, share: float) -> Continued:
        return Supervised(setting, self.data, share)


class Supervised(Continued):
    """The part in the environment."""

    def __init__(self, setting: Setting, data: Mixture, share: float) -> None:
        super().__init__(setting, data, share)
        self.recorded = sum(map(len, setting.data))
        self.supervise = supervisor_of(self.worlds, self.config.supervisor, self.config.margin)
        n = self.worlds.n
        self.left = np.zeros(n, np.int64)  # steps for which the supervisor stays
        self.led = np.zeros(n, bool)  # whether they made the last step of the episode
        self.last = np.full(n, -1)  # row of that step; -1: there is none

    def reset(self) -> None:
        super().reset()
        self._begin(np.ones(self.worlds.n, bool))

    def _begin(self, which: np.ndarray) -> None:
        """An episode begins in these environments [N] bool."""
        self.left[which], self.led[which], self.last[which] = 0, False, -1

    def chosen(self, action: Tensor) -> Tensor:
        config = self.config
        objects, better = self.supervise(torch.from_numpy(self.obs), action)
        chance = torch.where(objects, config.attention, config.slip)
        drawn = (torch.rand(self.worlds.n) < chance).numpy()
        begins = drawn & (self.left == 0) & ~self.led
        self.left[begins] = config.hold
        leads = self.left > 0
        blamed = (leads if config.blamed else begins) & (self.last >= 0)
        if blamed.any():
            self.replay.amend("reward", self.last[blamed], np.full(blamed.sum(), -1.0, np.float32))
        self.left -= leads
        self.led = leads
        self.progress.figures |= {
            "takeovers": torch.tensor(begins.mean(), dtype=torch.float32),
            "supervised": torch.tensor(leads.mean(), dtype=torch.float32),
        }
        return torch.where(torch.from_numpy(leads)[:, None], better.to(action.dtype), action)

    def stored(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**columns, "reward": np.zeros_like(columns["reward"])}

    def advance(self, learner: Learner, out: Outcome) -> None:
        self.last[out.valid] = np.arange(self.replay.total - out.valid.sum(), self.replay.total)
        self._begin(out.terminated | out.truncated | ~out.valid)
        super().advance(learner, out)

    def sample(self, n: int) -> Transitions:
        share = self.share * len(self.replay) / (len(self.replay) + self.recorded)
        return Mixture((self.data, self.replay), (1 - share, share)).sample(n)


def supervisor_of(worlds: Worlds, folder: str, margin: float) -> Supervise:
    """That of the environment, where no run's folder is given; ActrixError where there is neither."""
    if folder:
        return Judge(folder, worlds, margin)
    if worlds.supervise is None:
        raise ActrixError(
            f"{worlds.name} has nobody who supervises",
            "name a run whose policy takes over and whose critic judges, --supervisor RUN, or use an environment with "
            "a method `supervise`",
            misuse=True,
        )
    return worlds.supervise


class Judge:
    """The learner of a finished run as a supervisor: it would act as its policy does, and objects to an action whose
    value by its critic, the mean over members, is more than `margin` below that of its own."""

    def __init__(self, folder: str, worlds: Worlds, margin: float) -> None:
        from actrix.run.loaded import load_learner  # which knows all feeds, this one too

        self.learner, regime, data = load_learner(folder)
        regime.close()
        self.margin = margin
        critic = getattr(self.learner, "critic", None)
        spec = self.learner.spec
        if critic is None or not hasattr(critic, "frozen") or not isinstance(spec.action, Box):
            raise ActrixError(
                f"--supervisor {folder}: {data['system']} has no critic of actions",
                "use a run of sac or td3",
                misuse=True,
            )
        if spec.to_json() != worlds.spec.to_json():
            raise ActrixError(
                f"--supervisor {folder} was trained in {data['env']}, which does not have the spaces of {worlds.name}",
                misuse=True,
            )
        self.critic: Callable[[Tensor, Tensor], Tensor] = lambda obs, action: critic(obs, action).reduce("mean")

    @torch.no_grad()
    def __call__(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        better = self.learner.act(obs, "mean").action
        seen = self.learner.perceive(obs)
        return self.critic(seen, action) < self.critic(seen, better) - self.margin, better
