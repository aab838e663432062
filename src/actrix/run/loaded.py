"""A run as it was left: its learner, to be looked at, judged, exported, or to judge others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from actrix.run import regimes
from actrix.run.folder import RunFolder
from actrix.run.learner import Learner
from actrix.run.options import has_device
from actrix.run.trainer import undescribe


def load_learner(folder: Path | str) -> tuple[Learner, regimes.Regime, dict[str, Any]]:
    """The learner of a run at its newest checkpoint, its regime, and its configuration."""
    run = RunFolder(folder)
    data = run.config()
    _, tensors, _ = run.restore()
    entry, options, config, _ = undescribe(data)
    # to look at a policy, neither the machine that trained it nor its worker processes are needed
    device = options.device if has_device(options.device) else "cpu"
    options = dataclasses.replace(options, workers=0, vector="local", device=device)
    regime = regimes.make(entry, options, config)
    try:
        learner = regime.learner(entry.learner, config, options.seed)
        learner.restore(tensors)
    except BaseException:
        regime.close()
        raise
    return learner.eval(), regime, data
