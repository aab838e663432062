"""kill -9 at any moment, then `actrix resume`: the same bits as a run that was never stopped."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from shells import Running, Shell, bits

from actrix import registry
from actrix.data.formats import write_flat
from actrix.envs.make import make_env
from actrix.run.collect import record


@dataclass(frozen=True)
class Case:
    """A small run, and how often to kill it."""

    argv: tuple[str, ...]
    kills: int = 14  # at random moments
    writing: int = 6  # while a checkpoint is being written


SAC = (
    "sac --env Pendulum-v1 --hidden 16 16 --batch 16 --warmup 60 --capacity 300 --steps 600 --checkpoint-every 50 "
    "--eval-every 240 --eval-episodes 1 --log-every 20 --seed 3"
)
PPO = (
    "ppo --env CartPole-v1 --envs 4 --horizon 32 --hidden 16 --epochs 2 --minibatch 64 --steps 4096 "
    "--checkpoint-every 256 --eval-every 1024 --eval-episodes 3 --log-every 128 --seed 3"
)
GRPO = (
    "grpo --task countdown --steps 10 --checkpoint-every 1 --eval-every 4 --eval-episodes 2 --log-every 1 --seed 3 "
    "--prompts 2 --group 4 --warm-steps 4 --warm-batch 4 --threads 1"
)
OFFLINE = (
    "td3-bc --data {data} --hidden 16 16 --batch 16 --steps 600 --checkpoint-every 50 --eval-every 240 "
    "--eval-episodes 1 --log-every 20 --seed 3 --threads 1"
)
CONTINUED = (
    "cal-ql --data {data} --hidden 16 16 --batch 16 --samples 2 --capacity 100 --steps 150 --online-steps 250 "
    "--checkpoint-every 50 --eval-every 200 --eval-episodes 1 --log-every 20 --seed 3 --threads 1"
)
CASES = {
    "sac": Case(tuple(SAC.split())),
    "sac in workers": Case((*SAC.split(), "--workers", "2"), kills=4, writing=2),
    "sac compiled": Case((*SAC.split(), "--steps", "300", "--compile", "yes", "--threads", "1"), kills=3, writing=1),
    "ppo": Case(tuple(PPO.split())),
    "ppo in workers": Case((*PPO.split(), "--workers", "2"), kills=4, writing=2),
    "grpo": Case(tuple(GRPO.split())),
    "from data": Case(tuple(OFFLINE.split()), kills=2, writing=1),
    "from data, then online": Case(tuple(CONTINUED.split()), kills=4, writing=1),
}


def recorded(path: Path) -> Path:
    """Three episodes of random torques."""
    env = make_env("Pendulum-v1")
    played = record(lambda obs, mask: env.action_space.sample(), env, 3, 0)
    write_flat(path, played, (env.observation_space, env.action_space), {"env": "Pendulum-v1"})
    return path


def wait_for_writing(run: Running, folder: Path, skip: int) -> bool:
    """Until a checkpoint is being written (the `skip`-th after now); False where the run ended first."""
    seen: set[str] = set()
    while not run.ended:
        aside = [p.name for p in (folder / "checkpoints").glob(".writing-*")]
        seen.update(aside)
        if aside and len(seen) > skip:
            return True
        time.sleep(0.0002)
    return False


@pytest.mark.parametrize("name", CASES)
def test_killed_runs_end_with_the_same_bits(name: str, shell: Shell, tmp_path: Path) -> None:
    case = CASES[name]
    if "{data}" in case.argv:
        data = recorded(tmp_path / "data.npz")
        case = replace(case, argv=tuple(str(data) if word == "{data}" else word for word in case.argv))
    if case.argv[0] not in registry.catalogue():
        pytest.skip(f"{case.argv[0]} is not written yet")
    began = time.monotonic()
    whole = shell("train", *case.argv, "--folder", tmp_path / "whole")
    assert whole.code == 0, whole.err
    seconds = time.monotonic() - began
    expected = bits(tmp_path / "whole")
    score = shell("eval", tmp_path / "whole", "--episodes", 3, "--json").out

    chance = random.Random(name)
    plan = ["time"] * case.kills + ["writing"] * case.writing
    chance.shuffle(plan)
    caught_writing = attempt = 0
    while plan:
        attempt += 1
        folder = tmp_path / f"killed-{attempt}"
        while True:
            started = (folder / "config.json").is_file()  # killed before it had begun: begin
            run = shell.start("resume", folder) if started else shell.start("train", *case.argv, "--folder", folder)
            if plan and plan[-1] == "time":
                until = time.monotonic() + chance.uniform(0.0, 0.4 * seconds)
                while time.monotonic() < until and not run.ended:
                    time.sleep(0.002)
            elif plan:
                wait_for_writing(run, folder, chance.randrange(4))
                time.sleep(chance.choice([0.0, 0.0, 0.0005, 0.002]))
            if not plan or run.ended:
                break
            run.kill()
            assert run.wait().code in (-9, 0)
            if run.wait().code == -9:
                plan.pop()
                caught_writing += any((folder / "checkpoints").glob(".writing-*"))
        assert run.wait().code == 0, run.wait().err
        assert bits(folder) == expected
        assert shell("eval", folder, "--episodes", 3, "--json").out == score
    assert caught_writing or case.writing < 6, "no kill fell into the writing of a checkpoint"


def test_a_finished_run_resumes_to_itself_and_can_be_extended(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert shell("train", *SAC.split(), "--steps", 120, "--folder", folder).code == 0
    before = bits(folder)
    assert shell("resume", folder, "--json").code == 0
    assert bits(folder) == before
    longer = shell("resume", folder, "--steps", 160, "--json")
    assert longer.code == 0, longer.err
    assert json.loads(longer.out)["step"] == 160
    assert json.loads((folder / "config.json").read_text())["steps"] == 160  # the new budget is the run's own now
    shorter = shell("resume", folder, "--steps", 100)
    assert shorter.code == 0, shorter.err


def test_same_seed_same_bits_and_other_seeds_differ(shell: Shell, tmp_path: Path) -> None:
    runs = {}
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        argv = [*SAC.split()[:-1], seed, "--steps", 150]
        assert shell("train", *argv, "--folder", tmp_path / name).code == 0
        runs[name] = bits(tmp_path / name)
    assert runs["a"] == runs["b"]
    assert runs["a"]["weights"] != runs["c"]["weights"]
    assert runs["a"]["metrics"] != runs["c"]["metrics"]


def test_worker_processes_give_the_bits_of_one_process(shell: Shell, tmp_path: Path) -> None:
    runs = []
    for workers in (0, 2, 3):
        argv = [*SAC.split(), "--steps", 150, "--envs", 3, "--workers", workers, "--folder", tmp_path / str(workers)]
        done = shell("train", *argv)
        assert done.code == 0, done.err
        runs.append(bits(tmp_path / str(workers)))
    assert runs[0] == runs[1] == runs[2]
