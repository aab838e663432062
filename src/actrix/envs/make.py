"""Gymnasium environments by id, and teams of agents, with errors that say what to install or which id was meant."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from actrix.envs.teams import make_team
from actrix.errors import ActrixError, brief, unknown
from actrix.outside import import_outside

ZOO = "pettingzoo"
EXTRAS = {"mujoco": "mujoco", "pygame": "classic", "Box2D": "classic", "ale_py": "atari", "envpool": "envpool"}


def make_env(env_id: str, **kwargs: Any) -> gym.Env:
    """`gymnasium.make` for `Id-v0`, or `module:Id-v0`: a module on the path or in the present folder.

    `pettingzoo:module` is a team of agents (see `envs.teams`).
    """
    module, colon, name = env_id.rpartition(":")
    if colon and module != ZOO:
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
        raise ActrixError(
            f"environment {env_id!r} could not be made: {brief(error)}",
            "check the id and its arguments; --debug shows the whole traceback",
        ) from error
