"""A checkpoint is whole or not there; a changed byte is found and named; nothing in it is ever executed."""

from __future__ import annotations

import ast
import json
import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from shells import Shell, bits, checkpoints

import actrix
from actrix import api
from actrix.errors import ActrixError
from actrix.run.folder import RunFolder, read_checkpoint
from actrix.run.trainer import Trainer

SETTINGS: dict[str, Any] = {
    "hidden": (8,), "batch": 8, "warmup": 20, "capacity": 60, "steps": 100, "checkpoint_every": 20,
    "eval_every": 100, "eval_episodes": 1, "log_every": 10, "threads": 1,
}  # fmt: skip
LONG = "--env Pendulum-v1 --hidden 8 --batch 8 --warmup 20 --steps 100000 --checkpoint-every 20 --threads 1"
SOURCE = Path(actrix.__file__).parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SAC run whose replay has wrapped around."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    api.train("sac", env="Pendulum-v1", folder=folder, quiet=True, **SETTINGS)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to do harm to."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def flip(path: Path, at: int, bit: int = 0) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ 1 << bit]))


def regions(path: Path) -> list[int]:
    """Places in a file: both ends, header and data of tensors, whitespace, and some at random."""
    data = path.read_bytes()
    places = {0, 1, len(data) - 1, len(data) // 2}
    if path.suffix == ".safetensors":
        header = int.from_bytes(data[:8], "little")
        places |= {7, 8, 8 + header // 2, 7 + header, 8 + header}  # length, header, its padding, first number
    else:
        places |= {data.index(b"\n"), max(data.find(b" "), 0)}
    places |= {random.Random(path.name).randrange(len(data)) for _ in range(40)}
    return sorted(places)


@pytest.mark.parametrize("name", ["learner.safetensors", "manifest.json", "manifest.json.sha256"])
def test_a_flipped_bit_anywhere_is_found_and_named(name: str, run: Path) -> None:
    newest = checkpoints(run)[-1]
    read_checkpoint(newest)
    for at in regions(newest / name):
        for bit in (0, 5, 7):
            flip(newest / name, at, bit)
            with pytest.raises(ActrixError, match=f"checkpoint {newest.name} is damaged") as caught:
                read_checkpoint(newest)
            assert name in caught.value.message
            assert "delete" in caught.value.hint
            flip(newest / name, at, bit)
    read_checkpoint(newest)


@pytest.mark.parametrize("how", ["missing", "empty", "short", "long"])
@pytest.mark.parametrize("name", ["learner.safetensors", "manifest.json", "manifest.json.sha256"])
def test_a_file_that_is_not_whole_is_named(name: str, how: str, run: Path) -> None:
    path = checkpoints(run)[-1] / name
    data = path.read_bytes()
    path.write_bytes({"missing": b"", "empty": b"", "short": data[:-1], "long": data + b"\n"}[how])
    if how == "missing":
        path.unlink()
    with pytest.raises(ActrixError, match="is damaged") as caught:
        api.resume(run, quiet=True)
    assert name in caught.value.message


def test_the_checkpoint_before_a_damaged_one_can_be_used(run: Path) -> None:
    """As the error says: delete the damaged one, and resume. The replay still holds what the older one needs."""
    before = bits(run)
    flip(checkpoints(run)[-1] / "learner.safetensors", 1000)
    with pytest.raises(ActrixError, match="is damaged"):
        api.resume(run, quiet=True)
    shutil.rmtree(checkpoints(run)[-1])
    api.resume(run, quiet=True)
    assert bits(run) == before


def test_a_renamed_checkpoint_is_found(run: Path) -> None:
    newest = checkpoints(run)[-1]
    newest.rename(newest.with_name("000000000999"))
    with pytest.raises(ActrixError, match=r"manifest.json: it belongs to step 100"):
        api.resume(run, quiet=True)


@pytest.mark.parametrize("column", ["obs", "action", "reward", "next_obs", "terminated", "truncated"])
def test_a_flipped_bit_in_the_replay_is_found(column: str, run: Path) -> None:
    path = run / "replay" / f"{column}.bin"
    size = path.stat().st_size
    rows = 60 + 2 * 21  # capacity, and what may follow two checkpoints
    for age in (0, 30, 59):  # rows of the window: the newest, a middle one, the oldest
        at = ((99 - age) % rows) * (size // rows)
        flip(path, at, 4)
        with pytest.raises(ActrixError, match=f"replay/{column}.bin does not match its checkpoint"):
            Trainer.resume(run)
        flip(path, at, 4)
    Trainer.resume(run).close()


@pytest.mark.parametrize("how", ["missing", "short"])
def test_a_replay_file_that_is_not_whole_is_found(how: str, run: Path) -> None:
    path = run / "replay" / "obs.bin"
    os.truncate(path, path.stat().st_size // 8) if how == "short" else path.unlink()
    with pytest.raises(ActrixError, match=r"replay/obs.bin does not match its checkpoint"):
        api.resume(run, quiet=True)


def test_a_changed_configuration_is_found(run: Path) -> None:
    path = run / "config.json"
    data = json.loads(path.read_text())
    data["config"]["discount"] = 0.9
    path.write_text(json.dumps(data))
    for use in (api.resume, api.load):
        with pytest.raises(ActrixError, match=r"config.json is damaged"):
            use(run)
    path.write_text(path.read_text()[:-5])
    with pytest.raises(ActrixError, match=r"config.json is damaged"):
        api.resume(run)


def test_a_log_that_lost_lines_is_found(run: Path) -> None:
    os.truncate(run / "metrics.jsonl", 10)
    with pytest.raises(ActrixError, match=r"metrics.jsonl is damaged"):
        api.resume(run, quiet=True)


def test_a_checkpoint_from_another_version_says_so(run: Path) -> None:
    data = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**data, "schema": 99}))
    with pytest.raises(ActrixError, match="has schema 99"):
        api.resume(run)


class Bomb:
    """A pickle that runs code when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_run(run: Path, tmp_path: Path) -> None:
    import hashlib

    newest, mark = checkpoints(run)[-1], tmp_path / "executed"
    blob = pickle.dumps(Bomb(mark))
    (newest / "learner.safetensors").write_bytes(blob)
    with pytest.raises(ActrixError, match=r"learner.safetensors: its checksum"):
        api.load(run)
    # even where somebody made all checksums agree
    manifest = json.loads((newest / "manifest.json").read_text())
    manifest["files"]["learner.safetensors"] = {"bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}
    text = json.dumps(manifest).encode()
    (newest / "manifest.json").write_bytes(text)
    (newest / "manifest.json.sha256").write_text(hashlib.sha256(text).hexdigest() + "\n")
    for use in (api.load, api.resume):
        with pytest.raises(ActrixError, match=r"learner.safetensors: not in the safetensors format"):
            use(run)
    assert not mark.exists()
    pickle.loads(blob)
    assert mark.exists(), "the bomb was a dud"


def test_the_library_never_loads_code_from_data() -> None:
    modules = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "_pickle"}
    builtin = {"eval", "exec", "compile", "__import__"}
    methods = {"torch.load", "torch.save", "np.load", "numpy.load", "np.save", "numpy.save", "yaml.load"}
    walled = SOURCE / "language" / "sandbox"  # there programs are run, in a process that has no rights left
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        if path == walled / "inside.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            outside = path.parent != walled and isinstance(node, ast.ImportFrom | ast.Import)
            assert not outside or "sandbox.inside" not in ast.unparse(node), "programs are run inside the sandbox only"
            suspicious = (
                (isinstance(node, ast.Import) and {a.name.split(".")[0] for a in node.names} & modules)
                or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in modules)
                or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in builtin)
                or (isinstance(node, ast.Attribute) and ast.unparse(node) in methods)
            )
            if suspicious:
                found.append(f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}")
    assert not found


def test_a_run_folder_holds_no_pickle(finished: Path) -> None:
    names = {p.name for p in finished.rglob("*") if p.is_file()}
    assert {p.rpartition(".")[2] for p in names} <= {"json", "jsonl", "sha256", "safetensors", "bin", "lock", "html"}


def test_only_two_checkpoints_are_kept_and_nothing_else(finished: Path) -> None:
    left = sorted(p.name for p in (finished / "checkpoints").iterdir())
    assert left == ["000000000080", "000000000100"]


def test_two_processes_on_one_folder(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    argv = LONG.split()
    first = shell.start("train", "sac", *argv, "--folder", folder)
    while not checkpoints(folder):
        assert not first.ended
    for command in (("resume", folder), ("train", "sac", *argv, "--folder", folder)):
        second = shell(*command)
        assert second.code == 1, second.err
        assert f"{folder} is in use by another process (pid {first.pid})" in second.complaint[0]
        assert len(second.complaint) == 2
    assert shell("eval", folder, "--episodes", 1).code == 0  # reading is free
    first.kill()
    first.wait()
    third = shell("train", "sac", *argv, "--folder", folder)
    assert third.code == 2
    assert "already holds a run" in third.complaint[0]
    folder_config = RunFolder(folder).config()
    assert folder_config["steps"] == 100000
