"""The Python face of the command line: the same objects, no second API."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actrix import registry
from actrix.data.formats import Episode
from actrix.errors import ActrixError, unknown
from actrix.run.folder import RunFolder, disk_errors
from actrix.run.loaded import load_learner
from actrix.run.options import RunOptions
from actrix.run.policy import LanguagePolicy, Policy
from actrix.run.progress import Bar
from actrix.run.trainer import Trainer


@dataclass(frozen=True)
class Result:
    """A finished run."""

    folder: Path
    step: int
    evaluation: dict[str, Any]  # scores, mean, low, high of the final policy; empty where there is no environment
    seconds: float


def train(
    system: str,
    env: str | None = None,
    *,
    task: str | None = None,
    data: Path | str | Sequence[Path | str] = (),
    folder: Path | str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Result:
    """Train a system and return its result. `data` is recorded experience (see `RunOptions.data`).

    `settings` are fields of `RunOptions` (steps, seed, workers, device, ...) or of the system's own Config
    (rate, discount, ...); an unknown one raises ActrixError with the nearest names.
    """
    entry = registry.load(system)
    of_run = {f.name for f in dataclasses.fields(RunOptions)}
    of_config = {f.name for f in dataclasses.fields(entry.config)}
    for name in settings:
        if name not in of_run | of_config:
            raise unknown("setting", name, of_run | of_config)
    paths = (data,) if isinstance(data, str | Path) else data
    options = RunOptions(
        env=env, task=task, data=tuple(map(str, paths)), **{k: v for k, v in settings.items() if k in of_run}
    )
    config = entry.config(**{k: v for k, v in settings.items() if k in of_config})
    return finish(begin(system, options, config, folder), quiet)


def begin(system: str, options: RunOptions, config: Any = None, folder: Path | str | None = None) -> Trainer:
    """The trainer of a new run in `folder`; None makes a new one under runs/."""
    if folder is not None:
        return Trainer.start(system, options, config, folder)
    where = new_folder(system, subject(options), options.seed)
    try:
        return Trainer.start(system, options, config, where)
    except BaseException:
        with contextlib.suppress(OSError):  # if nothing has been written
            where.rmdir()
            where.parent.rmdir()
        raise


def subject(options: RunOptions) -> str:
    """What a run is about, in a word: its environment, its task, or the name of its data."""
    return options.env or options.task or "-".join(Path(path).absolute().name for path in options.data[:1])


def resume(
    folder: Path | str, steps: int | None = None, quiet: bool = False, online_steps: int | None = None
) -> Result:
    """Continue a run from its newest checkpoint to its budget (or to `steps`; or, where it learned from data,
    for `online_steps` in the environment)."""
    return finish(Trainer.resume(folder, steps, online_steps), quiet)


def finish(trainer: Trainer, quiet: bool = False) -> Result:
    """Drive a trainer to its end under a progress bar."""
    import time

    began = time.monotonic()
    options = trainer.options
    evaluation: dict[str, Any] = {}
    label = f"{trainer.system} on {subject(options)}"
    try:
        with Bar(options.total, trainer.step, trainer.regime.unit, quiet, label) as bar:
            if trainer.folder is not None:
                bar.say(f"run {trainer.folder.path}")
            bar.say(trainer.engine.explanation)
            if trainer.regime.remark:
                bar.say(trainer.regime.remark)
            trainer.regime.say = bar.say
            for report in trainer:
                notes = {"stage": report.stage}
                if report.episodes:
                    notes["return"] = f"{report.episodes[-1][1]:,.1f}"
                if report.evaluation is not None:
                    evaluation = report.evaluation
                    notes["score"] = f"{evaluation['mean']:,.2f}"
                bar.update(report.step, **notes)
        if not evaluation and trainer.regime.judged:  # the budget was already spent
            evaluation = trainer.evaluate()
    finally:
        trainer.close()
    assert trainer.folder is not None
    return Result(trainer.folder.path, trainer.step, evaluation, time.monotonic() - began)


def new_folder(system: str, name: str, seed: int) -> Path:
    """Make runs/<system>-<task>-s<seed>[-n], the first that nobody else has."""
    base = "-".join((system, "".join(c if c.isalnum() or c in "-." else "_" for c in name), f"s{seed}"))
    for n in itertools.count(1):
        path = Path("runs") / (base if n == 1 else f"{base}-{n}")
        with disk_errors(str(path)), contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError


def load(folder: Path | str) -> Policy | LanguagePolicy:
    """The trained policy of a run: `policy.act(obs) -> action`, or `policy.act(prompt) -> text` for language."""
    learner, regime, _ = load_learner(folder)
    policy = regime.policy(learner)
    regime.close()
    return policy


def evaluate(folder: Path | str, episodes: int = 20, seed: int = 0, descriptor: Sequence[float] = ()) -> dict[str, Any]:
    """Scores of a run's policy from fixed starts: scores, mean and its 95 % interval.

    descriptor: where the run filled an archive, the elite nearest to it acts, and not the fittest.
    """
    from actrix.rng import seed_of, torch_stream

    learner, regime, data = load_learner(folder)
    found: dict[str, Any] = {}
    try:
        if descriptor:
            focus = getattr(learner, "focus", None)
            if focus is None:
                raise ActrixError(f"{data['system']} has no archive", "leave out --descriptor", misuse=True)
            found["descriptor"] = focus(descriptor)
        with torch_stream(seed, "evaluate"):
            scores = regime.evaluate(learner, episodes, seed_of(seed, "evaluation"))
    finally:
        regime.close()
    about = {"system": data["system"], "env": data["env"], "task": data["task"], "episodes": episodes}
    return {**about, **found, **scores}


def collect(
    folder: Path | str,
    out: Path | str,
    episodes: int = 100,
    seed: int = 0,
    mode: str = "sample",
    format: str = "minari",
    quiet: bool = True,
) -> dict[str, Any]:
    """Record episodes of a run's policy as a data set (see `run.collect`); returns what was recorded.

    mode: "sample" acts as the policy explores, "mean" as it is evaluated.
    """
    from actrix.run.collect import collect as recorded

    if mode not in ("sample", "mean"):
        raise ActrixError(f"--mode is sample or mean, not {mode!r}", misuse=True)
    run = RunFolder(folder).config()
    if run["env"] is None:
        raise ActrixError(
            f"{folder} has no environment to collect from",
            "only a run that was trained with --env ID can be collected from",
            misuse=True,
        )
    policy = load(folder)
    assert isinstance(policy, Policy)
    returns: list[float] = []
    steps = 0
    with Bar(episodes, 0, "episodes", quiet, f"collecting {run['env']}") as bar:

        def note(episode: Episode) -> None:
            nonlocal steps
            steps += len(episode.reward)
            returns.append(sum(episode.reward))
            bar.update(len(returns), **{"return": f"{returns[-1]:,.1f}"})

        about = {"system": run["system"], "mode": mode}

        made = recorded(lambda: policy.player(mode), run["env"], episodes, Path(out), about, seed, format, note)
    return {"data": str(made), "episodes": len(returns), "rows": steps, "mean": sum(returns) / len(returns)}


def draw_rollout(folder: Path | str, frames: int = 8) -> None:
    """Play one episode of a run's policy and keep its pictures in FOLDER/rollout, for the report.

    A language run has none: its traces are shown instead.
    """

    from actrix.evaluate import pictures

    data = RunFolder(folder).config()
    if data["env"] is None:
        return
    policy = load(folder)
    env = pictures.open_env(data["env"])
    try:
        found = pictures.frames(env, policy.act, seed=1, n_frames=frames)
    finally:
        env.close()
    pictures.save(found, Path(folder))
