"""SPO: win rates by brute force, whole trajectories, and a judge who is all that is learned from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from worlds import name

from actrix.claims.variants.contests import Modelled
from actrix.data.contests import Contest, above, worth
from actrix.errors import ActrixError
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.preference.spo import Config

HOMING = "actrix.claims.worlds:Homing-v0"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [1, 3, 4, 7, 50])
def test_win_rates_by_brute_force(size: int) -> None:
    """Against the latest `size` of all others, one after another, over several rounds; ties are a half."""
    contest = Contest(size)
    scores = torch.randint(6, (30,), generator=generator()).double()
    asked = 0
    for start in range(0, 30, 5):
        found = contest.enter(scores[start : start + 5], generator())
        everyone = (scores[max(0, start - size) : start + 5]).tolist()
        for i in range(5):
            place = len(everyone) - 5 + i
            others = [s for j, s in enumerate(everyone) if j != place][-size:]
            asked += len(others)
            wins = [1.0 if everyone[place] > s else 0.5 if everyone[place] == s else 0.0 for s in others]
            assert float(found[i]) == pytest.approx(sum(wins) / len(wins))
        assert contest.asked == asked
        assert torch.equal(contest.queue, scores[: start + 5][-size:])


def test_a_lone_trajectory_wins_half_and_rates_of_a_round_add_up() -> None:
    assert float(Contest(5).enter(torch.ones(1), generator())) == 0.5
    rates = Contest(7).enter(torch.randn(8, generator=generator()), generator())
    assert float(rates.mean()) == pytest.approx(0.5), "every game has one winner"
    assert sorted(rates.tolist()) == pytest.approx([i / 7 for i in range(8)])


def test_noise_turns_answers_round_at_its_rate() -> None:
    contest = Contest(2000, noise=0.2)
    wins, meets = contest.compare(torch.cat((torch.zeros(1000), torch.ones(1000))), generator())
    right = wins[1000:, :1000]
    assert bool(meets[1000:, :1000].all())
    assert float(right.mean()) == pytest.approx(0.8, abs=0.005)
    assert set(right.unique().tolist()) == {0.0, 1.0}


def test_any_judge_may_be_asked() -> None:
    """Stone, paper, scissors, as rows of what is shown: nobody wins more than half among equal shares."""

    def judge(first: Tensor, second: Tensor) -> Tensor:
        ahead = (first.argmax(-1) - second.argmax(-1)) % 3
        return torch.where(ahead == 0, 0.5, torch.where(ahead == 1, 1.0, 0.0)).double()

    contest = Contest(100, judge)
    first = contest.enter(torch.eye(3).repeat(10, 1), generator())
    assert torch.allclose(first, torch.tensor(0.5, dtype=torch.float64))
    second = contest.enter(torch.eye(3)[[1]], generator())  # as often stone as scissors before
    assert float(second) == pytest.approx(0.5)
    again = contest.enter(torch.eye(3)[[0] * 9], generator())
    assert bool((again < 0.5).all()), "paper has come in between"


def test_a_peak_is_no_sum() -> None:
    reward = torch.tensor([[1.0, 1.0, 1.0, 9.0], [0.0, 2.5, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True, False], [True] * 4])
    assert worth(reward, mask, "return").tolist() == [3.0, 2.5]
    assert worth(reward, mask, "peak").tolist() == [1.0, 2.5]
    assert above(*worth(reward, mask, "return")).item() == 1.0
    assert above(*worth(reward, mask, "peak")).item() == 0.0
    with pytest.raises(ActrixError, match="--prefers"):
        worth(reward, mask, "sum")


def start(env: str, variant: Any = None, **settings: Any) -> Trainer:
    small: dict[str, Any] = {"hidden": (16,), "envs": 6, "horizon": 20, "queue": 4}
    options = RunOptions(env=env, steps=6_400, threads=1, compile="no", eval_episodes=20, eval_every=6_400)
    return Trainer.start("spo", options, Config(**{**small, **settings}), variant=variant)


def test_a_trajectory_is_an_episode_and_earns_its_win_rate() -> None:
    """Episodes of different lengths: what comes after an end is left out, and a trajectory's rewards add up to its win
    rate less a half, by the environment's rewards."""
    made = start(name("box"), queue=50)
    feed: Any = made.feed
    for _ in range(3):
        before = len(feed.contest.queue)
        began = feed.progress.steps
        steps = feed.collect(made.learner)
        ended = (steps.terminated | steps.truncated).tolist()
        lengths = [row.index(True) + 1 if True in row else 20 for row in ended]
        assert len(set(lengths)) > 1
        for i, length in enumerate(lengths):
            assert steps.action_mask[i].tolist() == [True] * length + [False] * (20 - length)
        assert (steps.reward[~steps.action_mask] == 0).all()
        worths = feed.contest.queue
        pool = worths[max(0, len(worths) - before - 6) :]
        mine = pool[-6:]
        rates = [
            float(above(mine[i], torch.cat((pool[: len(pool) - 6 + i], pool[len(pool) - 5 + i :]))).mean())
            for i in range(6)
        ]
        assert steps.reward.sum(1).tolist() == pytest.approx([r - 0.5 for r in rates], abs=1e-6)
        assert feed.progress.steps == began + 120
    made.close()


@pytest.mark.parametrize("variant", [None, Modelled])
def test_it_learns_from_the_judge_alone(variant: Any) -> None:
    made = start(HOMING, variant, envs=16, queue=10, rate=3e-3, epochs=5, hidden=(32, 32))
    returns = [value for report in made for _, value, _ in report.episodes]
    made.close()
    first, last = sum(returns[:32]) / 32, sum(returns[-32:]) / 32
    assert last > first + 5, f"{first:.1f} to {last:.1f}"


def test_the_queue_is_kept_by_a_checkpoint() -> None:
    one, other = Contest(3), Contest(3)
    one.enter(torch.randn(5, generator=generator()), generator())
    other.load(one.state())
    late = torch.randn(4, generator=generator(1))
    assert torch.equal(one.enter(late, generator()), other.enter(late, generator()))
    assert one.asked == other.asked


def test_what_cannot_be_is_refused() -> None:
    for settings, words in (({"queue": 0}, "--queue"), ({"noise": 0.7}, "--noise"), ({"prefers": "sum"}, "--prefers")):
        with pytest.raises(ActrixError, match=words) as caught:
            start(HOMING, **settings)  # type: ignore[arg-type]
        assert caught.value.misuse
