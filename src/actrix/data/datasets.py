"""A data set: recorded transitions in canonical form, sampled like a replay, with their episodes known.

Small ones are held in memory. Those beyond `LARGE` are converted once into a folder of the user's cache, and
memory-mapped from there; that folder can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from actrix.credit import returns_to_go
from actrix.data.batches import Transitions
from actrix.data.formats import MENDING, Chunk, Recording
from actrix.errors import ActrixError
from actrix.spec import Spec

LARGE = 256 << 20  # bytes on disk from which a data set is memory-mapped
VERSION = 1  # of the converted form
NAMES = ("obs", "action", "reward", "next_obs", "terminated", "truncated", "last")


class Maps(Protocol):
    """From an environment's own spaces to canonical rows (see `envs.spaces.Maps`)."""

    spec: Spec

    def obs_rows(self, tree: Any) -> np.ndarray: ...

    def action_rows(self, values: Any) -> tuple[np.ndarray, int]: ...


class Dataset:
    """Transitions of one recording. Columns are those of `Transitions` and `last`, which ends an episode; [N, ...].

    clipped: rows whose action lay outside the bounds, and was brought to them.
    """

    def __init__(self, columns: dict[str, np.ndarray], about: dict[str, Any]) -> None:
        self.columns, self.about = columns, about
        self.clipped = int(about.get("clipped", 0))
        stops = np.flatnonzero(columns["last"]) + 1
        self.starts = np.concatenate(([0], stops))  # [E + 1]: episode e has the rows starts[e] to starts[e + 1]
        self._tensors = {k: torch.from_numpy(v) for k, v in columns.items() if k != "last"}

    @staticmethod
    def open(recording: Recording, maps: Maps, fingerprint: str | None = None, large: int = LARGE) -> Dataset:
        """Read a recording; ActrixError naming file and row where a number is not finite or does not fit the spaces."""
        fingerprint = fingerprint or recording.fingerprint()
        if sum(f.stat().st_size for f in recording.files) < large:
            return convert(recording, maps, None)
        key = json.dumps([fingerprint, maps.spec.to_json(), VERSION], sort_keys=True)
        folder = cache() / hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        with contextlib.suppress(OSError, ValueError, KeyError):
            return mapped(folder)
        shutil.rmtree(folder, ignore_errors=True)
        aside = folder.with_name(f".{folder.name}-{os.getpid()}")
        try:
            aside.mkdir(parents=True)
            convert(recording, maps, aside)
            aside.replace(folder)
            return mapped(folder)
        except OSError as error:
            raise ActrixError(
                f"no room to unpack {recording.path} into {folder.parent} ({error.strerror})",
                "make room, or set XDG_CACHE_HOME to a larger disk",
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def __len__(self) -> int:
        return len(self.columns["reward"])

    @property
    def episodes(self) -> int:
        return len(self.starts) - 1

    def tensor(self, name: str) -> Tensor:
        """A column of `Transitions`, [N, ...]."""
        return self._tensors[name]

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Return and length of every episode, [E] each."""
        total = np.concatenate(([0.0], np.cumsum(self.columns["reward"], dtype=np.float64)))
        return total[self.starts[1:]] - total[self.starts[:-1]], np.diff(self.starts)

    def add_returns(self, discount: float) -> None:
        """Give every transition its discounted return-to-go, as `Transitions.returns`."""
        c = self.columns
        found = returns_to_go(c["reward"], c["terminated"], c["last"], discount)
        self._tensors["returns"] = torch.from_numpy(found)

    def add_previous(self) -> None:
        """Give every transition the action before it, as `Transitions.previous`: 0 where an episode begins."""
        action = self._tensors["action"]
        previous = torch.zeros_like(action)
        previous[1:] = action[:-1]
        previous[torch.from_numpy(self.starts[:-1])] = 0
        self._tensors["previous"] = previous

    def sample(self, n: int) -> Transitions:
        """n transitions, uniformly with replacement, drawn from torch's current stream."""
        return self.at(torch.randint(len(self), (n,)))

    def at(self, index: Tensor) -> Transitions:
        """The transitions in the given rows [n]."""
        return Transitions(**{name: tensor.index_select(0, index) for name, tensor in self._tensors.items()})


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "actrix" / "datasets"


def convert(recording: Recording, maps: Maps, folder: Path | None) -> Dataset:
    """Read everything, in memory or as one file per column in `folder`."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    with contextlib.ExitStack() as stack:
        files = {} if folder is None else {n: stack.enter_context(open(folder / f"{n}.bin", "wb")) for n in NAMES}
        clipped = rows = 0
        layout: dict[str, Any] = {}
        for chunk in recording.chunks():
            columns, outside = canonical(chunk, maps)
            clipped += outside
            rows += len(columns["reward"])
            for name, values in columns.items():
                layout[name] = [values.dtype.name, list(values.shape[1:])]
                if folder is None:
                    parts[name].append(values)
                else:
                    files[name].write(np.ascontiguousarray(values).data)
    if not rows:
        raise ActrixError(f"{recording.path} holds no transitions", "record at least one step", misuse=True)
    about = {"rows": rows, "clipped": clipped, "layout": layout}
    if folder is None:
        return Dataset({name: np.concatenate(found) for name, found in parts.items()}, about)
    about["checksums"] = {name: checksum(folder / f"{name}.bin") for name in NAMES}
    (folder / "about.json").write_text(json.dumps(about))
    return mapped(folder)


def mapped(folder: Path) -> Dataset:
    """A converted data set; ValueError or OSError where its files are not as they were written."""
    about = json.loads((folder / "about.json").read_text())
    columns = {}
    for name, (dtype, shape) in about["layout"].items():
        path = folder / f"{name}.bin"
        if checksum(path) != about["checksums"][name]:
            raise ValueError(path)
        # copy on write: torch wants arrays that it may write to
        columns[name] = np.memmap(path, dtype, "c", shape=(about["rows"], *shape))
    return Dataset(columns, about)  # type: ignore[arg-type]


def checksum(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def canonical(chunk: Chunk, maps: Maps) -> tuple[dict[str, np.ndarray], int]:
    """A chunk as columns, checked; and how many of its actions were outside their bounds."""
    n = len(chunk.reward)
    with located(chunk):
        obs = maps.obs_rows(chunk.obs)
        following = obs[1:] if chunk.next_obs is None else maps.obs_rows(chunk.next_obs)
    reward = np.asarray(chunk.reward, np.float32).reshape(-1)
    finite(chunk, obs[:n], "observation")
    finite(chunk, following, "the observation after it")
    finite(chunk, reward[:, None], "reward")
    raw = np.asarray(chunk.action)
    finite(chunk, raw.reshape(n, -1), "action")
    try:
        action, outside = maps.action_rows(raw)
    except ActrixError:
        for row in range(n):  # which one is it?
            with located(chunk, row):
                maps.action_rows(raw[row : row + 1])
        raise
    return {
        "obs": obs[:n], "action": action, "reward": reward, "next_obs": following,
        "terminated": chunk.terminated, "truncated": chunk.truncated, "last": chunk.last,
    }, outside  # fmt: skip


@contextlib.contextmanager
def located(chunk: Chunk, row: int = 0) -> Iterator[None]:
    """An error of the maps, with the place that it came from."""
    try:
        yield
    except ActrixError as error:
        hint = error.hint or "was it recorded in the environment that --env names?"
        raise ActrixError(f"{chunk.where(row)}: {error.message}", hint) from error


def finite(chunk: Chunk, rows: np.ndarray, what: str) -> None:
    """ActrixError naming the first row that holds a number that is not finite."""
    if rows.dtype.kind != "f" or np.isfinite(rows).all():
        return
    row, column = np.argwhere(~np.isfinite(rows))[0]
    name = what if rows.shape[1] == 1 else f"{what}[{column}]"
    raise ActrixError(f"{chunk.where(int(row))}: {name} is {rows[row, column]}", MENDING)
