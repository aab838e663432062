"""Replay: a ring of transitions, in memory or memory-mapped into a run folder.

The ring has `slack` rows more than its capacity. Rows written since a checkpoint therefore never overwrite rows
that the checkpoint refers to, and a run killed at any moment finds its replay as it was (see `run.checkpoint`).
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actrix.data.batches import Transitions
from actrix.errors import ActrixError
from actrix.spec import Choices, Spec


class Ring:
    """The last `capacity` rows of some columns, sampled uniformly.

    layout: name -> (shape of one row, NumPy type). `folder` None keeps them in memory. Raises ActrixError where the
    disk is full.
    """

    def __init__(
        self, layout: dict[str, tuple[tuple[int, ...], Any]], capacity: int, folder: Path | None = None, slack: int = 0
    ) -> None:
        self._layout, self._folder, self._slack, self.total = layout, folder, slack, 0
        self._open(capacity)

    def _open(self, capacity: int) -> None:
        self.capacity, self.rows = capacity, capacity + self._slack
        self._arrays = {name: self._column(name, *kind) for name, kind in self._layout.items()}
        self._tensors = {name: torch.from_numpy(array) for name, array in self._arrays.items()}

    def _column(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        folder = self._folder
        if folder is None:
            return np.zeros((self.rows, *shape), dtype)
        path, size = folder / f"{name}.bin", self.rows * int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with open(path, "ab") as file:  # reserve the space now: a full disk is an error here, not a death later
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(path, dtype, "r+", shape=(self.rows, *shape))
        except OSError as error:
            raise ActrixError(
                f"no room for the replay buffer: {path.name} needs {size / 1e6:,.1f} MB ({error.strerror})",
                "free some disk, then `actrix resume FOLDER`; or train anew with a smaller --capacity",
            ) from error

    def __len__(self) -> int:
        return min(self.total, self.capacity)

    def add(self, **columns: np.ndarray) -> None:
        """Append N rows, given by column name, each [N, ...]."""
        n = len(next(iter(columns.values())))
        at = self.total % self.rows
        first = min(n, self.rows - at)
        for name, values in columns.items():
            array = self._arrays[name]
            array[at : at + first] = values[:first]
            if first < n:
                array[: n - first] = values[first:]
        self.total += n

    def amend(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Replace a column's values in rows counted from the first ever added; those no longer held are left out."""
        held = rows >= self.total - self.rows
        self._arrays[name][rows[held] % self.rows] = values[held]

    def draw(self, n: int, newest: int | None = None) -> Tensor:
        """Physical rows [n] of the window, or of its `newest` rows, uniformly with replacement, drawn from torch's
        current stream."""
        size = len(self) if newest is None else min(newest, len(self))
        index = torch.randint(size, (n,))
        start = self.total - size
        if start:
            index.add_(start).remainder_(self.rows)
        return index

    def columns(self, index: Tensor) -> dict[str, Tensor]:
        """The given physical rows [n] by column."""
        return {name: tensor.index_select(0, index) for name, tensor in self._tensors.items()}

    def state(self) -> dict[str, Any]:
        """Counter and checksums of what is in the window; flushed to disk first."""
        sums = {}
        for name, array in self._arrays.items():
            if isinstance(array, np.memmap):
                try:
                    array.flush()
                except OSError as error:
                    raise ActrixError(
                        f"could not write replay/{name}.bin: {error.strerror}", "is the disk failing?"
                    ) from error
            sums[name] = self._checksum(array, len(self))
        return {"total": self.total, "capacity": self.capacity, "rows": self.rows, "checksums": sums}

    def load(self, state: dict[str, Any]) -> None:
        """Take up the window that `state` describes; the rows must still be in the folder.

        The larger capacity counts: a shortened budget does not shrink it, an extended one may let it grow.
        """
        if state["capacity"] > self.capacity:
            self._open(int(state["capacity"]))
        self.total = int(state["total"])
        if self.rows != state["rows"] and self.total > min(self.rows, state["rows"]):
            raise ActrixError(
                f"the replay was written in a ring of {state['rows']:,} rows, and is opened as one of {self.rows:,}",
                "restore the run's config.json from a copy, or start a new run",
            )
        for name, expected in state["checksums"].items():
            if self._checksum(self._arrays[name], min(self.total, state["capacity"])) != expected:
                raise ActrixError(
                    f"the replay file replay/{name}.bin does not match its checkpoint (checksum differs)",
                    "the file was changed or the disk is failing; restore it from a copy, or start a new run",
                )

    def _checksum(self, array: np.ndarray, size: int) -> int:
        """Of the last `size` rows, oldest first."""
        start, stop = (self.total - size) % self.rows, self.total % self.rows
        pieces = [array[start:stop]] if start < stop or not size else [array[start:], array[:stop]]
        value = 0
        for piece in pieces:
            if piece.size:
                value = zlib.crc32(np.ascontiguousarray(piece).view(np.uint8).data, value)
        return value

    def tensors(self) -> dict[str, Tensor]:
        """The window's rows by column, oldest first (copies)."""
        index = torch.arange(self.total - len(self), self.total) % self.rows
        return {name: tensor[index] for name, tensor in self._tensors.items()}


class Replay(Ring):
    """The last `capacity` transitions, sampled uniformly."""

    def __init__(
        self,
        spec: Spec,
        capacity: int,
        folder: Path | None = None,
        slack: int = 0,
        masks: bool = False,
        returns: bool = False,
        context: int = 0,
        chunk: int = 1,
        previous: bool = False,
    ) -> None:
        """context: width of the columns `context` and `achieved`; 0 has none. previous: whether it has that column.
        chunk: actions of a row (`data.chunks`); more than 1 have the column `valid`."""
        spec = spec.chunked(chunk) if chunk > 1 else spec
        choices = isinstance(spec.action, Choices)
        layout: dict[str, tuple[tuple[int, ...], Any]] = {
            "obs": ((spec.obs_size,), spec.obs_dtype),
            "action": ((spec.action_size,), np.int64 if choices else np.float32),
            "reward": ((), np.float32),
            "next_obs": ((spec.obs_size,), spec.obs_dtype),
            "terminated": ((), np.bool_),
            "truncated": ((), np.bool_),
        }
        if masks and isinstance(spec.action, Choices):
            layout["mask"] = layout["next_mask"] = ((sum(spec.action.sizes),), np.bool_)
        if returns:
            layout["returns"] = ((), np.float32)
        if previous:
            layout["previous"] = layout["action"]
        if chunk > 1:
            layout["valid"] = ((), np.bool_)
        if context:
            layout["context"] = layout["achieved"] = ((context,), np.float32)
        super().__init__(layout, capacity, folder, slack)

    def sample(self, n: int) -> Transitions:
        """n transitions, uniformly with replacement, drawn from torch's current stream."""
        return self.at(self.draw(n))

    def at(self, index: Tensor) -> Transitions:
        """The transitions in the given physical rows [n]."""
        return Transitions(**self.columns(index))


class Newest:
    """The last `rows` transitions of a replay, sampled uniformly."""

    def __init__(self, replay: Replay, rows: int) -> None:
        self.replay, self.rows = replay, rows

    def sample(self, n: int) -> Transitions:
        return self.replay.at(self.replay.draw(n, self.rows))
