"""Environments that go wrong, in process and in workers: a clear error, the exit status, and a run that resumes."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from shells import Done, Shell, bits, checkpoints

from actrix.run.folder import RunFolder

SMALL = (
    "--hidden 8 --batch 8 --warmup 20 --steps 80 --checkpoint-every 20 --eval-every 80 --eval-episodes 1 "
    "--log-every 10 --env-timeout 0.5 --threads 1"
)
RUN = SMALL.split()
SAC = ("train", "sac", "--env", "faulty:Faulty-v0", *RUN)
PPO = "--hidden 8 --envs 2 --horizon 20 --minibatch 40 --steps 120 --checkpoint-every 40 --eval-episodes 1"
WAYS = (0, 2)  # in process, and in two workers

FAULTS = {  # what goes wrong -> what the error must say
    "nan observation": "step returned observation[1] of nan",
    "infinite observation": "step returned observation[2] of -inf",
    "huge observation": "step returned observation[0] of inf",
    "nan reset": "reset returned observation[0] of nan",
    "nan reward": "step returned reward of nan",
    "infinite reward": "step returned reward of inf",
    "wrong shape": "returned 'obs' of shape (2,), but its space says (3,)",
    "scalar": "returned 'obs' of shape (), but its space says (3,)",
    "no reward": "step returned reward of nan",
    "four values": "step raised ValueError: not enough values to unpack",
    "raises": "step raised ValueError: the arm fell off",
    "exits": "step raised SystemExit: 0",
    "sleeps": "step did not return within 0.5 s",
    "spins": "step did not return within 0.5 s",
    "blocks": "step did not return within 0.5 s",
    "holds": "",
    "dies": "died during step (exit status 3)",
    "killed": "died during step (signal SIGKILL)",
}
# variants of another fault: one way will do
ONCE = {"infinite observation": 0, "huge observation": 2, "infinite reward": 0, "no reward": 2, "scalar": 0, "spins": 2}
CASES = [(fault, workers) for fault in FAULTS for workers in WAYS if ONCE.get(fault, workers) == workers]
CASES = [c for c in CASES if c not in (("dies", 0), ("killed", 0))]  # nobody is left to say it: see test_kill
# resumed to the end, in process or in workers; the rest end in the same way
RESUMED = (("raises", 0), ("sleeps", 0), ("holds", 0), ("nan observation", 2), ("dies", 2), ("killed", 2))


@pytest.fixture(scope="module")
def healthy(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, str]]:
    """The bits of the run in which nothing goes wrong, by number of workers."""
    found = {}
    for workers in WAYS:
        folder = tmp_path_factory.mktemp("healthy") / "run"
        done = shell(*SAC, "--workers", workers, "--folder", folder)
        assert done.code == 0, done.err
        found[workers] = bits(folder)
    return found


def clear(done: Done, code: int, says: str) -> None:
    """One or two lines, and no traceback."""
    assert done.code == code, done.err
    assert 1 <= len(done.complaint) <= 2, done.err
    assert says in done.complaint[0], done.err
    assert "Traceback" not in done.err + done.out
    assert "fault of actrix" not in done.err


@pytest.mark.parametrize(("fault", "workers"), CASES)
def test_a_fault_is_named_and_the_run_resumes(
    fault: str, workers: int, shell: Shell, tmp_path: Path, healthy: dict[int, dict[str, str]]
) -> None:
    folder = tmp_path / "run"
    done = shell(*SAC, "--workers", workers, "--folder", folder, timeout=30, FAULT=fault)
    if fault == "holds" and not workers:  # no thread of the process can run: a second process ends it
        clear(done, -signal.SIGKILL, "faulty:Faulty-v0: compiled code has not let Python run")
    else:
        clear(done, 1, FAULTS[fault] or "step did not return within 0.5 s")
        assert "faulty:Faulty-v0" in done.complaint[0] or "returned 'obs'" in done.complaint[0]
    assert len(done.complaint) == 2, "what to do about it is missing"
    step, _, _ = RunFolder(folder).restore()  # every byte of it checked
    assert step >= 20
    if (fault, workers) not in RESUMED:
        return
    again = shell("resume", folder)
    assert again.code == 0, again.err
    assert bits(folder) == healthy[workers]


@pytest.mark.parametrize("workers", WAYS)
def test_an_environment_that_cannot_be_made(workers: int, shell: Shell, tmp_path: Path) -> None:
    argv = (*SAC, "--workers", workers, "--folder", tmp_path / "run")
    clear(shell(*argv, FAULT="unmakeable"), 1, "could not be made: RuntimeError: no such robot")


def test_debug_shows_the_traceback(shell: Shell, tmp_path: Path) -> None:
    done = shell(*SAC, "--folder", tmp_path / "run", "--debug", FAULT="raises")
    assert done.code == 1
    assert "Traceback" in done.err
    assert "rolled under the table" in done.err
    assert len(done.complaint) == 2


def test_no_process_outlives_the_run(shell: Shell, tmp_path: Path) -> None:
    """Killed with -9 while a worker hangs in compiled code: the worker goes too, and the folder is free."""
    folder = tmp_path / "run"
    run = shell.start(*SAC, "--workers", 2, "--env-timeout", 30, "--folder", folder, FAULT="holds")
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    while not (checkpoints(folder) and checkpoints(folder)[-1].name.endswith("40")):
        assert not run.ended
        time.sleep(0.01)
    time.sleep(0.3)
    assert not run.ended
    workers = children.read_text().split()
    run.kill()
    run.wait()
    assert len(workers) >= 2
    assert shell("resume", folder).code == 0
    alive = [w for w in workers if Path(f"/proc/{w}").exists() and "Z" not in Path(f"/proc/{w}/stat").read_text()]
    assert not alive


@pytest.mark.parametrize("kind", ["Text", "Graph", "Sequence", "Nothing"])
def test_a_space_that_nobody_can_see_in(kind: str, shell: Shell, tmp_path: Path) -> None:
    done = shell("train", "sac", "--env", f"faulty:See{kind}-v0", *RUN, "--folder", tmp_path / "run")
    clear(done, 1, "which has no fixed-width form" if kind != "Nothing" else "observation space is empty")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["Text", "Sequence", "Dict", "Grid"])
def test_a_space_that_nobody_can_act_in(kind: str, shell: Shell, tmp_path: Path) -> None:
    done = shell("train", "sac", "--env", f"faulty:Act{kind}-v0", *RUN, "--folder", tmp_path / "run")
    clear(done, 1, "no actor can act in this action space")


def test_a_space_that_this_system_cannot_act_in(shell: Shell, tmp_path: Path) -> None:
    done = shell("train", "sac", "--env", "faulty:Choices-v0", *RUN, "--folder", tmp_path / "run")
    clear(done, 2, "sac cannot act in faulty:Choices-v0: its actions are discrete")


@pytest.mark.parametrize("workers", WAYS)
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("no legal action", "info['action_mask'] leaves no legal action"),
        ("short mask", "info['action_mask'] has 2 entries, not 3"),
        ("lost mask", "info['action_mask'] is there at some steps and missing at others"),
    ],
)
def test_action_masks_that_go_wrong(fault: str, says: str, workers: int, shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    argv = [
        "train",
        "ppo",
        "--env",
        "faulty:Masked-v0",
        *PPO.split(),
        "--workers",
        str(workers),
        "--folder",
        str(folder),
    ]
    clear(shell(*argv, FAULT=fault, FAULT_AT="30"), 1, says)
    if fault == "lost mask":
        again = shell("resume", folder)
        assert again.code == 0, again.err


@pytest.mark.parametrize("how", ["huge reward", "huge rate"])
def test_a_loss_that_is_not_finite(how: str, shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    rate = ("--rate", "1e30") if how == "huge rate" else ()
    done = shell(*SAC, *rate, "--folder", folder, FAULT=how if how == "huge reward" else "")
    clear(done, 1, "training diverged")
    assert "last checkpoint" in done.complaint[1]
    _, tensors, _ = RunFolder(folder).restore()
    assert all(bool(t.isfinite().all()) for t in tensors.values()), "the last checkpoint must be sound"
