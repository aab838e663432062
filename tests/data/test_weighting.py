"""Chances of rows against the definition, and draws against the chances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_datasets import ENDS, episodes, flat, read

from actrix import registry
from actrix.claims.recordings import written
from actrix.data.chunks import Chunks
from actrix.data.datasets import Dataset
from actrix.data.formats import Episode
from actrix.data.weighting import Weighted, chances, counted, positive_variance
from actrix.errors import ActrixError
from actrix.rng import torch_stream
from actrix.run.offline import DatasetFeed, Recorded
from actrix.run.trainer import RunOptions, Trainer

LENGTHS = [n for n, _ in ENDS]


def by_episode(data: Dataset, chance: np.ndarray) -> np.ndarray:
    """The chance of every episode, whose rows are equally likely."""
    parts = np.split(chance, data.starts[1:-1])
    assert all((part == part[0]).all() for part in parts)
    return np.array([part.sum() for part in parts])


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_rows_are_weighted_by_the_return_of_their_episode(alpha: float, tmp_path: Path) -> None:
    data = read(flat(tmp_path / "data.npz"))
    returns = np.array([np.sum(e.reward, dtype=np.float64) for e in episodes()])
    scaled = (returns - returns.min()) / (returns.max() - returns.min())
    expected = np.exp(scaled / alpha) * LENGTHS
    found = by_episode(data, chances(data, "return", alpha))
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(by_episode(data, chances(data, "evenly", alpha)), np.array(LENGTHS) / sum(LENGTHS))


def test_neither_scale_nor_offset_of_the_rewards_matters(tmp_path: Path) -> None:
    rewards = np.concatenate([np.full(n, r / n, np.float32) for n, r in zip(LENGTHS, (3.0, -1.0, 0.5, 2.0, 1.0))])
    plain = read(flat(tmp_path / "plain.npz", reward=rewards))
    large = read(flat(tmp_path / "large.npz", reward=1000 * rewards))
    np.testing.assert_allclose(chances(large, "return", 0.1), chances(plain, "return", 0.1), rtol=1e-4)
    same = read(flat(tmp_path / "same.npz", reward=np.zeros(sum(LENGTHS), np.float32)))
    for way in ("return", "advantage"):
        np.testing.assert_allclose(chances(same, way, 0.1), 1 / sum(LENGTHS))


def test_top_keeps_the_best_episodes_and_at_least_one(tmp_path: Path) -> None:
    """Of returns 3, -1, 0.5, 2, 1 and lengths 5, 3, 1, 4, 2 the order is 0, 3, 4, 2, 1, of 15 rows in all."""
    rewards = np.concatenate([np.full(n, r / n, np.float32) for n, r in zip(LENGTHS, (3.0, -1.0, 0.5, 2.0, 1.0))])
    data = read(flat(tmp_path / "data.npz", reward=rewards))
    for share, kept in ((0.01, [0]), (5 / 15, [0]), (0.4, [0, 3]), (0.7, [0, 3, 4]), (1.0, [0, 1, 2, 3, 4])):
        expected = np.where(np.isin(np.arange(5), kept), LENGTHS, 0.0)
        np.testing.assert_allclose(by_episode(data, chances(data, "top", share)), expected / expected.sum())


def lucky(skill: np.ndarray, start: np.ndarray, tmp_path: Path) -> Dataset:
    """Episodes of one step whose return is 10 x their start + skill."""
    found = [
        Episode([np.array([s, 0.0], np.float32)] * 2, [np.zeros(2, np.float32)], [10 * s + k], True, False)
        for s, k in zip(start, skill)
    ]
    recorded = Recorded((str(written(tmp_path / "data.npz", "actrix.claims.forks:Forks-v0", found)),))
    return recorded.read(recorded.maps())[0]


def test_advantage_does_not_reward_a_lucky_start(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    start, skill = rng.uniform(-1, 1, 200), rng.choice([0.0, 1.0], 200)
    skill -= np.polyval(np.polyfit(start, skill, 1), start)  # what a line says of it is put down to luck
    data = lucky(skill, start, tmp_path)
    scaled = np.exp((skill - skill.min()) / np.ptp(skill) / 0.1)
    np.testing.assert_allclose(chances(data, "advantage", 0.1), scaled / scaled.sum(), rtol=1e-4)
    by_luck = chances(data, "return", 0.1)
    assert by_luck[start > 0.8].sum() > 0.6 > 0.2 > chances(data, "advantage", 0.1)[start > 0.8].sum()


def test_too_few_episodes_have_no_advantages(tmp_path: Path) -> None:
    data = lucky(np.zeros(3), np.arange(3.0), tmp_path)
    with pytest.raises(ActrixError, match="advantages of 3 episodes"):
        chances(data, "advantage", 0.1)


@pytest.mark.parametrize("length", [1, 3])
def test_rows_and_chunks_are_drawn_by_their_chances(length: int, tmp_path: Path) -> None:
    data = read(flat(tmp_path / "data.npz"))
    chance = np.array([0.0, *np.arange(1.0, 14.0), 0.0])
    source = Weighted(data if length == 1 else Chunks(data, length, 0.9), chance)
    torch.manual_seed(0)
    drawn = source.sample(40_000)
    which = (drawn.obs[:, None] == data.tensor("obs")).all(-1)
    share = which.double().mean(0)
    torch.testing.assert_close(share, torch.from_numpy(chance / chance.sum()), atol=0.006, rtol=0)
    assert not share[[0, -1]].any(), "what has no chance is never drawn"
    assert drawn.action.shape[1] == length
    np.testing.assert_allclose(drawn.reward, (data if length == 1 else source.source).at(which.int().argmax(1)).reward)


def test_figures_of_a_data_set(tmp_path: Path) -> None:
    assert positive_variance(np.array([0.0, 0.0, 0.0, 4.0])) == pytest.approx(9 / 4)
    assert positive_variance(np.full(7, 3.0)) == 0
    data = read(flat(tmp_path / "data.npz"))
    assert counted(np.repeat(1 / np.array(LENGTHS), LENGTHS) / 5, data) == pytest.approx(5)
    assert counted(np.repeat([1.0, 0, 0, 0, 0], LENGTHS) / LENGTHS[0], data) == pytest.approx(1)


def learned(path: Path, system: str, way: str, alpha: float = 0.1) -> tuple[Trainer, torch.Tensor]:
    """A run of a few updates, and rows as it draws them."""
    options = RunOptions(data=(str(path),), steps=3, weigh=way, weigh_alpha=alpha, compile="no", threads=1)
    trainer = Trainer.start(system, options, registry.load(system).config(hidden=(8,), batch=16))
    list(trainer)
    trainer.close()
    assert isinstance(trainer.feed, DatasetFeed)
    return trainer, trainer.feed.data.sample(200).obs


def test_every_system_can_be_told_to_weigh_and_the_system_does_by_itself(tmp_path: Path) -> None:
    path = flat(
        tmp_path / "data.npz", env=np.array("Nowhere-v0"), action_low=np.array([-2.0]), action_high=np.array([2.0])
    )
    best = int(np.argmax([sum(e.reward) for e in episodes()]))
    rows = {tuple(obs.tolist()) for obs in episodes()[best].obs}
    for system in ("td3-bc", "iql", "bc", "qgf"):
        for way, only in (("top", True), ("auto", False)):
            drawn = {tuple(row.tolist()) for row in learned(path, system, way, 0.01)[1]}
            assert (drawn <= rows) == only, (system, way)
    told, plain = learned(path, "td3-bc", "return")[0], learned(path, "trajectory-weighting", "auto")[0]
    for name, value in told.learner.state().items():
        assert torch.equal(value, plain.learner.state()[name]), name
    evenly, ablated = learned(path, "td3-bc", "auto")[0], learned(path, "trajectory-weighting", "evenly")[0]
    for name, value in evenly.learner.state().items():
        assert torch.equal(value, ablated.learner.state()[name]), name
    assert "drawn by return: as varied as" in told.regime.remark
    assert "drawn by" not in evenly.regime.remark


def test_what_makes_no_sense_is_said(tmp_path: Path) -> None:
    path = str(flat(tmp_path / "data.npz", env=np.array("Nowhere-v0")))
    for settings, says in (
        ({"weigh": "best"}, "--weigh is evenly, return"),
        ({"weigh": "top", "weigh_alpha": 0.0}, "--weigh-alpha must be at least"),
    ):
        with pytest.raises(ActrixError, match=says):
            Trainer.start("td3-bc", RunOptions(data=(path,), steps=1, **settings))  # type: ignore[arg-type]
    with pytest.raises(ActrixError, match="--weigh goes with --data"):
        Trainer.start("sac", RunOptions(env="Pendulum-v1", steps=1, weigh="return"))


def test_a_draw_is_a_function_of_its_stream() -> None:
    class Numbers:
        def __len__(self) -> int:
            return 4

        def at(self, index: torch.Tensor) -> torch.Tensor:
            return index

    source = Weighted(Numbers(), np.array([1.0, 2.0, 3.0, 4.0]))  # type: ignore[arg-type]
    with torch_stream(0, "draw"):
        one = source.sample(50)
    with torch_stream(0, "draw"):
        assert torch.equal(one, source.sample(50))  # type: ignore[arg-type]
