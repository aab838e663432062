"""The run folder: configuration, metrics and checkpoints that survive a crash at any moment.

config.json              what was asked for, complete and typed
metrics.jsonl            append-only; cut back to the checkpoint when a run is resumed
timing.jsonl             wall-clock figures, kept apart because they differ from run to run
checkpoints/<step>/      learner.safetensors + manifest.json + manifest.json.sha256
replay/                  memory-mapped experience
traces/                  what language policies said
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from actrix.errors import ActrixError

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
KEEP = 2  # checkpoints kept


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a full or failing disk into a clear error."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise ActrixError(
            f"could not write {what}: {error.strerror}",
            "the run is intact up to its last checkpoint: make room, then `actrix resume FOLDER`"
            if full
            else "check that the folder is there and may be written to; a run is intact up to its last checkpoint",
        ) from error


def strict_json(data: Any, indent: int | None = None) -> str:
    """JSON that every reader takes: numbers that JSON has no word for (NaN, infinities) become null."""
    try:
        return json.dumps(data, indent=indent, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(_finite(data), indent=indent, allow_nan=False, default=str)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


_locks: set[IO[str]] = set()  # held by this process


def _let_go() -> None:
    """In a forked child: the lock is its parent's. Else a worker that outlives a killed run would keep it locked."""
    for handle in _locks:
        handle.close()
    _locks.clear()


os.register_at_fork(after_in_child=_let_go)


class RunFolder:
    """One run on disk. `open` locks it against a second process; `close` lets it go."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock: IO[str] | None = None
        self._files: dict[str, IO[bytes]] = {}

    # -- life ---------------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        return (self.path / "config.json").is_file()

    def create(self, config: dict[str, Any]) -> RunFolder:
        """Start a new run here; refuses a folder that already holds one."""
        with disk_errors(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
        self.lock()
        try:
            if self.exists or self.checkpoints():
                raise ActrixError(
                    f"{self.path} already holds a run",
                    "resume it with `actrix resume`, or choose another --folder",
                    misuse=True,
                )
            with disk_errors("config.json"):
                self.cut({})
                write_atomically(self.path / "config.json", json.dumps(config, indent=2) + "\n")
        except BaseException:
            self.close()
            raise
        return self

    def extend(self, config: dict[str, Any]) -> None:
        """Replace config.json by the same configuration with another budget."""
        with disk_errors("config.json"):
            write_atomically(self.path / "config.json", json.dumps(config, indent=2) + "\n")

    def lock(self) -> None:
        """Refuse to share the folder with another running process."""
        if self._lock is not None:
            return
        with disk_errors(str(self.path / "lock")):
            handle = open(self.path / "lock", "a+")  # noqa: SIM115
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            owner = handle.read(20).strip()
            handle.close()
            raise ActrixError(
                f"{self.path} is in use by another process" + (f" ({owner})" if owner else ""),
                "wait for that run to end, or choose another --folder",
            ) from error
        except OSError as error:
            handle.close()
            raise ActrixError(
                f"{self.path} cannot be locked: {error.strerror}", "choose a --folder on another file system"
            ) from error
        with contextlib.suppress(OSError):
            handle.truncate(0)
            handle.write(f"pid {os.getpid()}\n")
            handle.flush()
        self._lock = handle
        _locks.add(handle)

    def close(self) -> None:
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()
        self._files.clear()
        if self._lock is not None:
            _locks.discard(self._lock)
            self._lock.close()
            self._lock = None

    def config(self) -> dict[str, Any]:
        """The run's configuration; ActrixError where there is none or it cannot be read."""
        path = self.path / "config.json"
        if not path.is_file():
            raise ActrixError(
                f"{self.path} is not a run folder (it has no config.json)",
                "give the folder that `actrix train` printed",
                misuse=True,
            )
        try:
            data = json.loads(path.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ActrixError(
                f"{path} is damaged: {error}", "restore it from a copy; it holds the run's configuration"
            ) from error
        if data.get("schema") != SCHEMA:
            raise ActrixError(
                f"{path} has schema {data.get('schema')!r}; this version reads {SCHEMA}",
                "use the version of actrix that wrote it",
            )
        return data

    # -- append-only logs ---------------------------------------------------------------------------------------

    def append(self, name: str, *records: dict[str, Any]) -> None:
        """Append JSON lines to metrics.jsonl, timing.jsonl or a trace file."""
        with disk_errors(name):
            if name not in self._files:
                (self.path / name).parent.mkdir(exist_ok=True)
                self._files[name] = open(self.path / name, "ab", buffering=0)  # noqa: SIM115
            data = memoryview("".join(strict_json(r) + "\n" for r in records).encode())
            while data:  # a disk that fills up may take a part
                data = data[self._files[name].write(data) :]

    def records(self, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
        """All whole lines of a log; a line that a crash cut short is left out."""
        path = self.path / name
        found = []
        if path.is_file():
            for line in path.read_bytes().splitlines():
                with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError):
                    found.append(json.loads(line))
        return found

    def _lengths(self) -> dict[str, int]:
        logs = [self.path / "metrics.jsonl", *sorted((self.path / "traces").glob("*.jsonl"))]
        return {str(p.relative_to(self.path)): p.stat().st_size for p in logs if p.is_file()}

    def cut(self, lengths: dict[str, int]) -> None:
        """Cut the logs back to the lengths they had at a checkpoint."""
        found = self._lengths()
        for name, length in lengths.items():
            if found.get(name, 0) < length:
                raise ActrixError(
                    f"{self.path / name} is damaged: it is shorter than when the checkpoint was written",
                    "restore it from a copy, or start a new run",
                )
        for name in found:
            with open(self.path / name, "ab") as file:
                file.truncate(lengths.get(name, 0))

    # -- checkpoints --------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Path]:
        """Finished checkpoints, oldest first."""
        folder = self.path / "checkpoints"
        return sorted(p for p in folder.glob("*") if p.name.isdigit()) if folder.is_dir() else []

    def save(self, step: int, tensors: dict[str, Tensor], counters: dict[str, Any]) -> Path:
        """Write a checkpoint aside, flush it to disk, then rename it into place: it is there whole or not at all."""
        from safetensors.torch import save as to_bytes

        folder = self.path / "checkpoints"
        final, aside = folder / f"{step:012d}", folder / f".writing-{step:012d}"
        with disk_errors("a checkpoint"):
            for left in folder.glob(".*"):  # by a process that was killed here
                shutil.rmtree(left, ignore_errors=True)
            try:
                aside.mkdir(parents=True)
                for log in self._files.values():
                    os.fsync(log.fileno())
                blob = to_bytes(unshared(tensors))
                write_synced(aside / "learner.safetensors", blob)
                manifest = {
                    "schema": SCHEMA,
                    "step": step,
                    "files": {"learner.safetensors": {"bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}},
                    "config": fingerprint(self.config()),
                    "logs": self._lengths(),
                    "counters": counters,
                }
                text = (json.dumps(manifest, indent=1) + "\n").encode()
                write_synced(aside / "manifest.json", text)
                write_synced(aside / "manifest.json.sha256", (hashlib.sha256(text).hexdigest() + "\n").encode())
                discard(final)
                os.rename(aside, final)
                sync_folder(folder)
            except OSError:
                shutil.rmtree(aside, ignore_errors=True)
                raise
        for old in self.checkpoints()[:-KEEP]:
            discard(old)
        return final

    def restore(self, cut_logs: bool = False) -> tuple[int, dict[str, Tensor], dict[str, Any]]:
        """The newest checkpoint, every byte checked: (step, tensors, counters). Never runs code from it.

        `cut_logs` also cuts the logs back to where they were then, for a run that goes on.
        """
        while True:
            found = self.checkpoints()
            if not found:
                raise ActrixError(
                    f"{self.path} has no finished checkpoint yet", "`actrix resume` starts the run from its beginning"
                )
            try:
                manifest, tensors = read_checkpoint(found[-1])
                break
            except ActrixError:
                if found[-1].is_dir():
                    raise  # else the process that trains has replaced it meanwhile: take its newest
        if manifest["config"] != fingerprint(self.config()):
            raise ActrixError(
                f"{self.path / 'config.json'} is damaged: it is not the one that checkpoint {found[-1].name} was "
                "written under",
                "restore it from a copy; a run's settings cannot be changed, only its budget (resume --steps N)",
            )
        if cut_logs:
            with disk_errors("the logs"):
                self.cut(manifest["logs"])
        return int(manifest["step"]), tensors, manifest["counters"]


def fingerprint(config: dict[str, Any]) -> str:
    """A checksum of a configuration; the budget is left out, as a run may be extended."""
    budget = {name: None for name in ("steps", "online_steps") if name in config["run"]}
    kept = {**config, "steps": None, "run": {**config["run"], **budget}}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def discard(folder: Path) -> None:
    """Remove a checkpoint, if it is there; killed half way it leaves nothing that looks like one."""
    aside = folder.with_name(f".old-{folder.name}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, aside)
    shutil.rmtree(aside, ignore_errors=True)


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Manifest and tensors of one checkpoint; ActrixError naming the file where a byte is not what was written."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    def damaged(name: str, why: str) -> ActrixError:
        return ActrixError(
            f"checkpoint {folder.name} is damaged: {name}: {why}",
            f"to continue from the one before it, delete {folder} and resume",
        )

    def read(name: str) -> bytes:
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise damaged(name, str(error.strerror)) from error

    text = read("manifest.json")
    if read("manifest.json.sha256") != (hashlib.sha256(text).hexdigest() + "\n").encode():
        raise damaged("manifest.json", "its checksum (manifest.json.sha256) does not match")
    manifest: dict[str, Any] = json.loads(text)
    if manifest["schema"] != SCHEMA:
        raise ActrixError(
            f"checkpoint {folder.name} has schema {manifest['schema']}; this version reads {SCHEMA}",
            "use the version of actrix that wrote it",
        )
    if manifest["step"] != int(folder.name):
        raise damaged("manifest.json", f"it belongs to step {manifest['step']}")
    blob = b""
    for name, entry in manifest["files"].items():
        blob = read(name)
        if len(blob) != entry["bytes"] or hashlib.sha256(blob).hexdigest() != entry["sha256"]:
            raise damaged(name, "its checksum does not match the manifest")
    try:
        return manifest, from_bytes(blob)
    except SafetensorError as error:
        raise damaged("learner.safetensors", f"not in the safetensors format: {error}") from error


def unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """safetensors refuses tensors that share memory (tied weights): give each its own."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if pointer in seen and tensor.numel() else tensor
        seen.add(pointer)
    return result


def write_synced(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str) -> None:
    """Write beside, then rename: a reader sees the old file or the new one."""
    aside = path.with_name(f".{path.name}.writing")
    write_synced(aside, text.encode())
    os.replace(aside, path)
    sync_folder(path.parent)
