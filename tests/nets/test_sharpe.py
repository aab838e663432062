"""Running statistics of returns against those of numpy, and panels against what a convolution is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actrix.nets.panel import PanelNet
from actrix.nets.sharpe import DifferentialSharpe, EpisodeStatistic, RunningSharpe
from actrix.spec import Box, Part, Spec


def returns(n: int = 3, t: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns, ends and steps that count [n, t]."""
    draw = torch.Generator().manual_seed(0)
    value = 0.02 * torch.randn(n, t, generator=draw, dtype=torch.float64)
    ended = torch.rand(n, t, generator=draw) < 0.1
    return value, ended, torch.rand(n, t, generator=draw) < 0.9


def test_the_running_ratio_is_that_of_the_episode_so_far() -> None:
    value, ended, mask = returns()
    found, last = RunningSharpe(252.0, least=3), RunningSharpe(252.0, least=3, last=True)
    ratio, at_end = found(value, ended, mask), last(value, ended, mask)
    many = 0
    for row in range(3):
        so_far: list[float] = []
        for t in range(40):
            if mask[row, t]:
                so_far.append(value[row, t].item())
            expected = np.sqrt(252) * np.mean(so_far) / np.std(so_far) if len(so_far) >= 3 and mask[row, t] else 0.0
            assert ratio[row, t].item() == pytest.approx(expected, rel=1e-5)
            assert at_end[row, t].item() == pytest.approx(expected if ended[row, t] else 0.0, rel=1e-5)
            many += expected != 0
            if ended[row, t]:
                so_far = []
    assert many > 40


def test_the_differential_ratio_is_the_slope_of_the_averaged_one() -> None:
    """D is d/d rate of A / sqrt(B - A^2), where A and B move by `rate` towards the newest return and its square."""
    rate, tiny = 0.1, 1e-6
    judge = DifferentialSharpe(rate, least=2)
    value = 0.02 * torch.randn(1, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    nothing, every = torch.zeros(1, 30, dtype=torch.bool), torch.ones(1, 30, dtype=torch.bool)
    found = judge(value, nothing, every)[0]
    assert found[0] == 0
    for t in range(2, 30):
        weight = torch.tensor([(1 - rate) ** (t - 1 - k) for k in range(t)], dtype=torch.float64)
        past = value[0, :t]
        first, second = ((weight * x).sum() / weight.sum() for x in (past, past.square()))

        def ratio(step: float) -> torch.Tensor:
            a = first + step * (value[0, t] - first)  # noqa: B023
            b = second + step * (value[0, t].square() - second)  # noqa: B023
            return a / (b - a.square()).sqrt()

        slope = (ratio(tiny) - ratio(-tiny)) / (2 * tiny)
        assert found[t].item() == pytest.approx(slope.item(), rel=1e-4)


@pytest.mark.parametrize("judge", [RunningSharpe(), DifferentialSharpe()], ids=["running", "differential"])
def test_batches_do_not_matter_and_barriers_do(judge: EpisodeStatistic) -> None:
    value, ended, mask = returns()
    whole = judge(value, ended, mask)
    judge.forget()
    parts = [judge(*(x[:, at] for x in (value, ended, mask))) for at in (slice(0, 17), slice(17, 18), slice(18, 40))]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=0)
    judge.forget()
    judge(value[:, :17], ended[:, :17], mask[:, :17])
    judge.forget()
    assert not torch.equal(judge(value[:, 17:], ended[:, 17:], mask[:, 17:]), whole[:, 17:])


def test_panels_are_images_of_things_by_time() -> None:
    """A later time moves what the filters see two times on; things that are not neighbours do not meet in one filter;
    what is no panel goes to the perceptron as it is."""
    spec = Spec((Part("panel", 0, 2 * 5 * 8, (2, 5, 8)), Part("rest", 80, 83, (3,))), Box(1, (1,), (-1.0,), (1.0,)))
    net = PanelNet(spec, (), 1, (4,))
    rows = torch.randn(6, 83, requires_grad=True)
    weight = net.net.layers[0].weight[:, 0]
    conv = net.stacks[0][0]  # type: ignore[index]
    expected = rows[:, 80:] @ weight[:3]
    image = torch.nn.functional.pad(rows[:, :80].reshape(6, 2, 5, 8), (1, 1, 1, 1))
    for c in range(4):
        for thing in range(5):
            for time in range(4):
                seen = (image[:, :, thing : thing + 3, 2 * time : 2 * time + 3] * conv.weight[c]).sum((1, 2, 3))
                expected = expected + (seen + conv.bias[c]).relu() * weight[3 + (c * 5 + thing) * 4 + time]
    found = net(rows)[:, 0]
    torch.testing.assert_close(found, expected + net.net.layers[0].bias, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(rows.reshape(2, 3, 83)).reshape(6), found)


def test_without_filters_a_panel_is_numbers() -> None:
    spec = Spec((Part("panel", 0, 12, (1, 3, 4)),), Box(1, (1,), (-1.0,), (1.0,)))
    net = PanelNet(spec, (), 2, ())
    rows = torch.randn(5, 12)
    torch.testing.assert_close(net(rows), rows @ net.net.layers[0].weight + net.net.layers[0].bias)
