"""The machinery of claims: what a claim is, how its arms are run, and what is written down.

A claim file holds one `Claim`. Each `Check` of it is one small experiment: arms, what is measured on each seed, and
the rules that must hold, all fixed before the run. An `Arm` is a name, a role and a function `seed -> figure`; most
are `trained(system, ...)`. `run_claim` runs every arm on every seed and records what came out, whatever it is.

    PENDULUM = {"env": "Pendulum-v1", "steps": 8_000, "hidden": (128, 128)}

    claim = Claim(
        system="sac",
        statement="matches or exceeds DDPG, with a small spread over seeds",
        source="1812.05905, section 7",
        minutes=8,
        checks=(
            Check(
                "pendulum",
                question="Does every seed learn to swing the pendulum up, and the worst do better than DDPG's worst?",
                metric="mean return of 10 final episodes",
                seeds=5,
                arms=(
                    Arm("sac", "method", trained("sac", PENDULUM)),
                    Arm("ddpg", "baseline", trained("ddpg", PENDULUM)),
                ),
                rules=("min(sac) >= -220", "min(sac) >= min(ddpg)"),
            ),
        ),
    )
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from actrix import registry
from actrix.claims import rules as rulebook
from actrix.claims.record import FOLDER, configuration, is_stale, names, result_of
from actrix.errors import ActrixError, unknown

if TYPE_CHECKING:
    from actrix.run.learner import Learner
    from actrix.run.trainer import Trainer

Role = Literal["method", "baseline", "ablation", "control"]
Figure = Callable[[int], float]


@dataclass(frozen=True)
class Arm:
    """One side of a comparison. `figure(seed)` runs it and returns its one figure; it must be importable by name.

    Roles: the method; a baseline (another method at its good settings); an ablation (the method with its mechanism
    switched off); a control (shuffled labels, an oracle ceiling).
    """

    name: str
    role: Role
    figure: Figure

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name in rulebook.FUNCTIONS:
            raise ValueError(f"arm {self.name!r} needs a name that rules can use")


@dataclass(frozen=True)
class Check:
    """One experiment of a claim. All `rules` must hold (see `rules.py` for what they can say)."""

    name: str
    question: str
    metric: str  # what one figure is, with its unit
    seeds: int
    arms: tuple[Arm, ...]
    rules: tuple[str, ...]

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"check {self.name!r} has two arms of one name")
        if not any(arm.role == "method" for arm in self.arms) or not self.rules:
            raise ValueError(f"check {self.name!r} needs an arm that is the method, and a rule")
        for rule in self.rules:
            rulebook.parse(rule, names)


@dataclass(frozen=True)
class Claim:
    """A system's published claim, small. `note` is for what the figures cannot say: why it failed, what was tried."""

    system: str
    statement: str  # what was published
    source: str
    checks: tuple[Check, ...]
    minutes: float  # about how long all of it takes on two cores
    note: str = ""

    def __post_init__(self) -> None:
        names = [check.name for check in self.checks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"the claim of {self.system} needs checks, each of its own name")
        if not any(arm.role in ("baseline", "ablation") for check in self.checks for arm in check.arms):
            raise ValueError(f"the claim of {self.system} compares with nothing: add a baseline or an ablation")


# --- arms that train ------------------------------------------------------------------------------------------


@dataclass
class Training:
    """A finished run as a measure sees it."""

    trainer: Trainer
    evaluation: dict[str, Any]  # the final one: scores, mean, low, high
    scores: dict[int, float] = field(default_factory=dict)  # mean of every evaluation, by step
    steps: list[int] = field(default_factory=list)  # of every round in which something was learned
    figures: list[dict[str, float]] = field(default_factory=list)  # of the last update of that round
    episodes: list[tuple[int, float, int]] = field(default_factory=list)  # (step at its end, return, length), training


Measure = Callable[[Training], float]


@dataclass(frozen=True)
class Trained:
    """An arm that trains `system` from scratch and measures the result. Equal ones are run once per seed.

    `variant` is a learner in place of the system's own, "module:class" of `claims/variants`: an ablation or a baseline
    that differs in a few lines, and is wanted nowhere else.
    """

    system: str
    settings: tuple[tuple[str, Any], ...]
    measure: Measure | None = None
    variant: str = ""

    @property
    def steps(self) -> int:
        return int(dict(self.settings)["steps"])

    def __call__(self, seed: int) -> float:
        from actrix.run.language import SHARED
        from actrix.run.trainer import RunOptions, Trainer

        entry = registry.load(self.system)
        of_run = {f.name for f in dataclasses.fields(RunOptions)}
        of_config = {f.name for f in dataclasses.fields(entry.config)}
        for name, _ in self.settings:
            if name not in of_run | of_config:
                raise unknown("setting", name, of_run | of_config)
        # one evaluation, at the end; no checkpoints, and so none of their barriers; the same kernels on every machine
        plain = {"eval_every": self.steps, "checkpoint_every": self.steps, "threads": 1, "compile": "no"}
        chosen = {**plain, **dict(self.settings), "seed": seed}
        options = RunOptions(**{k: v for k, v in chosen.items() if k in of_run})
        config = entry.config(**{k: v for k, v in self.settings if k in of_config})
        trainer = Trainer.start(self.system, options, config, variant=variant_of(self.variant))
        run = Training(trainer, {})
        try:
            with SHARED.sharing():  # arms that begin with the same warm start make it once
                for report in trainer:
                    if report.figures:
                        run.steps.append(report.step)
                        run.figures.append({name: float(value) for name, value in report.figures.items()})
                    run.episodes += report.episodes
                    if report.evaluation:
                        run.evaluation = report.evaluation
                        run.scores[report.step] = float(report.evaluation["mean"])
            return float(run.evaluation["mean"]) if self.measure is None else self.measure(run)
        finally:
            trainer.close()


def variant_of(name: str) -> type[Learner] | None:
    """The class that is called "module:class"; None for an empty name."""
    module, _, learner = name.partition(":")
    return getattr(importlib.import_module(f"actrix.claims.variants.{module}"), learner) if name else None


@dataclass(frozen=True)
class Part:
    """One of several figures of a run, which is made once for all of them. `measure` gives them by name."""

    run: Trained
    measure: Callable[[Training], Mapping[str, Any]]
    name: str

    @property
    def steps(self) -> int:
        return self.run.steps

    def __call__(self, seed: int) -> float:
        return float(measured(self.run, self.measure, seed)[self.name])


@functools.cache
def measured(run: Trained, measure: Callable[[Training], Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """All that `measure` finds in a run, which is made once for whoever asks."""
    found: dict[str, Any] = {}

    def keep(done: Training) -> float:
        found.update(measure(done))
        return 0.0

    dataclasses.replace(run, measure=keep)(seed)
    return found


def trained(
    system: str,
    *settings: Mapping[str, Any],
    measure: Measure | None = None,
    variant: str = "",
) -> Trained:
    """Train `system` and measure it: by default the mean of its final evaluation.

    `settings` are run options (env, task, steps, eval_episodes ...) and fields of the system's Config, as in
    `actrix.train`; later mappings win. `measure` takes the finished `Training`; `variant`: see `Trained`.
    """
    merged = {name: value for mapping in settings for name, value in mapping.items()}
    return Trained(system, tuple(sorted(merged.items())), measure, variant)


# --- finding claims ---------------------------------------------------------------------------------------------


def load_claim(slug: str) -> Claim:
    """The claim of a system, or an error with the nearest names."""
    if slug not in names():
        if slug in registry.names():
            raise ActrixError(f"no claim is written for {slug} yet", f"claims there are: {', '.join(names())}")
        raise unknown("system", slug, registry.names())
    claim = importlib.import_module(f"actrix.claims.{slug.replace('-', '_')}").claim
    assert isinstance(claim, Claim)
    return claim


# --- running ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One arm on one seed. `serves` are the (check, arm) pairs that use its figure."""

    figure: Figure
    seed: int
    serves: tuple[tuple[str, str], ...]

    @property
    def run(self) -> Figure:
        """What is run for the figure; several figures may be of one run."""
        return self.figure.run if isinstance(self.figure, Part) else self.figure

    @property
    def label(self) -> str:
        check, arm = self.serves[0]
        return f"{check}/{arm} seed {self.seed}"

    @property
    def cost(self) -> int:
        """For the bar: steps of training, or a guess."""
        return self.figure.steps if isinstance(self.figure, Trained | Part) else 1_000


def schedule(claim: Claim, seeds: int | None = None) -> list[Job]:
    """What to run, in order: the first seed of every arm, then the second of every arm, and so on, so that nothing
    that changes in the machine meanwhile falls on one arm alone. Arms that are equal share one job."""
    found: dict[tuple[Figure, int], list[tuple[str, str]]] = {}
    most = max(check.seeds if seeds is None else seeds for check in claim.checks)
    for seed in range(most):
        for check, arm in itertools.chain.from_iterable(((c, a) for a in c.arms) for c in claim.checks):
            if seed < (check.seeds if seeds is None else seeds):
                found.setdefault((arm.figure, seed), []).append((check.name, arm.name))
    return [Job(figure, seed, tuple(serves)) for (figure, seed), serves in found.items()]


def run_claim(
    slug: str, seeds: int | None = None, quiet: bool = False, processes: int = 2, results: Path | None = None
) -> dict[str, Any]:
    """Run a claim and return its result; it is recorded unless `seeds` is below the claim's own number.

    Two processes at most, one thread each. `results` is the folder to record in (default: the library's own).
    """
    claim = load_claim(slug)
    own = max(check.seeds for check in claim.checks)
    if seeds is not None and seeds < 1:
        raise ActrixError(f"--seeds must be at least 1, not {seeds}", misuse=True)
    began, spent = time.monotonic(), cpu_seconds()
    before = configuration(slug)
    jobs = schedule(claim, seeds)
    values = run_jobs(jobs, slug, quiet, min(processes, 2))
    figures: dict[str, dict[str, dict[int, float]]] = {c.name: {a.name: {} for a in c.arms} for c in claim.checks}
    for job, value in zip(jobs, values):
        for check, arm in job.serves:
            figures[check][arm][job.seed] = value
    result = judge(claim, figures)
    result |= {
        "recorded": seeds is None or seeds >= own,
        "configuration": before,
        "commit": commit(),
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "minutes": round((time.monotonic() - began) / 60, 2),
        "cpu_minutes": round((cpu_seconds() - spent) / 60, 2),  # of one core: does not grow on a busy machine
    }
    if result["recorded"]:
        record(slug, result, results)
    return result


def retell(slug: str) -> dict[str, Any]:
    """Write the finding of a recorded result anew, after its claim's `note` was written. Figures stay as they are."""
    claim, result = load_claim(slug), result_of(slug)
    if result is None or is_stale(slug):
        raise ActrixError(f"no result of this configuration is recorded for {slug}", f"run `actrix claim {slug}` first")
    figures = {
        check["name"]: {a["name"]: {int(k): v for k, v in a["figures"].items()} for a in check["arms"]}
        for check in result["checks"]
    }
    result |= judge(claim, figures)
    record(slug, result)
    return result


def record(slug: str, result: dict[str, Any], folder: Path | None = None) -> None:
    """Write a result aside, then rename."""
    from actrix.run.folder import write_atomically

    folder = folder or registry.RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{slug}.json", json.dumps(result, indent=1) + "\n")


def run_jobs(jobs: list[Job], slug: str, quiet: bool = False, processes: int = 2) -> list[float]:
    """The figures of the jobs, in their order, under a progress bar. The first error stops everything."""
    from actrix.run.progress import Bar

    values: dict[int, float] = {}
    total, done = sum(job.cost for job in jobs), 0
    with Bar(total, unit="steps", quiet=quiet, label=f"claim of {slug}") as bar:

        def finished(index: int, value: float) -> None:
            nonlocal done
            values[index] = value
            done += jobs[index].cost
            bar.say(f"{jobs[index].label}: {value:,.4g}")
            bar.update(done, runs=f"{len(values)}/{len(jobs)}")

        if processes <= 1:
            for i, job in enumerate(jobs):
                finished(i, work(job))
            return [values[i] for i in range(len(jobs))]
        with ProcessPoolExecutor(processes, get_context("spawn"), initializer=one_thread) as pool:
            together: dict[Any, list[int]] = {}  # figures of one run are read where it was made
            for i, job in enumerate(jobs):
                together.setdefault((job.run, job.seed), []).append(i)
            waiting = {pool.submit(work_all, [jobs[i] for i in found]): found for found in together.values()}
            try:
                while waiting:
                    ready, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in ready:
                        for i, value in zip(waiting.pop(future), future.result()):
                            finished(i, value)
                    bar.show()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [values[i] for i in range(len(jobs))]


def one_thread() -> None:
    """A worker process computes on one thread, so that two of them share two cores evenly."""
    import torch

    torch.set_num_threads(1)


def work(job: Job) -> float:
    """Run one job; an error says which one it was."""
    try:
        return float(job.figure(job.seed))
    except ActrixError as error:
        raise ActrixError(f"{job.label}: {error.message}", error.hint, misuse=error.misuse) from None


def work_all(jobs: list[Job]) -> list[float]:
    return [work(job) for job in jobs]


# --- judging ----------------------------------------------------------------------------------------------------


def judge(claim: Claim, figures: dict[str, dict[str, dict[int, float]]]) -> dict[str, Any]:
    """The verdict on a claim from the figures: check -> arm -> seed -> figure. Pure."""
    checks = [judge_check(check, figures[check.name]) for check in claim.checks]
    verdict = "supported" if all(check["verdict"] == "supported" for check in checks) else "not supported"
    return {
        "system": claim.system,
        "claim": claim.statement,
        "source": claim.source,
        "verdict": verdict,
        "finding": tell(claim, checks),
        "note": claim.note,
        "checks": checks,
    }


def judge_check(check: Check, figures: dict[str, dict[int, float]]) -> dict[str, Any]:
    """The verdict on one check: figures, means with intervals, differences of the method to each arm, rules."""
    import numpy as np

    by_arm = {arm.name: [figures[arm.name][seed] for seed in sorted(figures[arm.name])] for arm in check.arms}
    found = [rulebook.evaluate(rule, by_arm) for rule in check.rules]

    def middle(values: Any) -> dict[str, float | None]:
        low, high = rulebook.bounds(np.asarray(values))
        return {"mean": float(np.mean(values)), "low": number(low), "high": number(high)}

    methods = [arm.name for arm in check.arms if arm.role == "method"]
    others = [arm.name for arm in check.arms if arm.name != methods[0]]
    return {
        "name": check.name,
        "question": check.question,
        "metric": check.metric,
        "verdict": "supported" if all(f.holds for f in found) else "not supported",
        "rules": [{**f.as_dict(), "left": number(f.left), "right": number(f.right)} for f in found],
        "arms": [
            {"name": a.name, "role": a.role, "figures": figures[a.name], **middle(by_arm[a.name])} for a in check.arms
        ],
        "differences": [
            {"of": methods[0], "to": other, **middle(np.subtract(by_arm[methods[0]], by_arm[other]))}
            for other in others
        ],
    }


def tell(claim: Claim, checks: list[dict[str, Any]]) -> str:
    """What was found, in words, from the figures alone; the claim's note comes last."""
    held = sum(check["verdict"] == "supported" for check in checks)
    text = [f"{held} of {len(checks)} checks hold." if len(checks) > 1 else ""]
    for check in checks:
        arms = "; ".join(
            f"{a['name']} {show(a['mean'])} (seeds {show(min(a['figures'].values()))} to "
            f"{show(max(a['figures'].values()))})"
            for a in check["arms"]
        )
        rules = "; ".join(
            f"{r['rule']} {'holds' if r['holds'] else 'FAILS'} ({show(r['left'])} against {show(r['right'])})"
            for r in check["rules"]
        )
        text.append(f"{check['name']}, {check['verdict']}: {check['metric']}: {arms}. Fixed beforehand: {rules}.")
    return " ".join(part for part in (*text, claim.note) if part)


def show(value: float | None) -> str:
    """A figure with about four digits."""
    if value is None:
        return "none"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def number(value: float) -> float | None:
    """JSON knows no NaN: None stands for it."""
    return value if value - value == 0 else None


# --- where it came from -------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Processor time of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def commit() -> str | None:
    """The commit of the source tree, "+" where it has been changed since; None outside a checkout."""

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=30, check=True)
        return run.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "..") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    import numpy
    import torch

    import actrix

    found = {"actrix": actrix.__version__, "torch": torch.__version__, "numpy": numpy.__version__}
    return {**found, "python": platform.python_version()}
