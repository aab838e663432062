"""Quality-diversity: a population and an archive in place of one learner, and the feed that evaluates it.

A round of `PopulationFeed`:

    1. the learner picks parents, and its gradient offspring climb the critic for `climb_steps` updates
    2. every offspring plays one episode, each in its own row of the worlds; the archive takes what is fittest
    3. their steps go into the replay, and the critic learns from it for `critic_steps` updates

A learner without gradients does only the second. The budget counts the environment steps of all episodes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actrix.actors.base import Action
from actrix.actors.deterministic import Deterministic, smoothed
from actrix.actors.population import Climbers, Policies, ascent
from actrix.credit import bootstrap
from actrix.critics.values import QEnsemble
from actrix.data.archive import Archive
from actrix.data.batches import Transitions
from actrix.data.replay import Replay
from actrix.errors import ActrixError
from actrix.nets.encoder import Plain
from actrix.nets.targets import tracked
from actrix.objectives import regression
from actrix.optim import Adam
from actrix.rng import seed_of, torch_stream
from actrix.run.feeds import Setting, WorldFeed
from actrix.run.learner import Learner, Losses
from actrix.search.variation import iso_line
from actrix.spec import Spec


@dataclass(frozen=True)
class Brood:
    """P policies that are to be evaluated."""

    genotype: Tensor  # [P, n]
    wanted: Tensor | None = None  # [P, K] the descriptor that each was to have; NaN: whatever it comes to
    kept: Tensor | None = None  # [P] bool: False plays for experience alone, and is not offered to the archive


@dataclass(frozen=True)
class Played:
    """An episode in each of N worlds; the M steps of all of them, in order of time."""

    fitness: np.ndarray  # [N] undiscounted return
    length: np.ndarray  # [N] steps
    descriptor: np.ndarray  # [N, K]
    columns: dict[
        str, np.ndarray
    ]  # [M, ...] as the replay takes them, and `row` [M], the world; empty without a replay


COLUMNS = ("obs", "action", "reward", "next_obs", "terminated", "truncated", "row")


class PopulationFeed(WorldFeed):
    """See the head of this file.

    The config gives: offspring, rollouts (what plays besides, if anything), horizon; for learners with gradients
    batch, capacity, climb_steps and critic_steps. Environments end their episodes with `info["descriptor"]`.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        learner = setting.learner
        config = self.config = learner.config
        self.per_round = config.offspring + getattr(config, "rollouts", 0)
        self.replay = self._ring(setting) if learner.optimiser.groups else None

    def _ring(self, setting: Setting) -> Replay:
        config, total = self.config, setting.total_steps
        longest = self.per_round * config.horizon  # a round, which may overshoot a checkpoint or the budget
        capacity = max(min(config.capacity, total), config.batch)
        # two checkpoints are kept: neither may be overwritten by what follows it, as far as anything is
        slack = min(2 * (setting.checkpoint_every + longest), max(total + longest - capacity, 0))
        context = setting.learner.wants_context
        return Replay(
            self.worlds.spec, capacity, setting.folder, slack if setting.folder is not None else 0, context=context
        )

    @classmethod
    def plan(cls, config: Any, steps: int) -> tuple[float, int]:
        rounds = steps / (config.offspring + getattr(config, "rollouts", 0)) / config.horizon  # at least
        updates = getattr(config, "critic_steps", 0) + getattr(config, "climb_steps", 0)
        return rounds * updates, getattr(config, "batch", 1)

    def reset(self) -> None:
        """Nothing goes on from one round to the next."""

    def round(self, learner: Learner) -> Iterator[tuple[Any, Hashable]]:
        assert isinstance(learner, QualityDiversity)
        config, progress, begun = self.config, self.progress, self.progress.steps
        if self.replay is not None and self.replay.total:
            with torch_stream(self.seed, "parents", begun):
                learner.select()
            yield from self.batches(config.climb_steps)
        with torch_stream(self.seed, "offspring", begun):
            brood = (
                learner.breed() if len(learner.archive.filled) else Brood(learner.policies.initial(config.offspring))
            )
        fitness, descriptor = self.evaluate(learner, brood)
        kept = slice(None) if brood.kept is None else brood.kept
        taken = learner.archive.add(brood.genotype[kept], fitness[kept], descriptor[kept])
        progress.figures = {**learner.archive.figures(config.offset), "taken": taken.float().mean()}
        if self.replay is not None:
            yield from self.batches(config.critic_steps)

    def batches(self, count: int) -> Iterator[tuple[Transitions, None]]:
        assert self.replay is not None
        for _ in range(count):
            with torch_stream(self.seed, "replay", self.progress.updates):
                batch = self.replay.sample(self.config.batch)
            yield batch, None

    def evaluate(self, learner: QualityDiversity, brood: Brood) -> tuple[Tensor, Tensor]:
        """One episode of each policy, from a start of its own: returns [P], and descriptors [P, K] in [0, 1]."""
        total, n, begun = len(brood.genotype), self.worlds.n, self.progress.steps
        fitness, descriptor = np.zeros(total), np.zeros((total, self.worlds.spec.descriptor), np.float32)
        for first in range(0, total, n):
            # a world without a policy of its own in the last block repeats the first, uncounted
            block = np.array([first + i if first + i < total else first for i in range(n)])
            counted = np.arange(first, first + n) < total
            self.obs, _ = self.worlds.reset([seed_of(self.seed, "episode", begun, i) % 2**31 for i in block.tolist()])
            played = self.play(learner, brood.genotype[torch.from_numpy(block)], counted)
            at = block[counted]
            fitness[at], descriptor[at] = played.fitness[counted], played.descriptor[counted]
            self.log([(float(played.fitness[i]), int(played.length[i])) for i in np.flatnonzero(counted)])
            if self.replay is not None:
                columns = dict(played.columns)
                whose = block[columns.pop("row")]
                if learner.wants_context:
                    wanted = descriptor if brood.wanted is None else brood.wanted.numpy()
                    wanted = np.where(np.isnan(wanted), descriptor, wanted)
                    columns |= {"context": wanted[whose], "achieved": descriptor[whose]}
                self.replay.add(**columns)
        return torch.from_numpy(fitness).float(), torch.from_numpy(descriptor)

    @torch.no_grad()
    def play(self, learner: QualityDiversity, flat: Tensor, playing: np.ndarray) -> Played:
        """An episode in every world by its own policy [N, n], from `self.obs`. `playing` [N] bool: who counts."""
        n, playing = len(flat), playing.copy()
        steps: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
        made = 0
        fitness, length = np.zeros(n), np.zeros(n, np.int64)
        descriptor = np.zeros((n, self.worlds.spec.descriptor), np.float32)
        while playing.any():
            if made == self.config.horizon:
                raise ActrixError(
                    f"{self.worlds.name}: an episode did not end within {self.config.horizon:,} steps",
                    "give the environment a time limit, or raise --horizon",
                    misuse=True,
                )
            seen = learner.perceive(torch.from_numpy(self.obs))
            action = learner.policies(flat, seen[:, None])[:, 0].numpy()
            out = self.worlds.step(action)
            made += 1
            if self.replay is not None:
                found = (self.obs, action, out.reward, out.next_obs, out.terminated, out.truncated, np.arange(n))
                for name, values in zip(COLUMNS, found):
                    steps[name].append(values[playing])
            fitness += np.where(playing, out.reward, 0.0)
            length += playing
            self.progress.steps += int(playing.sum())
            ended = playing & (out.terminated | out.truncated)
            if ended.any():
                assert out.descriptor is not None
                descriptor[ended] = out.descriptor[ended]
                playing &= ~ended
            self.obs = out.obs
        columns = {name: np.concatenate(values) for name, values in steps.items() if values}
        return Played(fitness, length, descriptor, columns)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "replay": None if self.replay is None else self.replay.state()}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        if state["replay"] is not None:
            assert self.replay is not None
            self.replay.load(state["replay"])


class QualityDiversity(Learner):
    """Base of the systems that fill an archive: policies of one shape, the archive, and offspring by variation.

    Observations are plain numbers to all its networks (pixels are divided by 255, and not convolved).

    What acts where one policy is wanted (`eval`, `export`, `collect`, a report's pictures) is the fittest policy of
    the archive. It is deterministic in both modes.
    """

    feed = PopulationFeed

    def __init__(self, spec: Spec, config: Any) -> None:
        super().__init__(spec, config)
        if not spec.descriptor:
            raise ActrixError(
                "this environment does not describe its episodes, and an archive sorts policies by what they did",
                "give its class `descriptor_space` (a Box with finite bounds), and `info['descriptor']` where an "
                "episode ends; actrix.envs.plane has one that does",
                misuse=True,
            )
        self.plain = Plain(spec)
        self.policies = Policies(self.plain.spec, config.hidden)
        self.archive = Archive(config.cells, self.policies.size, spec.descriptor)
        self.optimise()  # nothing, unless a subclass says what

    def perceive(self, obs: Tensor) -> Tensor:
        return self.plain(obs)

    @torch.no_grad()
    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        return Action(self.policies(self.archive.champion, self.perceive(obs)[None])[0])

    def focus(self, descriptor: Sequence[float]) -> list[float]:
        """Let the elite nearest to `descriptor` (parts of its range, in [0, 1]) act from now on; returns its own."""
        archive, filled = self.archive, self.archive.filled
        if len(descriptor) != self.spec.descriptor:
            raise ActrixError(f"--descriptor has {len(descriptor)} numbers, not {self.spec.descriptor}", misuse=True)
        if not len(filled):
            raise ActrixError("the archive is empty", "train for at least a round first")
        away = archive.descriptor[filled] - torch.tensor(descriptor)
        nearest = filled[away.square().sum(1).argmin()]
        archive.champion.copy_(archive.genotype[nearest][None])
        return [float(value) for value in archive.descriptor[nearest]]

    def explore(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Any]:
        return self.act(obs), memory

    exploit = explore

    def select(self) -> None:
        """Choose the parents of this round's gradient offspring, where there are any."""

    def breed(self) -> Brood:
        """This round's offspring, from an archive that holds something. Draws from torch's current stream."""
        raise NotImplementedError

    def phase(self, updates: int) -> str:
        """As the feed orders them: `critic_steps` updates of the critic ("critic", at every `delay`-th one "both": of
        the actor too), then `climb_steps` ("climb") of the next round's gradient offspring."""
        config = self.config
        step = updates % (config.critic_steps + config.climb_steps)
        if step >= config.critic_steps:
            return "climb"
        return "both" if (step + 1) % config.delay == 0 else "critic"

    def crossed(self, count: int) -> Tensor:
        """`count` offspring of two random parents each [count, n], by the variation called iso+line."""
        parents = self.archive.genotype[self.archive.sample(2 * count)]
        return iso_line(parents[:count], parents[count:], self.config.iso, self.config.line)


class ClimbingLearner(QualityDiversity):
    """Base of the systems that have offspring climb the critic of a TD3 agent. Equations: see `pga_map_elites`.

    A subclass says how offspring are bred, and may give actor and critics more than observations to go by (`given`,
    `context` numbers wide), and change the reward. The config gives the fields of `Climbing`, and climbers.
    """

    actor: Deterministic

    def __init__(self, spec: Spec, config: Any, context: int = 0) -> None:
        super().__init__(spec, config)
        self.wants_context = context
        seen = self.plain.spec.with_context(context) if context else self.plain.spec
        self.actor = Deterministic(seen, config.hidden)
        self.critic = QEnsemble(seen, config.critic_hidden, members=2)
        self.target_actor = tracked(self.actor, config.target_rate)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.climbers = Climbers(self.policies, config.climbers, spec.descriptor)
        adam = Adam(config.rate)
        self.optimise(
            critic=(self.critic, adam), actor=(self.actor, adam), climbers=(self.climbers, Adam(config.climb_rate))
        )

    def select(self) -> None:
        self.climbers.start(self.archive)
        self.optimiser.reset("climbers")

    def given(self, wanted: Tensor | None) -> Tensor | None:
        """What actor and critics go by besides observations, where the descriptors [B, K] are wanted; here nothing."""
        return None

    def reward(self, batch: Transitions) -> Tensor:
        """What the critic learns from: [B]."""
        return batch.reward

    def rows(self, obs: Tensor, wanted: Tensor | None) -> Tensor:
        given = self.given(wanted)
        return self.perceive(obs) if given is None else torch.cat((self.perceive(obs), given), -1)

    def losses(self, batch: Transitions, phase: Hashable = "both") -> Losses:
        if phase == "climb":
            obs, context = self.perceive(batch.obs), self.given(self.climbers.descriptor)
            return Losses(climbers=ascent(self.policies, self.climbers.flat, self.critic, obs, context))
        rows = self.rows(batch.obs, batch.context)
        taken = self.critic(rows, batch.action).members
        losses = Losses(critic=regression(taken, self.target(batch)))
        if phase == "both":
            losses.groups["actor"] = -self.critic.frozen(rows, self.actor(rows), which=slice(1)).members[0].mean()
        return losses.note(value=taken.mean())

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        config, rows = self.config, self.rows(batch.next_obs, batch.context)
        action = smoothed(self.target_actor(rows), config.smoothing, config.smoothing_clip)
        value = self.target_critic(rows, action).reduce("min")
        return bootstrap(self.reward(batch), batch.terminated, value, config.discount)

    def after_step(self, phase: Hashable = "both") -> None:
        if phase != "climb":
            self.target_critic.follow()
        if phase == "both":
            self.target_actor.follow()
