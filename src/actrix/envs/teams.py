"""Several agents with one interest as one environment: PettingZoo's, by the name `pettingzoo:module`.

    pettingzoo:mpe2.simple_spread_v3       the module's `parallel_env`, or its `env` where it has no other
    pettingzoo:my_module.Warehouse         a class or function of a module

A team is a Gymnasium environment:

- observation: a Dict with a Tuple of what each agent sees under "agents", in the order of `possible_agents`, and the
  environment's `state()`, where it has one, under "privileged": critics see it, actors never do;
- action: a MultiDiscrete, choice k is agent k's. Agents' spaces may differ;
- reward: the mean over all `possible_agents`, 0 for those that are gone. Where all get the same, it is that;
- `info["action_mask"]`: the agents' masks one after another, from their `info["action_mask"]` or from the
  "action_mask" of their observation, which is then no part of what they see; all True for an agent without one;
- an agent that is gone before the others sees zeros, and only its first action is legal (and not passed on). So its
  log-probability is 0, and nothing is learned from it;
- terminated when no agent goes on and none of the last ones was cut off; truncated when one of them was.

Environments in which agents move in turn (AEC) are converted by PettingZoo's own wrapper, where it can. Whether
agents have one interest cannot be known: the mean of the rewards is what is learned. Only where it is 0 at every step
of an episode, and single rewards are not, is the game refused as one of opponents.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from actrix.envs.spaces import AGENTS, PRIVILEGED
from actrix.errors import ActrixError, brief, unknown
from actrix.outside import import_outside, look_here

MASK = "action_mask"


def maker(name: str) -> Callable[..., Any]:
    """What makes the environment that `pettingzoo:name` names; ActrixError where there is none."""
    whose = f"environment 'pettingzoo:{name}'"
    if importlib.util.find_spec("pettingzoo") is None:
        raise ActrixError(f"{whose} needs the module 'pettingzoo'", "pip install 'actrix[multiagent]'")
    look_here()
    module, leaf = name, ""
    try:
        if importlib.util.find_spec(name) is None:
            module, _, leaf = name.rpartition(".")
    except ModuleNotFoundError:
        module, _, leaf = name.rpartition(".")
    except (ImportError, ValueError):
        pass  # the import below says what is wrong
    import_outside(module or name, whose)
    found = sys.modules[module]
    if leaf:
        if not callable(getattr(found, leaf, None)):
            inside = [m.name for m in pkgutil.iter_modules(getattr(found, "__path__", []))]
            named = [k for k, v in vars(found).items() if callable(v)]
            raise unknown(f"environment of {module}", leaf, [*inside, *named])
        return getattr(found, leaf)
    for usual in ("parallel_env", "env"):
        if hasattr(found, usual):
            return getattr(found, usual)
    raise ActrixError(
        f"the module {module!r} has no parallel_env and no env",
        f"name what makes the environment: pettingzoo:{module}.NAME",
        misuse=True,
    )


def make_team(name: str, **kwargs: Any) -> gym.Env:
    """The environment that `pettingzoo:name` names, as a team."""
    made = maker(name)(**kwargs)
    if hasattr(made, "agent_iter"):  # agents move in turn
        from pettingzoo.utils.conversions import aec_to_parallel

        try:
            made = aec_to_parallel(made)
        except AssertionError as error:
            raise ActrixError(
                f"the agents of 'pettingzoo:{name}' move in turn, and cannot be made to move together",
                "a team needs an environment with a parallel form (metadata['is_parallelizable'])",
                misuse=True,
            ) from error
    return Team(made, name)


class Team(gym.Env):
    """A PettingZoo `ParallelEnv` as one environment: see the head of this file."""

    def __init__(self, env: Any, name: str = "") -> None:
        self.env, self.name = env, name or type(env).__name__
        self.metadata = {**getattr(env, "metadata", {})}
        self.render_mode = getattr(env, "render_mode", None)
        if not getattr(env, "possible_agents", None):
            raise ActrixError(
                f"{self.name} does not say which agents may play",
                "a team is fixed: give it possible_agents",
                misuse=True,
            )
        self.names = list(env.possible_agents)
        self.sights = [env.observation_space(agent) for agent in self.names]
        self.masked = [isinstance(s, spaces.Dict) and MASK in s.spaces for s in self.sights]
        seen = [without_mask(sight) if masked else sight for sight, masked in zip(self.sights, self.masked)]
        self.nothing = [empty(space) for space in seen]
        choices = [env.action_space(agent) for agent in self.names]
        for agent, space in zip(self.names, choices):
            if not isinstance(space, spaces.Discrete):
                raise ActrixError(
                    f"{self.name}: the actions of {agent} are {' '.join(str(space).split())}; agents of a team have "
                    "Discrete actions",
                    "many environments have a discrete form (continuous_actions=False)",
                    misuse=True,
                )
        self.sizes, self.starts = [int(s.n) for s in choices], [int(s.start) for s in choices]
        self.action_space = spaces.MultiDiscrete(self.sizes, start=self.starts)
        parts: dict[str, gym.Space] = {AGENTS: spaces.Tuple(seen)}
        state = getattr(env, "state_space", None)
        if state is not None:
            parts[PRIVILEGED] = state
        self.stateful = state is not None
        self.observation_space = spaces.Dict(parts)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        obs, infos = self.env.reset(seed=seed, options=options)
        self.alive = set(self.env.agents)
        self.shared = self.apart = False  # whether the mean reward, and a single one, was ever other than 0
        return self._see(obs), {MASK: self._masks(obs, infos)}

    def step(self, action: Any) -> tuple[dict, float, bool, bool, dict]:
        chosen = {a: int(x) for a, x in zip(self.names, action) if a in self.alive}
        obs, rewards, terminated, truncated, infos = self.env.step(chosen)
        ending = {a for a in self.alive if terminated.get(a, False) or truncated.get(a, False)}
        gone = ending | (self.alive - set(self.env.agents))
        self.alive -= gone
        over = not self.alive
        cut = over and any(truncated.get(a, False) and not terminated.get(a, False) for a in gone)
        single = [float(rewards.get(a, 0.0)) for a in self.names]
        reward = sum(single) / len(self.names)
        self.shared |= abs(reward) > 1e-9 * max(map(abs, single))
        self.apart |= any(single)
        if over and self.apart and not self.shared:
            raise ActrixError(
                f"{self.name}: the agents' rewards cancelled out at every step of an episode: they are opponents",
                "a team learns the mean of its agents' rewards; there is nothing to learn where that is always 0",
                misuse=True,
            )
        return self._see(obs), reward, over and not cut, cut, {MASK: self._masks(obs, infos)}

    def _see(self, obs: dict[Any, Any]) -> dict[str, Any]:
        found = []
        for agent, masked, nothing in zip(self.names, self.masked, self.nothing):
            if agent not in obs or (agent not in self.alive and self.alive):
                found.append(nothing)
            else:
                found.append(without_mask(obs[agent]) if masked else obs[agent])
        seen: dict[str, Any] = {AGENTS: tuple(found)}
        if self.stateful:
            try:
                seen[PRIVILEGED] = self.env.state()
            except Exception as error:
                raise ActrixError(f"{self.name}: state() raised {brief(error)}") from error
        return seen

    def _masks(self, obs: dict[Any, Any], infos: dict[Any, Any]) -> np.ndarray:
        rows = []
        for agent, masked, size in zip(self.names, self.masked, self.sizes):
            if agent not in self.alive:
                row = np.arange(size) == 0
            else:
                given = obs[agent][MASK] if masked else infos.get(agent, {}).get(MASK)
                row = np.ones(size, bool) if given is None else np.asarray(given).astype(bool).reshape(-1)
                if len(row) != size:
                    raise ActrixError(f"{self.name}: the action mask of {agent} has {len(row)} entries, not {size}")
            rows.append(row)
        return np.concatenate(rows)

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        self.env.close()


def without_mask(value: Any) -> Any:
    """An observation (or its space) with a mask, without it: what is alone beside it, or the rest as a Dict."""
    entries = value.spaces if isinstance(value, spaces.Dict) else value
    rest = {k: v for k, v in entries.items() if k != MASK}
    if len(rest) == 1:
        return next(iter(rest.values()))
    return spaces.Dict(rest) if isinstance(value, spaces.Dict) else rest


def empty(space: gym.Space) -> Any:
    """What an agent that is gone sees: zeros, and the first of choices."""
    if isinstance(space, spaces.Dict):
        return {key: empty(inner) for key, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(map(empty, space.spaces))
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return space.start
    return np.zeros(space.shape or (), space.dtype)
