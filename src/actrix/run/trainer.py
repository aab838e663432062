"""The trainer: drives feed, learner, evaluation, checkpoints and logs. It is an iterator: own the loop if you like.

trainer = Trainer.start("sac", RunOptions(env="Pendulum-v1", steps=10_000))
for report in trainer:          # one report a round
    ...
"""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import actrix
from actrix import registry
from actrix.errors import ActrixError
from actrix.rng import seed_of, torch_stream
from actrix.run import regimes
from actrix.run.engine import Engine, EngineOptions
from actrix.run.folder import SCHEMA, RunFolder
from actrix.run.learner import Learner
from actrix.run.options import LEAST, LEAST_SETTING, RunOptions, check_device, check_numbers

__all__ = ["Report", "RunOptions", "Trainer", "describe", "undescribe"]


@dataclass(frozen=True)
class Report:
    """What a round of training yields: the budget spent so far, and what happened since the last report."""

    step: int
    updates: int
    episodes: list[tuple[int, float, int]]
    figures: dict[str, Tensor]  # of the last update and of the round, unread (reading waits for the device)
    evaluation: dict[str, Any] | None = None
    stage: str = ""  # what is going on before the budget begins


class Trainer:
    """One run. Build it with `start` or `resume`."""

    def __init__(
        self,
        system: str,
        config: Any,
        options: RunOptions,
        engine: EngineOptions,
        folder: RunFolder | None,
        learner: Learner,
        regime: regimes.Regime,
    ) -> None:
        self.system, self.config, self.options, self.folder = system, config, options, folder
        self.learner, self.regime = learner, regime
        self.engine = Engine(learner, engine)
        self.feed = regime.feed(learner, folder.path if folder else None)
        self._fresh = True
        self._logged = self._evaluated = self._saved = 0
        self._finite: Tensor | None = None
        self._clock = time.monotonic()
        self._timed = 0
        self._seconds = 0.0

    # -- birth --------------------------------------------------------------------------------------------------

    @staticmethod
    def start(
        system: str,
        options: RunOptions,
        config: Any = None,
        folder: Path | str | None = None,
        variant: type[Learner] | None = None,
    ) -> Trainer:
        """A new run. `config` is the system's Config (None: its defaults); `folder` None keeps nothing on disk.

        variant: a learner that takes the place of the system's own, for experiments; its run cannot be resumed, so it
        keeps nothing on disk.
        """
        entry = registry.load(system)
        if variant is not None:
            if folder is not None:
                raise ActrixError("a run of a variant is not kept", "leave out its folder, or register it as a system")
            entry = dataclasses.replace(entry, learner=variant)
        options = options.resolved()
        config = entry.config() if config is None else config
        check_numbers(config, LEAST_SETTING)
        options = regimes.settled(options, config)
        regime = regimes.make(entry, options, config)
        run = None
        try:
            learner = regime.learner(entry.learner, config, options.seed)
            engine = regime.engine(learner, options)
            if folder is not None:
                run = RunFolder(folder).create(describe(entry, options, config, engine, regime))
            trainer = Trainer(system, config, options, engine, run, learner, regime)
        except BaseException:
            regime.close()
            if run is not None:
                run.close()
            raise
        return trainer

    @staticmethod
    def resume(folder: Path | str, steps: int | None = None, online_steps: int | None = None) -> Trainer:
        """Continue the run in `folder` from its newest checkpoint; `steps` extends (or shortens) its budget, and
        `online_steps` is what a run that learned from data is to do in the environment from there on.

        A run that was killed before its first checkpoint starts from its beginning.
        """
        run = RunFolder(folder)
        run.config()  # is it a run at all?
        run.lock()
        regime: regimes.Regime | None = None
        try:
            data = run.config()
            entry, options, config, engine = undescribe(data)
            longer = steps is not None or online_steps is not None
            if longer:
                options = options.extended(steps, online_steps)
                check_numbers(options, LEAST)
                data["steps"] = options.steps
                data["run"] |= {"steps": options.steps, "online_steps": options.online_steps}
            check_numbers(options, LEAST)
            check_device(options.device)
            saved = run.restore(cut_logs=True) if run.checkpoints() else None
            if saved is None:
                run.cut({})
            regime = regimes.make(entry, options, config)
            regime.recognise(data["spec"])
            learner = regime.learner(entry.learner, config, options.seed)
            trainer = Trainer(entry.slug, config, options, engine, run, learner, regime)
            if saved is not None:
                step, tensors, counters = saved
                learner.restore(tensors)
                trainer.feed.load(counters["feed"])
                trainer._logged, trainer._evaluated = counters["logged"], counters["evaluated"]
                trainer._saved, trainer._fresh = step, False
                trainer._timed = step
            trainer._seconds = max((float(r.get("seconds", 0.0)) for r in run.records("timing.jsonl")), default=0.0)
            if longer:
                run.extend(data)
        except BaseException:
            if regime is not None:
                regime.close()
            run.close()
            raise
        return trainer

    # -- the loop -----------------------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        return self.feed.progress.steps

    @property
    def done(self) -> bool:
        return self.step >= self.options.total

    def __iter__(self) -> Iterator[Report]:
        """Train to the end of the budget. Evaluates, logs and saves on the way."""
        learner, progress = self.learner, self.feed.progress
        self.feed.reset()
        if self._fresh and self.folder is not None:
            self.save()
        self._fresh = False
        if self.step == 0 and progress.updates == 0:
            yield from self._prelude()
        while not self.done:
            figures: dict[str, Tensor] = {}
            try:
                for batch, phase in self.feed.round(learner):
                    figures = self._update(batch, learner.phase(progress.updates) if phase is None else phase)
            except Exception:
                self.check_finite(figures)  # what a diverged policy does to an environment is not its fault
                self.check_weights()
                raise
            figures = {**figures, **progress.figures}
            progress.figures.clear()
            yield self._after_round(figures)

    def _update(self, batch: Any, phase: Hashable) -> dict[str, Tensor]:
        progress = self.feed.progress
        with torch_stream(self.options.seed, "update", progress.updates):
            figures = self.engine.update(batch, phase)
        progress.updates += 1
        self._watch(figures)
        return figures

    def _prelude(self) -> Iterator[Report]:
        """What a feed wants learned before the budget begins (a warm start), and the score that it gives."""
        figures: dict[str, Tensor] = {}
        for batch, phase, stage in self.feed.prelude(self.learner):
            figures = self._update(batch, phase)
            yield Report(0, self.feed.progress.updates, [], figures, stage=stage)
        if figures:
            self.check_finite(figures)
            evaluation = self.evaluate()
            if self.folder is not None:
                record = {k: float(v) for k, v in figures.items()}
                self.folder.append(
                    "metrics.jsonl", {"step": 0, "kind": "train", **record}, {"step": 0, "kind": "eval", **evaluation}
                )
                self.save()
            self.feed.reset()
            yield Report(0, self.feed.progress.updates, [], figures, evaluation)

    def _watch(self, figures: dict[str, Tensor]) -> None:
        """Remember, without waiting for the device, whether every loss so far was finite."""
        for name in self.learner.optimiser.groups:
            if name in figures:
                finite = figures[name].isfinite()
                self._finite = finite if self._finite is None else self._finite & finite

    def check_finite(self, figures: dict[str, Tensor]) -> None:
        """Raise where any loss since the last check was not finite. Called before anything is logged or saved."""
        if self._finite is not None and not bool(self._finite):
            bad = [k for k, v in figures.items() if not bool(v.isfinite().all())] or ["a loss"]
            raise ActrixError(
                f"training diverged before step {self.step:,}: not finite: {', '.join(bad)}",
                "the run is intact up to its last checkpoint, but would repeat this: start a new one with a lower "
                "learning rate, or look at the scale of the rewards",
            )
        self._finite = None

    def check_weights(self) -> None:
        """Raise where a weight is not finite."""
        for name, weight in self.learner.named_parameters():
            if not bool(weight.isfinite().all()):
                raise ActrixError(
                    f"training diverged before step {self.step:,}: the weights {name} are not finite",
                    "the run is intact up to its last checkpoint; start a new one with a lower learning rate",
                )

    def _after_round(self, figures: dict[str, Tensor]) -> Report:
        options, progress = self.options, self.feed.progress
        step, episodes = progress.steps, list(progress.episodes)
        progress.episodes.clear()
        traces = list(progress.traces)
        progress.traces.clear()
        records: list[dict[str, Any]] = [
            {"step": s, "kind": "episode", "return": value, "length": length} for s, value, length in episodes
        ]
        due = step // options.log_every > self._logged // options.log_every or self.done
        if due:
            self._logged = step
        if figures and due:
            self.check_finite(figures)
            records.append({"step": step, "kind": "train", **{k: float(v) for k, v in figures.items()}})
        evaluation = None
        if self.regime.judged and (step // options.eval_every > self._evaluated // options.eval_every or self.done):
            self.check_finite(figures)
            evaluation = self.evaluate()
            records.append({"step": step, "kind": "eval", **evaluation})
            self._evaluated = step
        if self.folder is not None:
            if due and traces:
                self.folder.append("traces/train.jsonl", *traces)
            if records:
                self.folder.append("metrics.jsonl", *records)
            if due:
                self._time(step)
            if step // options.checkpoint_every > self._saved // options.checkpoint_every or self.done:
                self.check_finite(figures)
                self.save()
                if not self.done:
                    self.feed.reset()
        elif step // options.checkpoint_every > self._saved // options.checkpoint_every:
            self._saved = step  # a run without a folder has the same barriers, and so the same bits
            if not self.done:
                self.feed.reset()
        return Report(step, progress.updates, episodes, figures, evaluation)

    def _time(self, step: int) -> None:
        """Log the wall clock: seconds of the whole run so far, and the speed since the last line."""
        assert self.folder is not None
        now = time.monotonic()
        passed, made = now - self._clock, step - self._timed
        self._seconds += passed
        record = {"step": step, "seconds": self._seconds, "steps_per_second": made / max(passed, 1e-9)}
        self.folder.append("timing.jsonl", record)
        self._clock, self._timed = now, step

    def evaluate(self, episodes: int | None = None, seed: int | None = None) -> dict[str, Any]:
        """Scores of the present policy from fixed starts: scores, mean and its 95 % interval."""
        with torch_stream(self.options.seed, "evaluate", self.step):
            return self.regime.evaluate(
                self.learner,
                self.options.eval_episodes if episodes is None else episodes,
                seed_of(self.options.seed, "evaluation") if seed is None else seed,
            )

    def save(self) -> None:
        """Write a checkpoint now. The caller must then reset the feed: checkpoints are barriers."""
        assert self.folder is not None
        self.check_weights()
        counters = {"feed": self.feed.state(), "logged": self._logged, "evaluated": self._evaluated}
        self.folder.save(self.step, self.learner.state(), counters)
        self._saved = self.step

    def close(self) -> None:
        self.regime.close()
        if self.folder is not None:
            self.folder.close()


def describe(
    entry: registry.System, options: RunOptions, config: Any, engine: EngineOptions, regime: regimes.Regime
) -> dict[str, Any]:
    """config.json of a run."""
    import numpy

    envs = max(getattr(config, "envs", 1), options.workers)

    return {
        "schema": SCHEMA,
        "system": entry.slug,
        "family": entry.family,
        "env": options.env,
        "task": options.task,
        "level": options.level if options.task else None,
        "seed": options.seed,
        "steps": options.steps,
        "command": command(entry, options, config),
        "config": dataclasses.asdict(config),
        "run": {**dataclasses.asdict(options), **dataclasses.asdict(engine), "envs": envs},
        "spec": regime.describe(),
        "versions": {
            "actrix": actrix.__version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def command(entry: registry.System, options: RunOptions, config: Any) -> str:
    """The command line that makes this run again: whatever differs from the defaults."""
    words = ["actrix", "train", entry.slug]
    plain = RunOptions(env=options.env and "", task=options.task and "", steps=0, seed=-1).__dict__
    chosen = {k: v for k, v in options.__dict__.items() if v != plain[k]}
    chosen |= {f.name: v for f in dataclasses.fields(config) if (v := getattr(config, f.name)) != f.default}
    for name, value in chosen.items():
        flag = "--" + name.replace("_", "-")
        words += [flag, *map(str, value)] if isinstance(value, tuple) else [flag, str(value)]
    return " ".join(words)


def undescribe(data: dict[str, Any]) -> tuple[registry.System, RunOptions, Any, EngineOptions]:
    """The inverse of `describe`: system, options, config, engine."""
    entry = registry.load(data["system"])
    run = data["run"]
    known = {f.name for f in dataclasses.fields(RunOptions)}
    chosen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in run.items() if k in known}
    options = RunOptions(**chosen)
    options = dataclasses.replace(options, compile="yes" if run["compile"] else "no")
    engine = EngineOptions(**{f.name: run[f.name] for f in dataclasses.fields(EngineOptions)})
    known = {f.name for f in dataclasses.fields(entry.config)}
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in data["config"].items() if k in known}
    return entry, options, entry.config(**fields), engine
