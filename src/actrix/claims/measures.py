"""What several claims measure about a finished run besides its score."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from actrix.claims.claim import Training

NEGLIGIBLE = 0.01  # of a discounted return: what may lie beyond a time limit


def late_return(run: Training) -> float:
    """Mean return of the training episodes that ended in the second half of the budget."""
    return float(np.mean([value for step, value, _ in run.episodes if step > run.trainer.options.steps / 2]))


def judged_states(run: Training, env: str | None = None, episodes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """(Q_1(s, mu(s)), true discounted return) of the greedy policy at every state that it visits: two arrays [N].

    A state counts only if its return is known: its episode terminated, or went on for so long that what follows
    weighs less than `NEGLIGIBLE`. `env` is where to look, if not where the run was trained (a longer time limit).
    Raises ValueError where no state counts.
    """
    import torch

    from actrix.envs.many import make_worlds
    from actrix.rng import seed_of

    learner, options = run.trainer.learner, run.trainer.options
    assert options.env is not None
    discount = float(learner.config.discount)
    beyond = math.ceil(math.log(NEGLIGIBLE) / math.log(discount))
    worlds = make_worlds(env or options.env, episodes)
    rewards: list[list[float]] = [[] for _ in range(episodes)]
    values: list[list[float]] = [[] for _ in range(episodes)]
    playing, terminated = np.ones(episodes, bool), np.zeros(episodes, bool)
    obs, _ = worlds.reset([seed_of(options.seed, "judged states", i) % 2**31 for i in range(episodes)])
    while playing.any():
        seen = torch.from_numpy(obs)
        action = learner.act(seen, "mean").action
        with torch.no_grad():
            value = learner.critic(learner.perceive(seen), action).members[0]  # type: ignore[operator]
        out = worlds.step(action.numpy())
        for i in np.flatnonzero(playing).tolist():
            values[i].append(float(value[i]))
            rewards[i].append(float(out.reward[i]))
        terminated |= playing & out.terminated
        playing &= ~(out.terminated | out.truncated)
        obs = out.obs
    worlds.close()
    estimates: list[float] = []
    returns: list[float] = []
    for i in range(episodes):
        follows, whole = 0.0, []
        for reward in reversed(rewards[i]):
            follows = reward + discount * follows
            whole.append(follows)
        known = len(whole) if terminated[i] else max(0, len(whole) - beyond)
        estimates += values[i][:known]
        returns += whole[::-1][:known]
    if not returns:
        raise ValueError(f"no state of {env or options.env} has a known return: its time limit is too short")
    return np.array(estimates), np.array(returns)


def value_bias(run: Training) -> float:
    """Mean of (Q_1 - true return) over the states that the greedy policy visits, per mean size of that return."""
    estimates, returns = judged_states(run)
    return float((estimates - returns).mean() / np.abs(returns).mean())


@dataclass(frozen=True)
class Played:
    """N whole episodes, side by side: T steps of the longest."""

    obs: np.ndarray  # [T, N, D]
    next_obs: np.ndarray  # [T, N, D]
    reward: np.ndarray  # [T, N]
    within: np.ndarray  # [T, N] bool: the episode was not yet over
    terminated: np.ndarray  # [N] bool

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted [N]."""
        return np.asarray((self.reward * self.within).sum(0))

    @property
    def last(self) -> np.ndarray:
        """Where each episode ended [N, D]."""
        return np.asarray(self.next_obs[self.within.sum(0) - 1, np.arange(self.within.shape[1])])


def played(run: Training, episodes: int, sampled: bool = False) -> Played:
    """Episodes of a finished run's policy in the environment that it was trained in: as it is evaluated, or, `sampled`,
    as it explores. Their starts are those of no training; the same at every call."""
    import torch

    from actrix.envs.many import batched, make_worlds
    from actrix.rng import seed_of, torch_stream

    learner, options = run.trainer.learner, run.trainer.options
    assert options.env is not None
    worlds = make_worlds(options.env, episodes, vector="batched" if batched(options.env) else "local")
    decide = learner.explore if sampled else learner.exploit
    rows: list[tuple[np.ndarray, ...]] = []
    playing, terminated, memory = np.ones(episodes, bool), np.zeros(episodes, bool), None
    obs, mask = worlds.reset([seed_of(options.seed, "played", i) % 2**31 for i in range(episodes)])
    with torch_stream(options.seed, "played"):
        while playing.any():
            legal = None if mask is None else torch.from_numpy(mask)
            decided, memory = decide(torch.from_numpy(obs), legal, memory)
            out = worlds.step(decided.action.numpy())
            rows.append((obs.copy(), out.next_obs.copy(), out.reward.copy(), playing.copy()))
            terminated |= playing & out.terminated
            ended = out.terminated | out.truncated
            memory = learner.actor.forget(memory, torch.from_numpy(ended))
            playing &= ~ended
            obs, mask = out.obs, out.mask
    worlds.close()
    seen, reached, reward, within = (np.stack(column) for column in zip(*rows))
    return Played(seen, reached, reward, within, terminated)
