"""Running statistics against the statistics of all rows at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actrix.nets.normaliser import Normaliser, RewardScaler, observer_of
from actrix.spec import Choices, Part, Spec, vector_spec


@pytest.mark.parametrize("sizes", [[500], [1] * 500, [1, 99, 7, 393]])
def test_batches_merge_exactly(sizes: list[int]) -> None:
    torch.manual_seed(0)
    rows = torch.randn(500, 3) * torch.tensor([1.0, 50.0, 0.01]) + torch.tensor([0.0, -300.0, 7.0])
    normaliser = Normaliser(3)
    for part in rows.split(sizes):
        normaliser.update(part)
    torch.testing.assert_close(normaliser.mean, rows.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(normaliser.variance, rows.var(0, correction=0), rtol=1e-3, atol=0)
    assert normaliser.count == 500
    scaled = normaliser(rows)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(3), rtol=0, atol=0.02)
    torch.testing.assert_close(scaled.std(0), torch.ones(3), rtol=0.01, atol=0)


def test_extremes_are_clipped_and_no_rows_change_nothing() -> None:
    normaliser = Normaliser(2, clip=5.0)
    normaliser.update(torch.randn(1000, 2))
    before = {k: v.clone() for k, v in normaliser.state_dict().items()}
    normaliser.update(torch.empty(0, 2))
    assert all(torch.equal(v, before[k]) for k, v in normaliser.state_dict().items())
    assert normaliser(torch.tensor([[1e9, -1e9]])).tolist() == [[5.0, -5.0]]


def test_it_is_saved_and_goes_on() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(64, 2), torch.randn(64, 2) + 3
    whole, half, resumed = Normaliser(2), Normaliser(2), Normaliser(2)
    whole.update(first)
    whole.update(second)
    half.update(first)
    resumed.load_state_dict(half.state_dict())
    resumed.update(second)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values()))


def test_rewards_are_scaled_by_the_discounted_return() -> None:
    """Against the return of each environment, written out; it starts anew where an episode ended."""
    rng = np.random.default_rng(0)
    reward, ended = rng.normal(size=(3, 40)).astype(np.float32), rng.random((3, 40)) < 0.15
    discount = 0.9
    returns = np.zeros((3, 40))
    for i in range(3):
        running = 0.0
        for t in range(40):
            running = running * discount + reward[i, t]
            returns[i, t] = running
            if ended[i, t]:
                running = 0.0
    scaler = RewardScaler(discount, clip=2.0)
    for cut in (slice(0, 13), slice(13, 40)):  # episodes run on from one rollout to the next
        scaler.update(torch.from_numpy(reward[:, cut]), torch.from_numpy(ended[:, cut]))
    assert scaler.stats.variance.item() == pytest.approx(returns.var(), rel=1e-3)
    expected = np.clip(reward / returns.std(), -2, 2)
    np.testing.assert_allclose(scaler(torch.from_numpy(reward)).numpy(), expected, rtol=1e-3)


def test_masked_steps_do_not_count() -> None:
    reward, ended = torch.randn(2, 10), torch.zeros(2, 10, dtype=torch.bool)
    mask = torch.ones_like(ended)
    mask[:, 5] = False
    ended[:, 4] = True
    reward[:, 5] = 0.0
    scaler, shorter = RewardScaler(0.9), RewardScaler(0.9)
    scaler.update(reward, ended, mask)
    keep = [0, 1, 2, 3, 4, 6, 7, 8, 9]
    shorter.update(reward[:, keep], ended[:, keep])
    torch.testing.assert_close(scaler.stats.variance, shorter.stats.variance)


def test_images_have_no_observer() -> None:
    image = Spec((Part("obs", 0, 192, (8, 8, 3), True),), Choices((2,), "discrete", (0,)), "uint8")
    assert observer_of(image) is None
    observer = observer_of(vector_spec(7, 1))
    assert observer is not None
    assert observer.mean.shape == (7,)


def test_returns_stay_within_a_bound() -> None:
    """The divisor is the larger of the standard deviation and the largest return over the bound."""
    torch.manual_seed(0)
    reward, ended = torch.randn(3, 60), torch.rand(3, 60) < 0.1
    ended[2, 39], reward[2, 40] = True, 30.0  # a rare large one
    discount, returns = 0.9, torch.zeros(3, 60)
    for i in range(3):
        running = 0.0
        for t in range(60):
            running = running + reward[i, t].item()
            returns[i, t] = running
            running *= 0.0 if ended[i, t] else discount
    scaler = RewardScaler(discount, bound=5.0)
    divisors = []
    for t in range(60):
        scaler.update(reward[:, t : t + 1], ended[:, t : t + 1])
        divisors.append((1.0 / scaler(torch.ones(1))).item())
    for t in (5, 30, 59):
        seen = returns[:, : t + 1]
        expected = max(seen.std(correction=0).item(), seen.abs().max().item() / 5)
        assert divisors[t] == pytest.approx(expected, rel=1e-4)
    assert divisors[59] == pytest.approx(returns.abs().max().item() / 5, rel=1e-4), "the bound counts here"
    assert divisors[30] == pytest.approx(returns[:, :31].std(correction=0).item(), rel=1e-4), "and the spread here"
    assert (returns / divisors[59]).abs().max().item() == pytest.approx(5.0)
