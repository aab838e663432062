"""Synthetic run folders and a real browser for the tests of evaluation."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MakeRun = Callable[..., Path]


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def build_run(
    folder: Path,
    *,
    system: str = "sac",
    env: str | None = "HalfCheetah-v5",
    task: str | None = None,
    seed: int = 0,
    level: float = 5000.0,
    config: dict[str, Any] | None = None,
    evals: int = 10,
    episodes: int = 10,
    steps: int = 100_000,
) -> Path:
    """A run folder as the trainer writes it, with a curve that rises to about `level`."""
    rng = np.random.default_rng([seed, len(system), int(abs(level))])
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "schema": 1,
        "system": system,
        "family": "language" if task else "control",
        "env": env,
        "task": task,
        "level": 1,
        "seed": seed,
        "steps": steps,
        "config": {"discount": 0.99, "hidden": [256, 256], "learning_rate": 3e-4} | (config or {}),
        "run": {"workers": 0, "envs": 1, "eval_every": steps // evals, "precision": "fp32", "device": "cpu"},
        "versions": {"actrix": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "created": "2025-11-21T02:40:00",
    }
    (folder / "config.json").write_text(json.dumps(about))
    lines: list[dict[str, Any]] = []
    for i in range(200):
        step, share = (i + 1) * steps // 200, (i + 1) / 200
        loss = float(np.exp(-4 * share) * (1 + 0.2 * rng.normal()))
        lines.append(
            {
                "step": step,
                "kind": "train",
                "critic": loss,
                "actor": -level * share,
                "temperature": float(np.exp(-8 * share)),
            }
        )
        got = level * share**0.5 + 0.1 * level * rng.normal()
        lines.append({"step": step, "kind": "episode", "return": float(got), "length": 1000})
    for i in range(evals):
        share = (i + 1) / evals
        scores = level * share**0.5 + 0.05 * level * rng.normal(size=episodes)
        if task:
            scores = (rng.random(episodes) < 0.4 + 0.5 * share).astype(float)
        half = 2.0 * scores.std() / episodes**0.5
        line = {"step": (i + 1) * steps // evals, "kind": "eval", "scores": scores.tolist()}
        line |= {"mean": scores.mean(), "low": scores.mean() - half, "high": scores.mean() + half}
        lines.append(line | ({"pass@1": float(scores.mean()), "pass@4": 0.9} if task else {}))
    write_lines(folder / "metrics.jsonl", sorted(lines, key=lambda line: line["step"]))
    speed = [
        {"step": (i + 1) * steps // 40, "seconds": 3.0 * (i + 1), "steps_per_second": 800 + 30 * rng.normal()}
        for i in range(40)
    ]
    write_lines(folder / "timing.jsonl", speed)
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(name, **about) -> folder`; see `build_run`."""
    return lambda name, **about: build_run(tmp_path / name, **about)


@pytest.fixture
def browse(tmp_path: Path) -> Callable[[Path], tuple[str, str]]:
    """Open a page in headless Chromium; returns its document after loading, and what the console said."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("chromium is not installed")

    def open_page(page: Path) -> tuple[str, str]:
        flags = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--enable-logging=stderr", "--v=0", "--dump-dom"),
        ]
        profile = tmp_path / "profile"
        done = subprocess.run(
            [found, *flags, f"--user-data-dir={profile}", page.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, "\n".join(console)

    return open_page
