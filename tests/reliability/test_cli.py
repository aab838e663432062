"""The command line: exit status, one JSON document, helpful errors, and answers at once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shells import HERE, Done, Shell

from actrix.cli import COMMANDS, run
from actrix.errors import ActrixError

SMALL = (
    "--hidden 8 --batch 8 --warmup 20 --steps 60 --checkpoint-every 20 --eval-every 60 --eval-episodes 1 --threads 1"
)
TRAIN = ("train", "sac", "--env", "Pendulum-v1", *SMALL.split())
ACTRIX = Path(sys.executable).with_name("actrix")


@pytest.fixture(scope="module")
def folder(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "run"
    assert shell(*TRAIN, "--folder", path).code == 0
    return path


def call(capfd: pytest.CaptureFixture[str], *argv: object) -> Done:
    """A command line in this process."""
    code = run([str(a) for a in argv])
    out, err = capfd.readouterr()
    return Done(code, out, err)


MISUSES = [  # command line -> what the two lines say
    ("train sca --env Pendulum-v1", ["unknown system 'sca'", "did you mean sac"]),
    ("train sac", ["give --env ID, --data DIR or --task NAME", "--env Pendulum-v1"]),
    ("train sac --env Pendulm-v1", ["unknown environment 'Pendulm-v1'", "did you mean Pendulum-v1"]),
    ("train sac --env Pendulum-v9", ["unknown environment 'Pendulum-v9'", "Pendulum-v1"]),
    ("train sac --env a/b/c", ["'a/b/c' is no environment", ""]),
    ("train nowhere:mine --env Pendulum-v1", ["there is no module 'nowhere'", "MODULE:NAME"]),
    ("train json:mine --env Pendulum-v1", ["registers no system 'mine'"]),
    ("train sac --env nowhere:X-v0", ["there is no module 'nowhere'", "MODULE:NAME"]),
    ("train sac --env no/where:X-v0", ["there is no module 'no/where'", "MODULE:NAME"]),
    ("train sac --env Pendulum-v1 --stepz 5", ["unknown option '--stepz'", "did you mean --steps"]),
    ("train sac --env Pendulum-v1 --steps", ["--steps", "--help"]),
    ("train sac --env Pendulum-v1 --steps many", ["--steps: invalid literal", "--help"]),
    ("train sac --env Pendulum-v1 --steps 0", ["--steps must be at least 1, not 0", ""]),
    ("train sac --env Pendulum-v1 --steps -5", ["--steps must be at least 1, not -5", ""]),
    ("train sac --env Pendulum-v1 --workers -2", ["--workers must be at least -1, not -2", ""]),
    ("train sac --env Pendulum-v1 --seed -1", ["--seed must be at least 0", ""]),
    ("train sac --env Pendulum-v1 --checkpoint-every -1", ["--checkpoint-every must be at least 0", ""]),
    ("train sac --env Pendulum-v1 --env-timeout 0", ["--env-timeout must be at least 0.1, not 0", ""]),
    ("train sac --env Pendulum-v1 --env-timeout nan", ["--env-timeout must be at least 0.1, not nan", ""]),
    ("train sac --env Pendulum-v1 --batch 0", ["--batch must be at least 1, not 0", ""]),
    ("train sac --env Pendulum-v1 --hidden 8 0", ["--hidden must be at least 1, not 0", ""]),
    ("train sac --env Pendulum-v1 --rate nan", ["--rate must be at least 0, not nan", ""]),
    ("train sac --env Pendulum-v1 --rate -1", ["--rate must be at least 0, not -1", ""]),
    ("train sac --env Pendulum-v1 --discount 1.5", ["--discount must be at most 1, not 1.5", ""]),
    ("train sac --env Pendulum-v1 --precision fp8", ["--precision is fp32, medium or bf16, not 'fp8'", ""]),
    ("train sac --env Pendulum-v1 --device abacus", ["--device abacus: there is no such device here", "cpu"]),
    ("train sac --env Pendulum-v1 extra", ["unknown option 'extra'", "--help"]),
    ("train sac --task countdown", ["sac acts in environments, not on language tasks", "--env ID"]),
    ("train", ["which system?", "actrix list"]),
    ("trian sac", ["unknown command 'trian'", "did you mean train"]),
    ("show sca", ["unknown system 'sca'", "did you mean sac"]),
    ("show", ["show which system?", ""]),
    ("list everything", ["takes no 'everything'", "--json"]),
    ("resume", ["missing: PATH", "--help"]),
    ("resume /nowhere/at/all", ["is not a run folder", "actrix train"]),
    ("eval /nowhere/at/all", ["is not a run folder", "actrix train"]),
    ("eval /nowhere/at/all --episodes few", ["--episodes: invalid literal", "--help"]),
]


@pytest.mark.parametrize(("line", "says"), MISUSES, ids=[line for line, _ in MISUSES])
def test_misuse_is_named(line: str, says: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    done = call(capfd, *line.split())
    assert done.code == 2, done.err
    assert done.out == ""
    lines = done.err.splitlines()
    assert 1 <= len(lines) <= 2, done.err
    for text, said in zip(says, [*lines, ""], strict=False):
        assert text in said
    with_json = call(capfd, *line.split(), "--json")
    if "takes no" not in says[0]:
        assert with_json.code == 2
    assert set(json.loads(with_json.out)) == {"error", "hint"}


def test_evaluation_of_no_episodes(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call(capfd, "eval", folder, "--episodes", 0)
    assert done.code == 2
    assert "at least one episode" in done.err


def test_a_budget_that_makes_no_sense(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call(capfd, "resume", folder, "--steps", -3)
    assert done.code == 2
    assert "--steps must be at least 1, not -3" in done.err


def test_json_is_one_document_and_nothing_else(shell: Shell, folder: Path, tmp_path: Path) -> None:
    shown = {
        "train": shell(*TRAIN, "--folder", tmp_path / "run", "--json"),
        "resume": shell("resume", folder, "--json"),
        "eval": shell("eval", folder, "--episodes", 1, "--json"),
        "list": shell("list", "--json"),
        "show": shell("show", "sac", "--json"),
    }
    for name, done in shown.items():
        assert done.code == 0, done.err
        document = json.loads(done.out)
        assert document, name
    assert {"folder", "step", "evaluation", "seconds"} <= set(json.loads(shown["train"].out))
    assert {row["slug"] for row in json.loads(shown["list"].out)} >= {"sac"}
    assert json.loads(shown["show"].out)["config"]


def test_runs_that_start_at_once_get_folders_of_their_own(shell: Shell, tmp_path: Path) -> None:
    both = [shell.start(*TRAIN, "--json", cwd=tmp_path) for _ in range(3)]
    folders = {json.loads(run.wait().out)["folder"] for run in both}
    assert folders == {f"runs/sac-Pendulum-v1-s0{end}" for end in ("", "-2", "-3")}
    assert shell("train", "sac", "--env", "CartPole-v1", cwd=tmp_path).code == 2
    assert len(list((tmp_path / "runs").iterdir())) == 3, "a run that never began leaves no folder"


def test_a_policy_is_loaded_where_its_device_is_not(folder: Path, tmp_path: Path) -> None:
    from actrix import api
    from actrix.run.folder import fingerprint

    copy = Path(shutil.copytree(folder, tmp_path / "run"))
    config = json.loads((copy / "config.json").read_text())
    config["run"]["device"], config["run"]["workers"] = "cuda:63", 2
    (copy / "config.json").write_text(json.dumps(config))
    for path in (copy / "checkpoints").iterdir():  # as if it had been trained there
        manifest = json.loads((path / "manifest.json").read_text())
        text = json.dumps({**manifest, "config": fingerprint(config)}).encode()
        (path / "manifest.json").write_bytes(text)
        (path / "manifest.json.sha256").write_text(hashlib.sha256(text).hexdigest() + "\n")
    assert api.load(copy).act([1.0, 0.0, 0.0]).shape == (1,)
    assert api.evaluate(copy, 2) == api.evaluate(folder, 2)
    with pytest.raises(ActrixError, match="--device cuda:63: there is no such device here"):
        api.resume(copy)


def test_what_an_environment_prints_stays_out_of_the_document(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(
        "import ctypes, gymnasium\n"
        "from gymnasium.envs.classic_control import PendulumEnv\n"
        "class Chatty(PendulumEnv):\n"
        "    def step(self, action):\n"
        "        print('from Python')\n"
        "        ctypes.CDLL(None).puts(b'from C')\n"
        "        ctypes.CDLL(None).fflush(None)\n"
        "        return super().step(action)\n"
        "gymnasium.register('Chatty-v0', Chatty, max_episode_steps=20)\n"
    )
    for workers in (0, 2):
        argv = ("train", "sac", "--env", "chatty:Chatty-v0", *SMALL.split(), "--workers", workers, "--json")
        done = shell(*argv, "--folder", tmp_path / f"run{workers}", cwd=tmp_path)
        assert done.code == 0, done.err
        assert json.loads(done.out)["step"] == 60
        assert "from Python" in done.err
        assert "from C" in done.err


@pytest.mark.parametrize(
    "argv", [["--help"], ["train", "--help"], *([c, "--help"] for c in COMMANDS), ["-h"], ["--version"]]
)
def test_help_at_every_level(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    done = call(capfd, *argv)
    assert done.code == 0, done.err
    assert done.out.strip()
    assert done.err == ""


def test_help_of_a_system_names_its_settings(capfd: pytest.CaptureFixture[str]) -> None:
    done = call(capfd, "train", "sac", "--help")
    assert done.code == 0
    assert "--target-rate" in done.out
    assert "--checkpoint-every" in done.out


def test_no_command_is_misuse(capfd: pytest.CaptureFixture[str]) -> None:
    assert call(capfd).code == 2


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_the_installed_command(tmp_path: Path) -> None:
    """The real thing once: no fork server, a real interpreter from its first line to its exit."""
    assert ACTRIX.exists()
    argv = [str(a) for a in (ACTRIX, *TRAIN, "--workers", 2, "--folder", tmp_path / "run", "--json")]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment(), cwd=HERE, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 60
    argv[4:5], argv[-2:] = ["faulty:Faulty-v0"], [str(tmp_path / "faulty")]
    failed = subprocess.run(
        argv, capture_output=True, text=True, env={**environment(), "FAULT": "raises"}, cwd=HERE, timeout=120,
    )  # fmt: skip
    assert failed.returncode == 1
    assert "the arm fell off" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("argv", [["--help"], ["list"], ["list", "--json"], ["show", "sac"], ["train", "--help"]])
def test_quick_answers(argv: list[str]) -> None:
    """Under 0.25 s on a quiet machine; the slack is for a busy one. The reason why: no torch."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        done = subprocess.run([str(ACTRIX), *argv], capture_output=True, env=environment())
        seconds.append(time.perf_counter() - began)
        assert done.returncode == 0
    assert statistics.median(seconds) < 0.6
    code = "import sys; from actrix.cli import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, env=environment())
    modules = set(loaded.stderr.split())
    assert "actrix.cli" in modules
    assert not modules & {"torch", "numpy", "gymnasium", "tyro", "rich", "safetensors"}


def test_a_reader_that_goes_away(folder: Path) -> None:
    head = shutil.which("head")
    assert head is not None
    done = subprocess.run(
        f"{ACTRIX} list --json | {head} -c 1", shell=True, capture_output=True, text=True, env=environment()
    )
    assert done.stderr == ""
