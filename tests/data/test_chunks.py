"""Chunks against a walk through every episode, step by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_datasets import ENDS, episodes, flat, read

from actrix.data.chunks import Chunks, Windows
from actrix.data.mixture import Mixture

DISCOUNT = 0.9


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_a_chunk_is_what_was_done_until_its_end_or_the_episodes(length: int, tmp_path: Path) -> None:
    data = read(flat(tmp_path / "data.npz"))
    batch = Chunks(data, length, DISCOUNT).at(torch.arange(len(data)))
    row, ends = 0, 0
    for episode in episodes():
        n = len(episode.reward)
        for t in range(n):
            action, reward = np.zeros((length, 1)), 0.0
            for k in range(min(length, n - t)):
                action[k] = episode.action[t + k] / 2
                reward += DISCOUNT**k * episode.reward[t + k]
            whole = t + length <= n
            np.testing.assert_allclose(batch.action[row], action[:, 0], rtol=1e-6)
            assert batch.reward[row].item() == pytest.approx(reward, rel=1e-5, abs=1e-6)
            np.testing.assert_array_equal(batch.obs[row], episode.obs[t])
            np.testing.assert_array_equal(batch.next_obs[row], episode.obs[min(t + length, n)])
            assert batch.terminated[row].item() == (episode.terminated and t + length >= n)
            assert batch.truncated[row].item() == (episode.truncated and t + length >= n)
            assert batch.valid is not None
            assert batch.valid[row].item() == (whole or episode.terminated)
            ends += not whole
            row += 1
    assert row == len(data) == sum(n for n, _ in ENDS)
    assert ends == sum(min(n, length - 1) for n, _ in ENDS)


def test_chunks_of_one_step_are_transitions(tmp_path: Path) -> None:
    data = read(flat(tmp_path / "data.npz"))
    index = torch.arange(len(data))
    one, plain = Chunks(data, 1, DISCOUNT).at(index), data.at(index)
    for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated"):
        assert torch.equal(getattr(one, name), getattr(plain, name)), name
    assert one.valid is not None
    assert one.valid.all()


def test_chunks_are_drawn_alike_and_mixed(tmp_path: Path) -> None:
    data = read(flat(tmp_path / "data.npz"))
    chunks = Chunks(data, 3, DISCOUNT)
    torch.manual_seed(0)
    drawn = Mixture((chunks, chunks), (1.0, 1.0)).sample(30_000)
    assert drawn.valid is not None
    share = (drawn.obs[:, None] == data.tensor("obs")).all(-1).float().mean(0)
    torch.testing.assert_close(share, torch.full((len(data),), 1 / len(data)), atol=0.006, rtol=0)


def test_windows_make_of_steps_what_chunks_are_of_data(tmp_path: Path) -> None:
    """The recorded episodes, played by two environments side by side, one of which is a step behind and idle in
    between: the same rows. What a barrier cuts off leaves none."""
    data = read(flat(tmp_path / "data.npz"))
    columns = {k: data.tensor(k).numpy() for k in ("obs", "action", "reward", "next_obs", "terminated", "truncated")}
    order = [list(range(0, 9)), [-1, *range(9, 15)]]  # rows of each environment; -1: only a reset
    order[1][3:3] = [-1]  # (between two of its episodes or in the middle of one)
    for length in (2, 3, 6):
        windows, found = Windows(2, length, DISCOUNT), []
        for t in range(max(map(len, order))):
            at = [rows[t] if t < len(rows) else -1 for rows in order]
            made = windows.follow({k: v[at] for k, v in columns.items()}, np.array(at) >= 0)
            found += [{k: v[i] for k, v in made.items()} for i in range(len(next(iter(made.values()), ())))]
        expected = Chunks(data, length, DISCOUNT).at(torch.arange(len(data)))
        assert len(found) == len(data)
        for row in found:
            (at,) = np.flatnonzero((columns["obs"] == row["obs"]).all(1))
            for name, value in row.items():
                np.testing.assert_allclose(value, getattr(expected, name)[at], rtol=1e-6, atol=1e-7, err_msg=name)
        step = {k: v[:2] for k, v in columns.items()}
        alive = {**step, "terminated": np.zeros(2, bool), "truncated": np.zeros(2, bool)}
        assert not windows.follow(alive, np.ones(2, bool))
        windows.forget()
        ends = windows.follow({**alive, "truncated": np.ones(2, bool)}, np.ones(2, bool))
        assert len(ends["reward"]) == 2, "only what began after the barrier"
        assert not ends["valid"].any()
