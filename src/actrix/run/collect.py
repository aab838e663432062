"""A policy at work, recorded: whole episodes from fixed starts, in the environment's own units."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from actrix.data.formats import Episode, write_flat, write_minari
from actrix.envs.make import make_env
from actrix.envs.spaces import ObsMap
from actrix.errors import ActrixError, brief
from actrix.evaluate.episodes import checked, episode_seed
from actrix.rng import torch_stream
from actrix.run.folder import disk_errors

SUFFIX = {"minari": "", "d4rl": ".hdf5", "npz": ".npz"}


def record(
    act: Callable[[Any, np.ndarray | None], Any], env: gym.Env, episodes: int, seed: int, first: int = 0
) -> Iterator[Episode]:
    """Play episodes number `first` to `first + episodes - 1`, each from its own start and random stream.

    act: (observation as the environment returned it, legal choices or None) -> action that the environment takes.
    """
    obs_map = ObsMap(env.observation_space)
    for number in range(first, first + episodes):
        start = episode_seed(seed, number)
        with torch_stream(seed, "collect", number):
            obs, info = env.reset(seed=start)
            env.action_space.seed(start)
            seen, done, rewards = [copied(obs)], list[Any](), list[float]()
            while True:
                action = act(obs, info.get("action_mask"))
                obs, reward, terminated, truncated, info = env.step(action)
                if not np.isfinite(obs_map.row(obs)).all():
                    raise ActrixError(
                        f"the environment returned an observation that is not finite at step {len(done)} of episode "
                        f"{number}",
                        "nothing has been written",
                    )
                seen.append(copied(obs))
                done.append(action)
                rewards.append(checked(reward, number, len(done) - 1))
                if terminated or truncated:
                    break
        yield Episode(seen, done, rewards, bool(terminated), bool(truncated), start)


def copied(obs: Any) -> Any:
    """Environments may write the next observation over the last."""
    if isinstance(obs, dict):
        return {key: copied(value) for key, value in obs.items()}
    return tuple(map(copied, obs)) if isinstance(obs, tuple) else np.array(obs)


def collect(
    player: Callable[[], Callable[[Any, np.ndarray | None], Any]],
    env_id: str,
    episodes: int,
    out: Path,
    about: dict[str, Any],
    seed: int = 0,
    kind: str = "minari",
    progress: Callable[[Episode], None] = lambda episode: None,
) -> Path:
    """Record episodes into `out`, which must not be there yet: a Minari folder, or a file .hdf5 (D4RL) or .npz.

    player: () -> act as in `record`, for one episode.
    about: system and mode, for whoever finds the data. Written aside and renamed: it is there whole or not at all.
    """
    if kind not in SUFFIX:
        raise ActrixError(f"--format is {', '.join(SUFFIX)}, not {kind!r}", misuse=True)
    if episodes < 1:
        raise ActrixError(f"--episodes must be at least 1, not {episodes}", misuse=True)
    out = out if out.suffix == SUFFIX[kind] or kind == "minari" else out.with_name(out.name + SUFFIX[kind])
    if out.exists():
        raise ActrixError(f"{out} is already there", "choose another --out, or delete it first", misuse=True)
    aside = out.with_name(f".{out.stem}-{os.getpid()}{out.suffix}")
    env = make_env(env_id)
    spaces = (env.observation_space, env.action_space)

    def played() -> Iterator[Episode]:
        for number in range(episodes):
            for episode in record(player(), env, 1, seed, number):
                progress(episode)
                yield episode

    name = re.sub(r"[^-\w]", "_", out.name)
    said = f"{episodes} episodes of {about['system']} in {env_id}, actions by {about['mode']}, seed {seed}"
    about = {
        **about, "env": env_id, "seed": seed, "description": said,
        "id": name if re.search(r"-v\d+$", name) else f"{name}-v0",
    }  # fmt: skip
    try:
        with disk_errors(str(out)):
            aside.parent.mkdir(parents=True, exist_ok=True)
            if kind == "minari":
                write_minari(aside, played(), spaces, about, env.spec)
            else:
                write_flat(aside, played(), spaces, about)
            aside.rename(out)
    except (ActrixError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise ActrixError(
            f"could not record {env_id} into {out}: {brief(error)}", "nothing has been written"
        ) from error
    finally:
        env.close()
        shutil.rmtree(aside, ignore_errors=True)
        if aside.is_file():
            aside.unlink()
    return out
