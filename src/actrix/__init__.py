"""actrix: actor-critic learning from shared parts. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from actrix.api import load, train
    from actrix.registry import system
    from actrix.run.trainer import RunOptions, Trainer

_LAZY = {
    "train": "actrix.api",
    "load": "actrix.api",
    "system": "actrix.registry",
    "Trainer": "actrix.run.trainer",
    "RunOptions": "actrix.run.trainer",
}
__all__ = ["RunOptions", "Trainer", "__version__", "load", "system", "train"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'actrix' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
