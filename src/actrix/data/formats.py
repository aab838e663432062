"""Recorded experience as people keep it: Minari, D4RL's HDF5 layout, NPZ. Read in chunks, in the environment's units.

Minari  a folder with metadata.json (or one that holds it under data/), read by the `minari` package
D4RL    *.hdf5, *.h5: observations, actions, rewards, terminals, timeouts; next_observations if there
NPZ     *.npz: obs, action, reward, terminated, truncated; next_obs, env, action_low, action_high if there
        (D4RL's names are understood too)

A folder of HDF5 or NPZ files is one data set in shards, in the order of their names.

`terminated` and `truncated` are never merged. Where a flat file has no successors, that of a row is the row after it;
at a terminal row it is the row itself, as nothing follows; and a row that was cut off (by the clock, or because the
recording ends there) is left out, as what came after it is not known: its observation is still the successor of the
row before, which is then the one that was cut off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from actrix.errors import ActrixError, brief

ROWS = 65_536  # of a flat file, read at a time
NAMES = {  # ours first; then those of D4RL and of Minari
    "obs": ("obs", "observations"),
    "action": ("action", "actions"),
    "reward": ("reward", "rewards"),
    "terminated": ("terminated", "terminals", "terminations"),
    "truncated": ("truncated", "timeouts", "truncations"),
    "next_obs": ("next_obs", "next_observations"),
}
MENDING = "mend or leave out that row; nothing has been trained on it"


def member_of(file: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of an NPZ file. Such files can hold code; it is never run."""
    with file.open(f"{name}.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False)


@dataclass(frozen=True)
class Chunk:
    """n consecutive rows. An observation is an array, or a dict or tuple of arrays, as its space has it."""

    where: Callable[[int], str]  # names a row for a person
    obs: Any  # arrays [n, ...]; [n + 1, ...] where next_obs is None: what followed is the last of them
    next_obs: Any
    action: Any  # [n, ...]
    reward: np.ndarray  # [n]
    terminated: np.ndarray  # [n] bool
    truncated: np.ndarray  # [n] bool
    last: np.ndarray  # [n] bool: the last row of its episode


@dataclass(frozen=True)
class Recording:
    """A data set on disk. `chunks()` reads it from the beginning."""

    path: Path
    format: str
    files: tuple[Path, ...]
    chunks: Callable[[], Iterator[Chunk]]
    spaces: Callable[[], tuple[gym.Space, gym.Space]]  # of observations and actions; ActrixError where not known
    env: str | None = None  # id of the environment it was recorded in

    def fingerprint(self) -> str:
        """A checksum of every byte of its files (and of their names)."""
        digest = hashlib.blake2b(digest_size=16)
        for file in self.files:
            digest.update(f"{file.name}/{file.stat().st_size}/".encode())
            with reading(file), open(file, "rb") as data:
                while block := data.read(1 << 22):
                    digest.update(block)
        return digest.hexdigest()


@contextlib.contextmanager
def reading(path: Path, part: str = "") -> Iterator[None]:
    """What goes wrong while a file is read becomes an ActrixError that names it."""
    try:
        yield
    except ActrixError:
        raise
    except Exception as error:  # zip, zlib, HDF5 and JSON each have their own
        raise ActrixError(
            f"{path}{part and ', ' + part} cannot be read: {brief(error)}",
            "the file is damaged or was cut short: restore it from a copy",
        ) from error


def needs(module: str) -> Any:
    """Import a package of the extra `offline`."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ActrixError(f"this data set needs the package {module!r}", "pip install 'actrix[offline]'") from error


def recording(path: Path | str) -> Recording:
    """The data set at `path`, whatever its format; ActrixError where there is none."""
    path = Path(path)
    if not path.exists():
        raise ActrixError(f"there is no data at {path}", "give a folder or a file that holds a data set", misuse=True)
    for folder in (path, path / "data"):
        if (folder / "metadata.json").is_file():
            return minari(path, folder)
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if not p.name.startswith("."))
    found = {name: [p for p in files if p.suffix in ends] for name, ends in SUFFIXES.items()}
    kinds = [name for name, paths in found.items() if paths]
    if len(kinds) != 1:
        raise ActrixError(
            f"{path} holds {' and '.join(kinds) or 'no data set'}",
            "a data set is a Minari folder (with metadata.json), or .hdf5 files in D4RL's layout, or .npz files",
            misuse=True,
        )
    return flat(path, kinds[0], tuple(found[kinds[0]]))


SUFFIXES = {"D4RL": (".hdf5", ".h5"), "NPZ": (".npz",)}


# -- Minari ---------------------------------------------------------------------------------------------------------


def minari(path: Path, folder: Path) -> Recording:
    """A Minari data set, whichever of its storage formats it has."""
    with reading(folder / "metadata.json"):
        about = json.loads((folder / "metadata.json").read_text())
        spec = json.loads(about["env_spec"]) if about.get("env_spec") else {}
        env = (about.get("actrix") or {}).get("env") or spec.get("id")
        episodes = int(about["total_episodes"])
    files = tuple(sorted(p for p in folder.rglob("*") if p.is_file()))

    def storage() -> Any:
        needs("minari")
        module = needs("minari.dataset.minari_storage")
        with reading(folder):
            return module.MinariStorage.read(folder)

    def chunks() -> Iterator[Chunk]:
        found = storage()
        main = next((f for f in files if f.suffix == ".hdf5"), folder)
        rows = iter(found.get_episodes(range(episodes)))
        for number in range(episodes):
            with reading(main, f"episode {number}"):
                yield episode(main, number, next(rows))

    def spaces() -> tuple[gym.Space, gym.Space]:
        found = storage()
        return found.observation_space, found.action_space

    return Recording(path, "Minari", files, chunks, spaces, env)


def episode(file: Path, number: int, found: dict[str, Any]) -> Chunk:
    """One Minari episode: one observation more than there are actions."""
    reward = np.asarray(found["rewards"])
    terminated, truncated = np.asarray(found["terminations"], bool), np.asarray(found["truncations"], bool)
    n = len(reward)
    lengths = {"observations": size(found["observations"]) - 1, "actions": size(found["actions"])}
    lengths |= {"terminations": len(terminated), "truncations": len(truncated)}
    for name, length in lengths.items():
        if length != n:
            raise ActrixError(
                f"{file}, episode {number}: {name} go with {length:,} steps, but rewards are {n:,}",
                "the file is damaged or was cut short: restore it from a copy",
            )
    last = np.zeros(n, bool)
    last[-1:] = True
    ended = (terminated | truncated)[:-1]
    if ended.any():
        raise ActrixError(
            f"{file}, episode {number}, row {np.flatnonzero(ended)[0]}: ends before its last row",
            "an episode ends once; split it in the file",
        )
    truncated = truncated | (last & ~terminated)  # recorded up to here
    where = f"{file}, episode {number}, row "
    return Chunk(
        lambda row: f"{where}{row}", found["observations"], None, found["actions"], reward, terminated, truncated, last
    )


def size(tree: Any) -> int:
    """Rows of an array, or of the arrays in a dict or tuple (the fewest: the rest would be found by the maps)."""
    inner = list(tree.values()) if isinstance(tree, dict) else list(tree) if isinstance(tree, tuple) else None
    return len(tree) if inner is None else min(map(size, inner), default=0)


# -- flat files -----------------------------------------------------------------------------------------------------


class Table:
    """A flat file: columns by our names, each with a length and slices. Use as a context."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Table:
        with reading(self.path):
            if self.kind == "D4RL":
                self._file: Any = self._stack.enter_context(needs("h5py").File(self.path, "r"))
                self._names = set(self._file)
            else:
                self._file = self._stack.enter_context(zipfile.ZipFile(self.path))
                self._names = {name.removesuffix(".npy") for name in self._file.namelist()}
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def find(self, name: str) -> str | None:
        """What the file calls a column."""
        return next((n for n in NAMES.get(name, (name,)) if n in self._names), None)

    def column(self, name: str) -> Any:
        """An array, or an HDF5 data set, which is read where it is sliced."""
        found = self.find(name)
        if found is None:
            also = " or ".join(map(repr, NAMES[name]))
            merged = {"done", "dones"} & self._names and name in ("terminated", "truncated")
            hint = f"{self.kind} files need {', '.join(n[self.kind == 'D4RL'] for n in list(NAMES.values())[:5])}"
            if merged:
                hint = "'dones' does not say whether the task ended or the clock ran out: give both columns"
            raise ActrixError(f"{self.path} has no column {also}", hint)
        with reading(self.path, f"column {found!r}"):
            if self.kind == "D4RL":
                return self._file[found]
            return member_of(self._file, found)

    def flag(self, name: str, n: int) -> np.ndarray:
        """A column of booleans [n], also where they are kept as 0 and 1."""
        with reading(self.path, f"column {name!r}"):
            values = np.asarray(self.column(name)[:]).reshape(-1)
        odd = np.flatnonzero((values != 0) & (values != 1))
        if len(odd):
            raise ActrixError(f"{self.path}, row {odd[0]}: {name} is {values[odd[0]]}, not true or false", MENDING)
        if len(values) != n:
            raise uneven(self, name, len(values), n)
        return values.astype(bool)


def uneven(table: Table, name: str, found: int, expected: int) -> ActrixError:
    return ActrixError(
        f"{table.path}: column {table.find(name)!r} has {found:,} rows, but {table.find('reward')!r} has {expected:,}",
        "the file is damaged or was cut short: restore it from a copy",
    )


def flat(path: Path, kind: str, files: tuple[Path, ...]) -> Recording:
    """D4RL's or our own columns."""

    def chunks() -> Iterator[Chunk]:
        for file in files:
            with Table(file, kind) as table:
                yield from table_chunks(table)

    def env() -> str | None:
        with Table(files[0], kind) as table:
            return str(np.asarray(table.column("env"))) if kind == "NPZ" and table.find("env") else None

    return Recording(path, kind, files, chunks, lambda: guessed_spaces(files, kind), env())


def table_chunks(table: Table) -> Iterator[Chunk]:
    """The rows of a flat file, with what followed them."""
    columns = {name: table.column(name) for name in ("obs", "action", "reward")}
    n = len(columns["reward"])
    given = table.find("next_obs") is not None
    if given:
        columns["next_obs"] = table.column("next_obs")
    for name, values in columns.items():
        if len(values) != n:
            raise uneven(table, name, len(values), n)
    terminated = table.flag("terminated", n)
    # without successors it must be said where the clock ran out; with them it makes no difference to what is learned
    truncated = table.flag("truncated", n) if not given or table.find("truncated") else np.zeros(n, bool)
    last = terminated | truncated
    last[-1:] = True
    keep = np.ones(n, bool)
    if not given:
        keep = ~last | terminated
        cut = np.flatnonzero(~keep)
        cut = cut[cut > 0] - 1
        cut = cut[~last[cut]]  # the row before was of another episode: nothing is left of this one
        truncated[cut] = last[cut] = True
    for start in range(0, n, ROWS):
        stop = min(start + ROWS, n)
        rows = start + np.flatnonzero(keep[start:stop])
        if not len(rows):
            continue
        at = rows - start
        with reading(table.path, f"rows {start} to {stop - 1}"):
            obs = np.asarray(columns["obs"][start : stop + 1])
            if given:
                following = np.asarray(columns["next_obs"][start:stop])[at]
            else:
                following = obs[np.where(terminated[rows], at, at + 1)]
            action, reward = np.asarray(columns["action"][start:stop])[at], np.asarray(columns["reward"][start:stop])
        yield Chunk(
            lambda row, rows=rows: f"{table.path}, row {rows[row]}",  # type: ignore[misc]
            obs[at], following, action, reward.reshape(-1)[at], terminated[rows], truncated[rows], last[rows],
        )  # fmt: skip


def guessed_spaces(files: Sequence[Path], kind: str) -> tuple[gym.Space, gym.Space]:
    """The spaces of a flat file, where no environment says them."""
    with Table(files[0], kind) as table, reading(files[0]):
        obs, action = table.column("obs"), table.column("action")
        image = obs.dtype == np.uint8
        low, high = (0, 255) if image else (-np.inf, np.inf)
        seen: gym.Space = gym.spaces.Box(low, high, obs.shape[1:], np.uint8 if image else np.float32)
        done: gym.Space
        if action.dtype.kind in "iu":
            most = np.asarray(action[:]).max(0)
            done = gym.spaces.Discrete(int(np.max(most)) + 1) if most.size == 1 else gym.spaces.MultiDiscrete(most + 1)
        else:
            shape = action.shape[1:] or (1,)
            bounds = [table.column(name)[:] if table.find(name) else None for name in ("action_low", "action_high")]
            if bounds[0] is None or bounds[1] is None:
                if np.abs(np.asarray(action[:])).max() > 1 + 1e-6:
                    raise ActrixError(
                        f"the bounds of the actions in {files[0]} are not known: some are beyond -1 and 1",
                        "say which environment it is with --env ID, or add action_low and action_high to the file",
                    )
                bounds = [-np.ones(shape), np.ones(shape)]
            lowest, highest = (np.asarray(b, np.float32).reshape(shape) for b in bounds)
            done = gym.spaces.Box(lowest, highest, dtype=np.float32)
    return seen, done


# -- writing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Episode:
    """One recorded episode, in the environment's own units: one observation more than there are actions."""

    obs: list[Any]
    action: list[Any]
    reward: list[float]
    terminated: bool
    truncated: bool
    seed: int = 0


def write_minari(
    folder: Path, episodes: Iterator[Episode], spaces: tuple[gym.Space, gym.Space], about: dict[str, Any], spec: Any
) -> None:
    """Write `folder`/data as Minari keeps it; `spec` is the environment's EnvSpec or None. Images are kept exactly."""
    module, buffer = needs("minari.dataset.minari_storage"), needs("minari.data_collector.episode_buffer")
    folder = folder.absolute()  # a relative one is doubled by the package where it counts bytes
    (folder / "data").mkdir(parents=True)
    storage = module.MinariStorage.new(folder / "data", *spaces, spec, jpeg_encoding=False)
    storage.update_metadata(
        {
            "dataset_id": about["id"],
            "minari_version": needs("minari").__version__,
            "algorithm_name": about["system"],
            "description": about["description"],
            "actrix": {k: about[k] for k in ("env", "system", "seed", "mode")},
        }
    )
    for e in episodes:
        n = len(e.reward)
        ends = np.arange(n) == n - 1
        storage.update_episodes(
            [
                buffer.EpisodeBuffer(
                    seed=e.seed,
                    observations=stack(e.obs),
                    actions=stack(e.action),
                    rewards=e.reward,
                    terminations=list(ends & e.terminated),
                    truncations=list(ends & e.truncated),
                )
            ]
        )


def stack(values: Sequence[Any]) -> Any:
    """Observations one by one to a tree of arrays."""
    first = values[0]
    if isinstance(first, dict):
        return {key: stack([value[key] for value in values]) for key in first}
    if isinstance(first, tuple):
        return tuple(stack([value[i] for value in values]) for i in range(len(first)))
    return np.stack([np.asarray(value) for value in values])


def write_flat(
    file: Path, episodes: Iterator[Episode], spaces: tuple[gym.Space, gym.Space], about: dict[str, Any]
) -> None:
    """Write NPZ (*.npz) or D4RL's layout (*.hdf5), with what followed every row. Observations must be plain arrays."""
    found = list(episodes)
    if any(isinstance(e.obs[0], dict | tuple) for e in found):
        raise ActrixError("only Minari can hold observations of several parts", "use --format minari", misuse=True)

    def joined(pick: Callable[[Episode], Any]) -> np.ndarray:
        return np.concatenate([np.asarray(pick(e)) for e in found])

    columns = {
        "obs": joined(lambda e: stack(e.obs[:-1])),
        "action": joined(lambda e: stack(e.action)),
        "reward": joined(lambda e: np.asarray(e.reward, np.float32)),
        "terminated": joined(lambda e: (np.arange(len(e.reward)) == len(e.reward) - 1) & e.terminated),
        "truncated": joined(lambda e: (np.arange(len(e.reward)) == len(e.reward) - 1) & e.truncated),
        "next_obs": joined(lambda e: stack(e.obs[1:])),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npz":
        more = {"env": np.array(about["env"])}
        if isinstance(spaces[1], gym.spaces.Box):
            more |= {"action_low": spaces[1].low, "action_high": spaces[1].high}
        np.savez(file, **columns, **more)  # type: ignore[arg-type]
        return
    with needs("h5py").File(file, "w") as out:
        for name, values in columns.items():
            out.create_dataset(NAMES[name][1], data=values)
