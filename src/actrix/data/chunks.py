"""Chunks: H actions in a row as one action, for those who decide every H steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from actrix.data.batches import Transitions
from actrix.data.datasets import Dataset


class Chunks:
    """The transitions of a data set over `length` H steps, sampled like it. A batch has, for a row t of an episode:

    action [B, H * A]: a_t, ..., a_{t+H-1}; 0 for what comes after the episode's end
    reward [B]: sum of discount^k r_{t+k} over k < H, up to the episode's end
    next_obs, terminated, truncated: of the last of these steps, so the value that follows is discounted by discount^H
    valid [B]: False where the episode is cut off before H steps have passed: what would have followed is not known.
        Where it terminates, nothing follows, and the row is good.
    """

    def __init__(self, data: Dataset, length: int, discount: float) -> None:
        self.data, self.length = data, length
        self.starts = torch.from_numpy(data.starts)
        self.weights = discount ** torch.arange(length)

    def __len__(self) -> int:
        return len(self.data)

    def sample(self, n: int) -> Transitions:
        """n chunks, uniformly with replacement, drawn from torch's current stream."""
        return self.at(torch.randint(len(self), (n,)))

    def at(self, index: Tensor) -> Transitions:
        """The chunks that begin in the given rows [n]."""
        tensor = self.data.tensor
        end = self.starts[torch.searchsorted(self.starts, index, right=True)] - 1
        rows = index[:, None] + torch.arange(self.length)
        inside = rows <= end[:, None]  # [n, H]
        rows = torch.minimum(rows, end[:, None])
        last = rows[:, -1]
        action = tensor("action")[rows]
        terminated = tensor("terminated")[last]
        return Transitions(
            obs=tensor("obs")[index],
            action=(action * inside[..., None].to(action.dtype)).flatten(1),
            reward=(tensor("reward")[rows] * inside * self.weights).sum(1),
            next_obs=tensor("next_obs")[last],
            terminated=terminated,
            truncated=tensor("truncated")[last],
            valid=inside[:, -1] | terminated,
        )


class Windows:
    """Steps of N environments, as they are made, to chunks of `length` H steps for a replay.

    Every step begins one, and its row is what `Chunks` has for that step; it is made as soon as the chunk or the
    episode is over. What `forget` cuts off is no row: what would have followed is not known.
    """

    def __init__(self, worlds: int, length: int, discount: float) -> None:
        self.length = length
        self.weights = (discount ** np.arange(length)).astype(np.float32)
        self.running: list[list[dict[str, Any]]] = [[] for _ in range(worlds)]  # steps whose chunks are not over

    def forget(self) -> None:
        for steps in self.running:
            steps.clear()

    def follow(self, columns: dict[str, np.ndarray], valid: np.ndarray) -> dict[str, np.ndarray]:
        """One step of every environment, [N, ...] by column, `valid` [N]; the rows that it completes, 0 to N * H."""
        rows = []
        for i in np.flatnonzero(valid).tolist():
            steps = self.running[i]
            steps.append({name: values[i].copy() for name, values in columns.items()})
            if steps[-1]["terminated"] or steps[-1]["truncated"]:
                rows += [self._row(steps[k:]) for k in range(len(steps))]
                steps.clear()
            elif len(steps) == self.length:
                rows.append(self._row(steps))
                del steps[0]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}

    def _row(self, steps: list[dict[str, Any]]) -> dict[str, Any]:
        first, last, n = steps[0], steps[-1], len(steps)
        size = first["action"].size
        action = np.zeros(self.length * size, np.float32)
        action[: n * size] = np.concatenate([step["action"] for step in steps])
        reward = (np.array([step["reward"] for step in steps], np.float32) * self.weights[:n]).sum()
        ends = {name: last[name] for name in ("next_obs", "terminated", "truncated")}
        valid = n == self.length or bool(last["terminated"])
        return {"obs": first["obs"], "action": action, "reward": reward, **ends, "valid": np.bool_(valid)}
