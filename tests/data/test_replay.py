"""Replay: what is in the window, that it is drawn uniformly, and that it survives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from actrix.data.batches import Steps, Transitions
from actrix.data.replay import Newest, Replay
from actrix.errors import ActrixError
from actrix.rng import torch_stream
from actrix.spec import Choices, vector_spec

SPEC = vector_spec(2, 1)


def fill(replay: Replay, start: int, n: int) -> None:
    """n rows in which every column tells the row's number."""
    number = np.arange(start, start + n, dtype=np.float32)
    replay.add(
        obs=np.stack((number, -number), 1), action=number[:, None],
        reward=number, next_obs=np.stack((number + 1, -number - 1), 1),
        terminated=number % 3 == 0, truncated=number % 5 == 0,
    )  # fmt: skip


@pytest.mark.parametrize("slack", [0, 7])
@pytest.mark.parametrize("chunk", [1, 3, 10])
def test_the_window_is_the_last_rows_in_order(slack: int, chunk: int) -> None:
    replay = Replay(SPEC, 10, slack=slack)
    for start in range(0, 60, chunk):
        fill(replay, start, chunk)
        total = start + chunk
        expected = list(range(max(0, total - 10), total))
        rows = replay.tensors()
        assert rows["reward"].tolist() == expected
        assert rows["obs"][:, 1].tolist() == [-x for x in expected]
        assert rows["terminated"].tolist() == [x % 3 == 0 for x in expected]
        assert len(replay) == len(expected)
    batch = replay.sample(1000)
    assert set(batch.reward.tolist()) == set(expected)  # the slack is never drawn
    assert torch.equal(batch.next_obs[:, 0], batch.reward + 1)
    assert torch.equal(batch.action[:, 0], batch.reward)
    assert torch.equal(batch.truncated, batch.reward % 5 == 0)


def test_sampling_is_uniform_and_repeatable() -> None:
    replay = Replay(SPEC, 50, slack=13)
    fill(replay, 0, 30)
    fill(replay, 30, 55)
    n = 50_000
    with torch_stream(0, "test"):
        first = replay.sample(n).reward
    with torch_stream(0, "test"):
        assert torch.equal(replay.sample(n).reward, first)
    counts = np.bincount(first.long().numpy() - 35, minlength=50)
    chi = ((counts - n / 50) ** 2 / (n / 50)).sum()
    assert 23.98 < chi < 85.35  # 0.1 % to 99.9 % of chi-square with 49 degrees of freedom


def test_the_newest_rows_alone_are_sampled_uniformly() -> None:
    replay = Replay(SPEC, 50, slack=13)
    fill(replay, 0, 30)
    assert len(set(Newest(replay, 100).sample(5_000).reward.tolist())) == 30, "all, if there are no more"
    fill(replay, 30, 55)
    n = 20_000
    counts = np.bincount(Newest(replay, 10).sample(n).reward.long().numpy() - 75, minlength=10)
    chi = ((counts - n / 10) ** 2 / (n / 10)).sum()
    assert 1.15 < chi < 27.88  # 0.1 % to 99.9 % of chi-square with 9 degrees of freedom


def test_slack_keeps_a_checkpoint_whole_while_the_run_goes_on(tmp_path: Path) -> None:
    replay = Replay(SPEC, 10, tmp_path, slack=6)
    fill(replay, 0, 14)
    state = replay.state()
    fill(replay, 14, 6)  # as far as the slack goes, and then the process is killed
    resumed = Replay(SPEC, 10, tmp_path, slack=6)
    resumed.load(state)
    assert resumed.tensors()["reward"].tolist() == list(range(4, 14))
    fill(resumed, 100, 3)
    assert resumed.tensors()["reward"].tolist() == [*range(7, 14), 100, 101, 102]


def test_without_enough_slack_the_damage_is_noticed(tmp_path: Path) -> None:
    replay = Replay(SPEC, 10, tmp_path, slack=2)
    fill(replay, 0, 14)
    state = replay.state()
    fill(replay, 14, 3)
    resumed = Replay(SPEC, 10, tmp_path, slack=2)
    with pytest.raises(ActrixError, match="does not match its checkpoint"):
        resumed.load(state)


@pytest.mark.parametrize("column", ["obs", "action", "reward", "next_obs", "terminated", "truncated"])
def test_a_flipped_byte_is_named(tmp_path: Path, column: str) -> None:
    replay = Replay(SPEC, 8, tmp_path, slack=4)
    fill(replay, 0, 11)
    state = replay.state()
    del replay
    path = tmp_path / f"{column}.bin"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ActrixError, match=f"{column}.bin"):
        Replay(SPEC, 8, tmp_path, slack=4).load(state)


def test_masks_are_kept_for_both_observations(tmp_path: Path) -> None:
    spec = vector_spec(2, Choices((3,), "discrete", (0,)))
    replay = Replay(spec, 4, tmp_path, masks=True)
    now, after = np.eye(3, dtype=bool)[[0, 1]], ~np.eye(3, dtype=bool)[[0, 1]]
    zero, flag = np.zeros((2, 2), np.float32), np.zeros(2, bool)
    replay.add(
        obs=zero, action=np.array([[0], [2]]), reward=zero[:, 0], next_obs=zero,
        terminated=flag, truncated=flag, mask=now, next_mask=after,
    )  # fmt: skip
    batch = replay.at(torch.tensor([1, 0]))
    assert batch.action.dtype == torch.int64
    assert batch.mask is not None
    assert batch.next_mask is not None
    assert torch.equal(batch.mask, torch.from_numpy(now[::-1].copy()))
    assert torch.equal(batch.next_mask, ~batch.mask)
    assert Replay(spec, 4).at(torch.tensor([0])).mask is None


def test_batches_index_every_column_and_keep_scalars() -> None:
    x = torch.arange(6.0)
    batch = Transitions(x[:, None], x[:, None], x, x[:, None], x > 2, x > 4)
    part = batch[torch.tensor([4, 1])]
    assert len(part) == 2
    assert part.reward.tolist() == [4.0, 1.0]
    assert part.terminated.tolist() == [True, False]
    assert part.mask is None
    y, flag = x[:, None], x[:, None] > 3
    steps = Steps(y[..., None], y, y, y, flag, flag, flag, total=torch.tensor(6))
    assert steps[1:3].total == 6
    assert len(steps[1:3]) == 2


def test_batches_pass_through_a_compiled_graph() -> None:
    from torch.utils import _pytree

    x = torch.arange(3.0)
    batch = Transitions(x[:, None], x[:, None], x, x[:, None], x > 2, x > 4)
    leaves, spec = _pytree.tree_flatten(batch)
    assert len([leaf for leaf in leaves if leaf is not None]) == 6
    again = _pytree.tree_unflatten(leaves, spec)
    assert isinstance(again, Transitions)
    assert torch.equal(again.reward, x)
