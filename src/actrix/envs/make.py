"""Gymnasium environments by id, and teams of agents, with errors that say what to install or which id was meant."""

from __future__ import annotations

import ast
from typing import Any
from urllib.parse import parse_qsl

import gymnasium as gym

from actrix.envs.teams import make_team
from actrix.errors import ActrixError, brief, unknown
from actrix.outside import import_outside

ZOO = "pettingzoo"
EXTRAS = {"mujoco": "mujoco", "pygame": "classic", "Box2D": "classic", "ale_py": "atari", "envpool": "envpool"}


def make_env(env_id: str, **kwargs: Any) -> gym.Env:
    """`gymnasium.make` for `Id-v0`, or `module:Id-v0`: a module on the path or in the present folder.

    Arguments may follow, as in `Id-v0?days=60&prices=stocks.csv`. `pettingzoo:module` is a team of agents (see
    `envs.teams`).
    """
    module, name, given = parted(env_id)
    kwargs = {**given, **kwargs}
    if module and module != ZOO:
        import_outside(module, f"environment {env_id!r}")
    try:
        if module == ZOO:
            return make_team(name, **kwargs)
        return gym.make(name, disable_env_checker=True, **kwargs)
    except (gym.error.UnregisteredEnv, gym.error.DeprecatedEnv) as error:
        problem = unknown("environment", name, [k for k in gym.registry if "/" not in k])
        if isinstance(error, gym.error.DeprecatedEnv):
            problem.hint = str(error)
        raise problem from error
    except ModuleNotFoundError as error:
        missing = str(error.name)
        extra = EXTRAS.get(missing.split(".")[0])
        hint = f"pip install 'actrix[{extra}]'" if extra else f"is {missing!r} installed, and on PYTHONPATH?"
        raise ActrixError(f"environment {env_id!r} needs the module {missing!r}", hint) from error
    except gym.error.DependencyNotInstalled as error:
        raise ActrixError(f"environment {env_id!r}: {error}", "pip install 'actrix[mujoco,classic]'") from error
    except ActrixError:
        raise
    except gym.error.Error as error:
        raise ActrixError(
            f"{env_id!r} is no environment: {brief(error)}", "for example Pendulum-v1", misuse=True
        ) from error
    except Exception as error:
        raise unmade(env_id, error) from error


def unmade(env_id: str, error: Exception) -> ActrixError:
    """What to say where making an environment raised."""
    return ActrixError(
        f"environment {env_id!r} could not be made: {brief(error)}",
        "check the id and its arguments; --debug shows the whole traceback",
    )


def parted(env_id: str) -> tuple[str, str, dict[str, Any]]:
    """Module ("" where none is named), name and arguments of `module:Id-v0?key=value&...`. Values that read as numbers
    or as True and False are that, and others are text."""
    whole, _, query = env_id.partition("?")
    module, _, name = whole.rpartition(":")
    return module, name, {key: literal(value) for key, value in parse_qsl(query, keep_blank_values=True)}


def literal(text: str) -> Any:
    """A number or a truth value, if the text is one; otherwise the text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, bool | int | float) else text
