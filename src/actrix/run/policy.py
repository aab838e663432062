"""A trained policy as a person uses it: raw observation in, environment action out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from actrix.envs.spaces import ActionMap, ObsMap
from actrix.language.sampler import Sampling
from actrix.run.learner import Learner


class Policy:
    """The whole map obs -> action of a learner in an environment's own spaces; deterministic by default."""

    def __init__(self, learner: Learner, observation_space: gym.Space, action_space: gym.Space) -> None:
        self.learner = learner
        self.obs_map, self.action_map = ObsMap(observation_space), ActionMap(action_space)
        self.obs_map.may_lack = True  # what was known in training only

    def act(self, obs: Any, mode: str = "mean", mask: np.ndarray | None = None) -> Any:
        """One observation, as the environment returned it, to one action that it takes.

        Every call decides anew: a policy that plays chunks of actions gives the first of a chunk. `player` plays on.
        mode: "mean" for the policy's best guess, "sample" to explore. mask: `info["action_mask"]`, if there is one.
        """
        return self.act_rows(self.obs_map.row(obs)[None], mode, mask)[0]

    def plan(self, obs: Any, mode: str = "mean", mask: np.ndarray | None = None) -> list[Any]:
        """All actions that are decided at once, of which `act` gives the first: a list of `learner.chunk`."""
        return self.plan_rows(self.obs_map.row(obs)[None], mode, mask)[0]

    def player(self, mode: str = "mean") -> Callable[[Any, np.ndarray | None], Any]:
        """Plays one episode from its beginning, (obs, mask) -> action, carrying from step to step what the policy
        carries (the rest of a chunk, held noise). mode: "mean" as it is evaluated, "sample" as it explores.
        """
        decide = self.learner.exploit if mode == "mean" else self.learner.explore
        memory: Any = None

        def play(obs: Any, mask: np.ndarray | None = None) -> Any:
            nonlocal memory
            legal = None if mask is None else torch.as_tensor(np.asarray(mask, bool).reshape(1, -1))
            decided, memory = decide(torch.from_numpy(self.obs_map.row(obs)[None]), legal, memory)
            return self.action_map.to_env(decided.action[0].cpu().numpy())

        return play

    def act_rows(self, rows: np.ndarray, mode: str = "mean", mask: np.ndarray | None = None) -> list[Any]:
        """N canonical observation rows [N, D] to N environment actions."""
        action = self.learner.act(torch.from_numpy(rows), mode, self._legal(rows, mask)).action.cpu().numpy()
        return [self.action_map.to_env(row) for row in action]

    def plan_rows(self, rows: np.ndarray, mode: str = "mean", mask: np.ndarray | None = None) -> list[list[Any]]:
        """N canonical observation rows [N, D] to N lists of environment actions."""
        plans = self.learner.plan(torch.from_numpy(rows), mode, self._legal(rows, mask)).cpu().numpy()
        return [[self.action_map.to_env(row) for row in plan] for plan in plans]

    def _legal(self, rows: np.ndarray, mask: np.ndarray | None) -> torch.Tensor | None:
        return None if mask is None else torch.as_tensor(np.asarray(mask, bool).reshape(len(rows), -1))


class LanguagePolicy:
    """A trained language policy on its task: prompt in, text out."""

    def __init__(self, learner: Learner, task: Any) -> None:
        self.learner, self.task = learner, task

    def act(self, prompt: str, mode: str = "mean") -> str:
        """The completion of one prompt; mode "mean" is greedy, "sample" draws at temperature 1."""
        return self.act_rows([prompt], mode)[0]

    def act_rows(self, prompts: list[str], mode: str = "mean") -> list[str]:
        """N prompts to N completions."""
        tokenizer = self.task.tokenizer
        settings = Sampling(max_new=self.task.utterance, temperature=0.0 if mode == "mean" else 1.0)
        seed = int(torch.randint(1 << 62, ()))
        samples = self.learner.speak([tokenizer.encode(prompt) for prompt in prompts], settings, seed)  # type: ignore[operator]
        return [str(tokenizer.decode(tokens)) for tokens in samples.completions()]
