"""The two regimes of learning, behind one face: control in environments, and language on tasks.

A regime knows how to build the learner's spec, its feed and its evaluation; the trainer knows none of that.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from actrix import registry
from actrix.envs.worlds import Worlds, batched, make_worlds
from actrix.errors import ActrixError
from actrix.rng import torch_stream
from actrix.run.engine import EngineOptions, choose
from actrix.run.feeds import Feed, Setting
from actrix.run.learner import Learner
from actrix.run.policy import LanguagePolicy, Policy

if TYPE_CHECKING:
    from actrix.run.trainer import RunOptions


class Regime(Protocol):
    """What the trainer asks of a regime."""

    unit: str  # what the budget counts
    say: Callable[[str], None]  # tell the person something while the run goes on

    def learner(self, cls: type[Learner], config: Any, seed: int) -> Learner: ...

    def engine(self, learner: Learner, options: RunOptions) -> EngineOptions: ...

    def feed(self, learner: Learner, folder: Path | None) -> Feed: ...

    def evaluate(self, learner: Learner, episodes: int, seed: int) -> dict[str, Any]: ...

    def describe(self) -> dict[str, Any]: ...

    def policy(self, learner: Learner) -> Policy | LanguagePolicy: ...

    def close(self) -> None: ...


def make(entry: registry.System, options: RunOptions, config: Any) -> Regime:
    """The regime that the options ask for; ActrixError where the system cannot live in it."""
    speaks = "tokens" in entry.acts
    if options.task is not None:
        if not speaks:
            raise ActrixError(
                f"{entry.slug} acts in environments, not on language tasks",
                "use --env ID, or a system of the language families",
                misuse=True,
            )
        module = importlib.import_module("actrix.run.language")
        return module.LanguageRegime(options, config)
    if speaks:
        raise ActrixError(
            f"{entry.slug} is a language system", "use --task NAME, for example --task countdown", misuse=True
        )
    return ControlRegime(entry, options, config)


def stepping(options: RunOptions, envs: int) -> str:
    """How environments are stepped: local, batched or envpool; written to config.json, so that a resumed run does
    the same."""
    if options.vector == "local" or options.env is None or options.workers:
        return "local"
    if options.vector == "batched" or (options.vector == "auto" and batched(options.env) is not None):
        return "batched"
    if options.vector == "auto" and envs < 4:
        return "local"
    from actrix.envs.pool import available

    if available(options.env):
        return "envpool"
    if options.vector == "envpool":
        raise ActrixError(
            f"EnvPool is not installed, or does not have {options.env}",
            "pip install 'actrix[envpool]', or leave out --vector envpool",
            misuse=True,
        )
    return "local"


class ControlRegime:
    """Environments, in process or in workers."""

    unit = "steps"

    def __init__(self, entry: registry.System, options: RunOptions, config: Any) -> None:
        assert options.env is not None
        self.options = options
        self.say: Callable[[str], None] = lambda text: None
        self._judges: Worlds | None = None
        self.worlds: Worlds = make_worlds(
            options.env, getattr(config, "envs", 1), options.workers, options.env_timeout, options.vector
        )
        kind = self.worlds.spec.action_kind
        if kind not in entry.acts:
            self.worlds.close()
            able = ", ".join(slug for slug, other in registry.catalogue().items() if kind in other.acts)
            raise ActrixError(
                f"{entry.slug} cannot act in {options.env}: its actions are {kind}, "
                f"and {entry.slug} acts in {', '.join(entry.acts)}",
                f"systems that can: {able or 'none yet'}",
                misuse=True,
            )

    def learner(self, cls: type[Learner], config: Any, seed: int) -> Learner:
        with torch_stream(seed, "initialise"):
            return cls(self.worlds.spec, config).to(self.options.device)

    def engine(self, learner: Learner, options: RunOptions) -> EngineOptions:
        o = options
        updates, rows = learner.feed.plan(learner.config, o.steps)
        return choose(o.compile, o.precision, o.threads, o.device, updates, learner, rows)

    def feed(self, learner: Learner, folder: Path | None) -> Feed:
        o = self.options
        setting = Setting(
            learner, self.worlds, o.seed, None if folder is None else folder / "replay", o.steps, o.checkpoint_every
        )
        return learner.feed(setting)  # type: ignore[call-arg]

    def evaluate(self, learner: Learner, episodes: int, seed: int) -> dict[str, Any]:
        from actrix.evaluate.episodes import score

        if self._judges is None:
            assert self.options.env is not None
            at_once = batched(self.options.env) is not None
            most, vector = (1_000, "batched") if at_once else (10, "local")
            self._judges = make_worlds(
                self.options.env, max(1, min(episodes, most)), timeout=self.options.env_timeout, vector=vector
            )

        def act(obs: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
            legal = None if mask is None else torch.from_numpy(mask)
            return learner.act(torch.from_numpy(obs), "mean", legal).action.cpu().numpy()

        scores = score(act, self._judges, episodes, seed)
        middle = scores.interval()
        return {
            "scores": scores.returns.tolist(),
            "lengths": scores.lengths.tolist(),
            "mean": scores.mean,
            "low": middle.low,
            "high": middle.high,
        }

    def describe(self) -> dict[str, Any]:
        return self.worlds.spec.to_json()

    def policy(self, learner: Learner) -> Policy:
        return Policy(learner, self.worlds.observation_space, self.worlds.action_space)

    def close(self) -> None:
        self.worlds.close()
        if self._judges is not None:
            self._judges.close()
