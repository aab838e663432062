"""A disk that fills up: a clear error, and a run that goes on once there is room, with the same bits."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from shells import Done, Shell, bits, checkpoints

from actrix import registry
from actrix.errors import ActrixError
from actrix.run.folder import RunFolder

SAC = (
    "sac --env Pendulum-v1 --hidden 64 64 --batch 8 --warmup 20 --capacity 4000 --steps 80 --checkpoint-every 20 "
    "--eval-every 80 --eval-episodes 1 --log-every 10 --threads 1"
)
PPO = (
    "ppo --env CartPole-v1 --envs 4 --horizon 16 --hidden 4 --epochs 1 --minibatch 64 --steps 2560 --log-every 64 "
    "--checkpoint-every 640 --eval-every 2560 --eval-episodes 1 --threads 1"
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of our own."""
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(path)], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def resize(disk: Path, size: int) -> None:
    size = max(-(-size // 4096) * 4096, 4096)
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def clear(done: Done, says: str) -> None:
    assert done.code == 1, done.err
    assert len(done.complaint) == 2, done.err
    assert says in done.complaint[0]
    assert "resume" in done.complaint[1]
    assert "Traceback" not in done.err


def size_of(folder: Path) -> int:
    return sum(-(-p.stat().st_size // 4096) * 4096 for p in folder.rglob("*") if p.is_file())


def test_a_full_disk(shell: Shell, disk: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert shell("train", *SAC.split(), "--folder", whole).code == 0
    expected, replay = bits(whole), size_of(whole / "replay")
    checkpoint, rest = size_of(checkpoints(whole)[-1]), 5 * 4096
    # room for: half the replay; half the first checkpoint; half the third
    sizes = {replay // 2: "replay", **{replay + rest + int(k * checkpoint): "a checkpoint" for k in (0.5, 2.5)}}
    for size, says in sizes.items():
        folder = disk / str(size)
        resize(disk, size)
        clear(shell("train", *SAC.split(), "--folder", folder), says)
        if says == "replay":
            clear(shell("resume", folder), says)  # still no room: says so again, and does no harm
        resize(disk, 64 << 20)
        again = shell("resume", folder)
        assert again.code == 0, again.err
        assert bits(folder) == expected
        shutil.rmtree(folder)


def test_a_log_that_cannot_grow(shell: Shell, tmp_path: Path) -> None:
    if "ppo" not in registry.catalogue():
        pytest.skip("ppo is not written yet")
    assert shell("train", *PPO.split(), "--folder", tmp_path / "whole").code == 0
    expected = bits(tmp_path / "whole")
    largest = max(p.stat().st_size for p in (tmp_path / "whole" / "checkpoints").rglob("*") if p.is_file())
    log = (tmp_path / "whole" / "metrics.jsonl").stat().st_size
    limit = max(largest, (tmp_path / "whole" / "config.json").stat().st_size) + 200
    assert limit < log, "the log must be the first to be too large"
    folder = tmp_path / "run"
    clear(
        shell("train", *PPO.split(), "--folder", folder, limit=limit), "could not write metrics.jsonl: File too large"
    )
    assert (folder / "metrics.jsonl").stat().st_size == limit, "it took what there was room for"
    again = shell("resume", folder)
    assert again.code == 0, again.err
    assert bits(folder) == expected


def test_no_room_for_the_replay(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = shell("train", *SAC.split(), "--steps", 2000, "--folder", folder, limit=10_000)
    clear(done, "no room for the replay buffer: obs.bin needs 0.0 MB (File too large)")
    assert "--capacity" in done.complaint[1]
    assert shell("resume", folder, "--steps", 60).code == 0


def test_no_room_for_a_checkpoint(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    clear(
        shell("train", *SAC.split(), "--folder", folder, limit=50_000), "could not write a checkpoint: File too large"
    )
    assert not list((folder / "checkpoints").iterdir()), "what was half written is cleared away"
    assert shell("resume", folder, "--json").code == 0


def test_a_folder_that_cannot_be(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = shell("train", *SAC.split(), "--folder", tmp_path / "file")
    assert done.code == 1
    assert "could not write" in done.complaint[0]
    assert len(done.complaint) == 2
    assert (tmp_path / "file").read_text() == "not a folder"
    (tmp_path / "empty").mkdir()
    done = shell("resume", tmp_path / "empty", "--json")
    assert done.code == 2
    assert "is not a run folder" in json.loads(done.out)["error"]


def test_logs_are_read_without_a_cut_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append("metrics.jsonl", {"step": 1, "x": float("nan")}, {"step": 2, "x": float("inf")})
    folder.close()
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 3, "x"')
    assert folder.records() == [{"step": 1, "x": None}, {"step": 2, "x": None}]
    with pytest.raises(ActrixError, match="is not a run folder"):
        folder.config()
