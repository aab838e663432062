"""Modules of a person's own, named on the command line as `module:name`."""

from __future__ import annotations

import importlib
import os
import sys

from actrix.errors import ActrixError, brief


def import_outside(module: str, whose: str) -> None:
    """Import a module from the present folder, from PYTHONPATH, or installed; it registers what it has.

    whose: what names it, for the errors, such as "environment 'mine:Reach-v0'".
    """
    look_here()
    named = all(part.isidentifier() for part in module.split("."))
    try:
        if named:
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        named = not f"{module}.".startswith(f"{error.name}.")
        if named:
            raise ActrixError(
                f"{whose} needs the module {error.name!r}", "is it installed, and on PYTHONPATH?"
            ) from error
    except ActrixError:
        raise
    except Exception as error:
        raise ActrixError(
            f"the module {module!r} of the {whose} could not be imported: {brief(error)}",
            "--debug shows the whole traceback",
        ) from error
    if not named:
        raise ActrixError(
            f"there is no module {module!r}, which the {whose} names",
            "give MODULE:NAME, with the module in the present folder, installed, or on PYTHONPATH",
            misuse=True,
        )


def look_here() -> None:
    """Let modules of the present folder be found, as `python` does and an installed command does not."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
