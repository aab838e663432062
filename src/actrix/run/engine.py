"""How updates are executed: eager or compiled, in which precision, on how many threads."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actrix.run.learner import Learner


@dataclass(frozen=True)
class EngineOptions:
    """Chosen once per run and written to config.json, so that a resumed run computes the same bits."""

    compile: bool = False
    precision: str = "fp32"  # fp32, medium (fp32 products rounded to bf16) or bf16 (autocast)
    threads: int = 1
    device: str = "cpu"


class Engine:
    """Runs `learner.update` as the options say. One engine per learner."""

    def __init__(self, learner: Learner, options: EngineOptions) -> None:
        self.learner, self.options = learner, options
        torch.set_num_threads(options.threads)

    @property
    def explanation(self) -> str:
        """One line for the person: what was chosen."""
        o = self.options
        return f"updates: {'compiled' if o.compile else 'eager'}, {o.precision}, {o.threads} thread(s), {o.device}"

    def update(self, batch: Any, phase: Hashable) -> dict[str, Tensor]:
        return self.learner.update(batch, phase)
