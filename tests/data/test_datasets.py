"""Recorded data: what the real packages write is read back, ends are kept apart, damage is named by file and row."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest
import torch
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from actrix.credit import returns_to_go
from actrix.data import datasets
from actrix.data.datasets import Dataset
from actrix.data.formats import Episode, recording, write_flat, write_minari
from actrix.data.mixture import Mixture
from actrix.envs.spaces import Maps
from actrix.errors import ActrixError

OBS, ACT = spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Box(-2.0, 2.0, (1,), np.float32)
ENDS = ((5, True), (3, False), (1, False), (4, True), (2, False))  # length of each episode; terminated, or cut off


def episodes(seed: int = 0) -> list[Episode]:
    rng = np.random.default_rng(seed)
    return [
        Episode(
            list(rng.normal(size=(n + 1, 2)).astype(np.float32)),
            list(rng.uniform(-2, 2, (n, 1)).astype(np.float32)),
            rng.normal(size=n).astype(np.float32).tolist(),
            terminated,
            not terminated,
        )
        for n, terminated in ENDS
    ]


def columns(found: list[Episode]) -> dict[str, np.ndarray]:
    """What should be read, in the plainest way."""
    rows: dict[str, list[Any]] = {k: [] for k in ("obs", "action", "reward", "next_obs", "terminated", "truncated")}
    for e in found:
        n = len(e.reward)
        for t in range(n):
            rows["obs"].append(e.obs[t])
            rows["next_obs"].append(e.obs[t + 1])
            rows["action"].append(e.action[t] / 2)
            rows["reward"].append(e.reward[t])
            rows["terminated"].append(e.terminated and t == n - 1)
            rows["truncated"].append(e.truncated and t == n - 1)
    return {k: np.array(v, np.float32 if k not in ("terminated", "truncated") else bool) for k, v in rows.items()}


def read(path: Path, observation: gym.Space = OBS, action: gym.Space = ACT, **more: Any) -> Dataset:
    return Dataset.open(recording(path), Maps(observation, action), **more)


def flat(path: Path, skip: tuple[str, ...] = (), **changed: Any) -> Path:
    """The same transitions as a flat file; HDF5 with D4RL's names."""
    c = columns(episodes())
    c["action"] = c["action"] * 2
    c = {**{k: v for k, v in c.items() if k not in skip}, **changed}
    if path.suffix == ".npz":
        np.savez(path, **c)
    else:
        names = {"obs": "observations", "action": "actions", "reward": "rewards", "next_obs": "next_observations",
                 "terminated": "terminals", "truncated": "timeouts"}  # fmt: skip
        with h5py.File(path, "w") as file:
            for k, v in c.items():
                file[names[k]] = v
    return path


def same(data: Dataset, expected: dict[str, np.ndarray]) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(data.columns[name], values, rtol=1e-6, atol=1e-7, err_msg=name)
        assert data.columns[name].dtype == values.dtype


# -- round trips ---------------------------------------------


@pytest.mark.parametrize("kind", ["npz", "hdf5", "minari"])
def test_what_we_write_is_read_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "data-v0" if kind == "minari" else tmp_path / f"data.{kind}"
    about = {"env": "Here-v0", "system": "sac", "seed": 0, "mode": "mean", "id": "data-v0", "description": "a test"}
    if kind == "minari":
        write_minari(path, iter(episodes()), (OBS, ACT), about, None)
    else:
        write_flat(path, iter(episodes()), (OBS, ACT), about)
    data = read(path)
    same(data, columns(episodes()))
    returns, lengths = data.scores()
    assert lengths.tolist() == [n for n, _ in ENDS]
    np.testing.assert_allclose(returns, [sum(e.reward) for e in episodes()], rtol=1e-6)
    assert recording(path).env == (None if kind == "hdf5" else "Here-v0")


def test_what_we_write_minari_itself_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"env": "Pendulum-v1", "system": "sac", "seed": 0, "mode": "mean", "id": "data-v3", "description": "a test"}
    spec = gym.spec("Pendulum-v1")
    write_minari(tmp_path / "data-v3", iter(episodes()), (OBS, ACT), about, spec)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    found = minari.load_dataset("data-v3")
    assert found.spec.env_spec.id == "Pendulum-v1"
    assert found.total_episodes == len(ENDS)
    for theirs, ours in zip(found.iterate_episodes(), episodes()):
        np.testing.assert_array_equal(theirs.observations, ours.obs)
        np.testing.assert_array_equal(theirs.actions, ours.action)
        assert theirs.terminations.tolist()[-1] == ours.terminated
        assert theirs.truncations.tolist()[-1] == ours.truncated
        assert not theirs.terminations[:-1].any()


@pytest.mark.parametrize("storage", ["hdf5"])
def test_what_minari_writes_is_read(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With observations of several parts, and discrete actions that do not start at 0."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    seen = spaces.Dict({"place": spaces.Box(-1, 1, (2,), np.float32), "room": spaces.Discrete(3)})
    done = spaces.Discrete(4, start=3)
    rng = np.random.default_rng(0)
    place, room = rng.uniform(-1, 1, (6, 2)).astype(np.float32), rng.integers(0, 3, 6)
    buffer = EpisodeBuffer(
        observations={"place": list(place), "room": list(room)},
        actions=[3, 6, 4, 5, 3],
        rewards=[0.0, 1.0, 2.0, 3.0, 4.0],
        terminations=[False] * 5,
        truncations=[False] * 4 + [True],
    )
    with pytest.warns(UserWarning, match="is set to None"):
        minari.create_dataset_from_buffers(
            "rooms/small-v0", [buffer, buffer], observation_space=seen, action_space=done, data_format=storage
        )
    found = recording(tmp_path / "rooms/small-v0")
    data = Dataset.open(found, Maps(*found.spaces()))
    rows = np.concatenate([place, np.eye(3)[room]], 1)
    np.testing.assert_array_equal(data.columns["obs"], np.concatenate([rows[:-1]] * 2))
    np.testing.assert_array_equal(data.columns["next_obs"], np.concatenate([rows[1:]] * 2))
    assert data.columns["action"][:, 0].tolist() == [0, 3, 1, 2, 0] * 2
    assert data.columns["truncated"].tolist() == ([False] * 4 + [True]) * 2


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    for i in (1, 0):
        write_flat(tmp_path / f"{i}.npz", iter(episodes(i)), (OBS, ACT), {"env": "X-v0"})
    same(read(tmp_path), columns(episodes(0) + episodes(1)))


# -- ends ---------------------------------------------


@pytest.mark.parametrize("kind", ["npz", "hdf5"])
def test_without_successors_they_are_recovered_and_what_is_unknown_is_left_out(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actrix.data.formats.ROWS", 4)  # chunks end within episodes
    data = read(flat(tmp_path / f"data.{kind}", ("next_obs",)))
    whole = columns(episodes())
    starts = np.cumsum([0] + [n for n, _ in ENDS])
    keep, following, cut = [], [], []
    for (n, terminated), start in zip(ENDS, starts):
        rows = list(range(start, start + n - (not terminated)))  # what came after a cut is not in the file
        keep += rows
        following += [min(r + 1, start + n - 1) for r in rows]
        cut += [not terminated and r == rows[-1] for r in rows]
    expected = {k: whole[k][keep] for k in ("obs", "action", "reward", "terminated")}
    expected |= {"next_obs": whole["obs"][following], "truncated": np.array(cut)}
    same(data, expected)
    assert data.scores()[1].tolist() == [5, 2, 4, 1], "the episode of one step has nothing left"
    # no successor lies in another episode
    for i in range(len(data) - 1):
        if not data.columns["terminated"][i]:
            assert (data.columns["next_obs"][i] == data.columns["obs"][i + 1]).all() != data.columns["truncated"][i]


def test_a_recording_that_stops_is_cut_off(tmp_path: Path) -> None:
    n = 4
    obs = np.arange(8, dtype=np.float32).reshape(n, 2)
    nothing = np.zeros(n, bool)
    np.savez(tmp_path / "a.npz", obs=obs, action=np.zeros((n, 1)), reward=np.ones(n), terminated=nothing,
             truncated=nothing)  # fmt: skip
    data = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(data.columns["next_obs"], obs[1:])
    assert data.columns["truncated"].tolist() == [False, False, True]
    assert not data.columns["terminated"].any()


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_returns_to_go(discount: float) -> None:
    """Against sums: to the end, or with the last reward for ever (as far as counts)."""
    found = episodes()
    c = columns(found)
    last = c["terminated"] | c["truncated"]
    expected = []
    for e in found:
        rewards = e.reward + ([e.reward[-1]] * 400 if discount < 1 and not e.terminated else [])
        expected += [sum(discount**k * r for k, r in enumerate(rewards[t:])) for t in range(len(e.reward))]
    np.testing.assert_allclose(returns_to_go(c["reward"], c["terminated"], last, discount), expected, rtol=1e-4)


# -- memory maps ---------------------------------------------


def test_large_data_are_memory_mapped_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = flat(tmp_path / "data.npz")
    data = read(path, large=0)
    same(data, columns(episodes()))
    assert all(isinstance(v, np.memmap) for v in data.columns.values())
    monkeypatch.setattr(datasets, "convert", lambda *a: pytest.fail("converted again"))
    again = read(path, large=0)
    same(again, columns(episodes()))
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = next((tmp_path / "cache").rglob("reward.bin"))
    with open(file, "r+b") as out:
        out.write(b"\xff\xff")
    same(read(path, large=0), columns(episodes()))  # a damaged copy is made anew
    index = torch.tensor([3, 0, 7])
    batch, plain = data.at(index), read(path).at(index)
    assert torch.equal(batch.obs, plain.obs)
    assert torch.equal(batch.next_obs, plain.next_obs)


def test_the_fingerprint_sees_every_byte(tmp_path: Path) -> None:
    path = flat(tmp_path / "data.hdf5")
    before = recording(path).fingerprint()
    assert recording(path).fingerprint() == before
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) - 1)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    assert recording(path).fingerprint() != before


# -- damage ---------------------------------------------


def bad(column: str, row: int, value: float) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        c = columns(episodes())
        c["action"] = c["action"] * 2
        c[column].reshape(len(c["reward"]), -1)[row, -1] = value
        return {column: c[column]}

    return make


DAMAGE: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "obs": (bad("obs", 7, np.nan), r"data\.\w+, row 7: observation\[1\] is nan"),
    "next_obs": (bad("next_obs", 2, np.inf), r"data\.\w+, row 2: the observation after it\[1\] is inf"),
    "reward": (bad("reward", 11, -np.inf), r"data\.\w+, row 11: reward is -inf"),
    "action": (bad("action", 0, np.nan), r"data\.\w+, row 0: action is nan"),
    "flag": (lambda: {"terminated": np.arange(15.0)}, r"data\.\w+, row 2: terminated is 2.0, not true or false"),
    "short": (lambda: {"obs": np.zeros((9, 2), np.float32)}, r"column '\w+' has 9 rows, but '\w+' has 15"),
    "shape": (lambda: {"obs": np.zeros((15, 3), np.float32)}, r"row 0: observations have the shape \(3,\), not \(2,\)"),
    "width": (lambda: {"action": np.zeros((15, 2))}, r"row 0: actions have 2 numbers, not 1"),
}


@pytest.mark.parametrize("kind", ["npz", "hdf5"])
@pytest.mark.parametrize("name", DAMAGE)
def test_bad_rows_are_named(name: str, kind: str, tmp_path: Path) -> None:
    changes, says = DAMAGE[name]
    path = flat(tmp_path / f"data.{kind}", **changes())
    with pytest.raises(ActrixError, match=says) as caught:
        read(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_bad_rows_of_minari_are_named(tmp_path: Path) -> None:
    about = {"env": "X-v0", "system": "sac", "seed": 0, "mode": "mean", "id": "data-v0", "description": ""}
    write_minari(tmp_path / "d", iter(episodes()), (OBS, ACT), about, None)
    main = tmp_path / "d/data/main_data.hdf5"
    with h5py.File(main, "r+") as file:
        file["episode_3/observations"][2, 1] = np.nan
    with pytest.raises(ActrixError, match=r"main_data.hdf5, episode 3, row 2: observation\[1\] is nan"):
        read(tmp_path / "d")
    with h5py.File(main, "r+") as file:
        file["episode_3/observations"][2, 1] = 0
        file["episode_1/rewards"].resize((2,))
    with pytest.raises(ActrixError, match=r"episode 1: observations go with 3 steps, but rewards are 2"):
        read(tmp_path / "d")
    with h5py.File(main, "r+") as file:
        del file["episode_1"]
    with pytest.raises(ActrixError, match=r"main_data.hdf5, episode 1 cannot be read"):
        read(tmp_path / "d")


def test_a_choice_that_is_none_is_named(tmp_path: Path) -> None:
    path = flat(tmp_path / "data.npz", action=np.where(np.arange(15) == 9, 4, 1))
    assert read(path, action=spaces.Discrete(5)).columns["action"].shape == (15, 1)
    with pytest.raises(ActrixError, match=r"data.npz, row 9: action \[4\] is not among the choices of Discrete\(4\)"):
        read(path, action=spaces.Discrete(4))


@pytest.mark.parametrize("kind", ["npz", "hdf5", "minari"])
def test_a_file_that_was_cut_short_is_named(kind: str, tmp_path: Path) -> None:
    if kind == "minari":
        about = {"env": "X-v0", "system": "sac", "seed": 0, "mode": "mean", "id": "data-v0", "description": ""}
        write_minari(tmp_path / "d", iter(episodes()), (OBS, ACT), about, None)
        path, file = tmp_path / "d", tmp_path / "d/data/main_data.hdf5"
    else:
        path = file = flat(tmp_path / f"data.{kind}")
    size = file.stat().st_size
    for part in (0.9, 0.5, 0.1, 0.0):
        os.truncate(file, int(size * part))
        with pytest.raises(ActrixError, match=r"cannot be read|no column") as caught:
            read(path)
        assert file.name in caught.value.message
        assert "restore" in caught.value.hint


def test_a_changed_byte_in_an_npz_is_found(tmp_path: Path) -> None:
    path = flat(tmp_path / "data.npz")
    data = bytearray(path.read_bytes())
    data[data.index(columns(episodes())["obs"].tobytes()[:16]) + 3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ActrixError, match=r"data.npz, column 'obs' cannot be read: BadZipFile: Bad CRC-32"):
        read(path)


def test_a_pickle_in_an_npz_is_refused(tmp_path: Path) -> None:
    path = flat(tmp_path / "data.npz", reward=np.array([{}] * 15, object))
    with pytest.raises(ActrixError, match="column 'reward' cannot be read: ValueError: Object arrays cannot be loaded"):
        read(path)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ActrixError, match="there is no data at") as caught:
        recording(tmp_path / "nowhere")
    assert caught.value.misuse
    with pytest.raises(ActrixError, match="holds no data set"):
        recording(tmp_path)
    path = flat(tmp_path / "data.npz", ("terminated", "truncated"), dones=np.zeros(15, bool))
    with pytest.raises(ActrixError, match="no column 'terminated'") as caught:
        read(path)
    assert "'dones' does not say" in caught.value.hint
    path = flat(tmp_path / "data.npz", ("truncated", "next_obs"))
    with pytest.raises(ActrixError, match="no column 'truncated' or 'timeouts'"):
        read(path)
    same(read(flat(tmp_path / "data.npz", ("truncated",))), {"obs": columns(episodes())["obs"]})  # not needed then
    np.savez(path, obs=np.zeros((0, 2)), action=np.zeros((0, 1)), reward=[], terminated=[], truncated=[])
    with pytest.raises(ActrixError, match="holds no transitions"):
        read(path)
    flat(tmp_path / "other.hdf5")
    with pytest.raises(ActrixError, match="holds D4RL and NPZ"):
        recording(tmp_path)
    (tmp_path / "metadata.json").write_text(json.dumps({})[:-1])
    with pytest.raises(ActrixError, match=r"metadata.json cannot be read"):
        recording(tmp_path)


def test_unknown_bounds_are_asked_for(tmp_path: Path) -> None:
    path = flat(tmp_path / "data.npz")
    with pytest.raises(ActrixError, match="bounds of the actions"):
        recording(path).spaces()
    path = flat(tmp_path / "data.npz", action_low=np.full(1, -2.0), action_high=np.full(1, 2.0))
    assert recording(path).spaces()[1] == ACT
    path = flat(tmp_path / "data.npz", action=np.arange(15) % 3)
    assert recording(path).spaces()[1] == spaces.Discrete(3)


def test_actions_beyond_the_bounds_are_counted(tmp_path: Path) -> None:
    action = np.zeros((15, 1), np.float32)
    action[[2, 5]] = [[3.0], [-2.5]]
    data = read(flat(tmp_path / "data.npz", action=action))
    assert data.clipped == 2
    assert data.columns["action"][[2, 5], 0].tolist() == [1.0, -1.0]


# -- mixtures ---------------------------------------------


class Constant:
    """A source whose observations say which one it is."""

    def __init__(self, value: float) -> None:
        self.value = value

    def sample(self, n: int) -> Any:
        from actrix.data.batches import Transitions

        x, flag = torch.full((n, 1), self.value), torch.zeros(n, dtype=torch.bool)
        return Transitions(x, x, x[:, 0], x, flag, flag, returns=x[:, 0] if self.value else None)


def test_a_mixture_keeps_its_proportions() -> None:
    torch.manual_seed(0)
    weights = (0.55, 0.3, 0.0, 0.15)
    mixture = Mixture([Constant(float(i)) for i in range(4)], weights)
    drawn = []
    for _ in range(2000):
        batch = mixture.sample(10)
        assert len(batch) == 10
        counts = [int((batch.reward == i).sum()) for i in range(4)]
        assert all(abs(c - 10 * w) < 1 for c, w in zip(counts, weights))
        drawn.append(counts)
    np.testing.assert_allclose(np.mean(drawn, 0), 10 * np.array(weights), atol=0.05)


def test_weights_need_not_sum_to_one_and_one_source_is_passed_through() -> None:
    torch.manual_seed(0)
    for scale, n in itertools.product((1e-3, 7.0), (1, 64)):
        mixture = Mixture([Constant(1.0), Constant(2.0)], (scale, 3 * scale))
        counts = np.mean([mixture.counts(n) for _ in range(3000)], 0)
        np.testing.assert_allclose(counts, [n / 4, 3 * n / 4], atol=0.03 * n**0.5 + 0.01)
    assert Mixture([Constant(1.0), Constant(2.0)], (0.0, 1.0)).sample(5).reward.tolist() == [2.0] * 5
    # an optional column stays where all have it
    assert Mixture([Constant(1.0), Constant(2.0)], (1, 1)).sample(8).returns is not None
    assert Mixture([Constant(0.0), Constant(2.0)], (1, 1)).sample(8).returns is None
