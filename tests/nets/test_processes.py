"""Noise processes against mixtures of Gaussians, for which what a perfect network says is known in closed form."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from actrix.errors import ActrixError
from actrix.nets.processes import EDM, Diffusion, Flow, NoiseProcess, Sinusoidal


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


ONE = (double([0.3, 0.7]), double([[-0.6], [0.5]]), double([[0.1], [0.15]]))
TWO = (
    double([0.5, 0.2, 0.3]),
    double([[-0.7, 0.0], [0.6, 0.6], [0.5, -0.6]]),
    double([[0.1, 0.2], [0.1, 0.1], [0.2, 0.05]]),
)
Mixture = tuple[Tensor, Tensor, Tensor]  # weight [J], mean [J, A], standard deviation [J, A]
PROCESSES = {"diffusion": lambda: Diffusion(120), "edm": lambda: EDM(), "flow": lambda: Flow()}
every = pytest.mark.parametrize("name", PROCESSES)


@pytest.fixture(autouse=True)
def in_double() -> Any:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def clean_of(process: NoiseProcess, mixture: Mixture, noisy: Tensor, time: Tensor) -> Tensor:
    """E[clean | noisy]: what a perfect denoiser says."""
    weight, mean, std = mixture
    alpha, sigma = (level[..., None, None] for level in process.levels(time))
    variance = (alpha * std).square() + sigma.square()
    gap = noisy[..., None, :] - alpha * mean
    share = (weight.log() - 0.5 * (gap.square() / variance + variance.log()).sum(-1)).softmax(-1)
    return (share[..., None] * (mean + alpha * std.square() / variance * gap)).sum(-2)


def field_of(process: NoiseProcess, mixture: Mixture) -> Any:
    return lambda noisy, time: process.convert(
        clean_of(process, mixture, noisy, time), noisy, time, "clean", process.predicts
    )


def check(samples: Tensor, mixture: Mixture) -> None:
    """Weight, mean and spread of every mode, and nothing elsewhere."""
    weight, mean, std = mixture
    distance = ((samples[:, None] - mean) / std).square().sum(-1)
    nearest = distance.argmin(-1)
    assert (distance.amin(-1) > 25 + 10 * samples.shape[1]).double().mean() < 2e-3, "between the modes"
    for j in range(len(weight)):
        mine = samples[nearest == j]
        assert len(mine) / len(samples) == pytest.approx(weight[j].item(), abs=0.02)
        torch.testing.assert_close(mine.mean(0), mean[j], atol=0.02, rtol=0)
        torch.testing.assert_close(mine.std(0), std[j], atol=0.012, rtol=0.05)


@every
@pytest.mark.parametrize("churn", [0.0, 1.0])
@pytest.mark.parametrize("mixture", [ONE, TWO], ids=["1d", "2d"])
def test_a_perfect_network_gives_the_mixture(name: str, churn: float, mixture: Mixture) -> None:
    process = PROCESSES[name]()
    shape = (6_000, mixture[1].shape[1])
    check(process.sample(field_of(process, mixture), shape, 120, churn=churn), mixture)


def test_the_three_processes_carry_the_same_noise_to_the_same_sample() -> None:
    """On one Gaussian the probability-flow map is mean + std * noise, whatever the path."""
    mean, std = torch.tensor([[0.3, -0.5]]), torch.tensor([[0.2, 0.4]])
    noise = torch.randn(500, 2)
    for process in (Diffusion(400), EDM(), Flow()):
        made = process.sample(field_of(process, (torch.ones(1), mean, std)), (500, 2), 400, noise=noise)
        torch.testing.assert_close(made, mean + std * noise, atol=0.02, rtol=0)


def test_in_one_dimension_the_three_agree_sample_by_sample() -> None:
    """A monotonous map of the normal distribution to the mixture is unique."""
    noise = torch.randn(2_000, 1)
    made = [p.sample(field_of(p, ONE), (2_000, 1), 300, noise=noise) for p in (Diffusion(300), EDM(), Flow())]
    for other in made[1:]:
        assert ((other - made[0]).abs() < 0.03).double().mean() > 0.99


@every
@pytest.mark.parametrize("source", ["noise", "clean", "velocity"])
@pytest.mark.parametrize("target", ["noise", "clean", "velocity"])
def test_conversions_agree_with_what_was_mixed(name: str, source: Any, target: Any) -> None:
    process = PROCESSES[name]()
    clean, noise = torch.rand(64, 3) * 2 - 1, torch.randn(64, 3)
    time = process.draw(torch.empty(64)).clamp(0.02, 0.98)
    noisy = process.at(clean, noise, time)
    truth = {"noise": noise, "clean": clean, "velocity": clean - noise}
    found = process.convert(truth[source], noisy, time, source, target)
    torch.testing.assert_close(found, truth[target], atol=1e-5, rtol=1e-5)


@every
def test_levels_go_from_noise_to_data(name: str) -> None:
    process = PROCESSES[name]()
    alpha, sigma = process.levels(torch.tensor(process.times(20)))
    single = torch.tensor([process.level(t) for t in process.times(20)])
    torch.testing.assert_close(torch.stack((alpha, sigma), 1), single)
    assert (sigma.diff() < 0).all()
    assert (alpha.diff() >= 0).all()
    assert alpha[-1] == 1
    assert sigma[-1] == 0
    assert alpha[0] / sigma[0] < 0.03, "nothing of the data can be seen at first"
    if name == "diffusion":
        torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones(21))
    if name == "edm":
        assert sigma[0].item() == pytest.approx(80.0)


def test_cosine_betas() -> None:
    process = Diffusion(50)
    alpha, _ = process.levels(torch.tensor([1.0 - k / 50 for k in range(51)]))
    f = [math.cos((k / 50 + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(51)]
    expected = torch.tensor([math.sqrt(x / f[0]) for x in f])
    torch.testing.assert_close(alpha[:50], expected[:50])
    assert (alpha[50] / alpha[49]).square().item() == pytest.approx(0.001), "the last beta is bounded"


@every
def test_pairs_are_what_the_field_is_fitted_to(name: str) -> None:
    """Noisy, time and target belong together; of all predictions the conditional mean has the least error."""
    process = PROCESSES[name]()
    weight, mean, std = ONE
    clean = mean[torch.multinomial(weight, 20_000, True)]
    clean = clean + torch.where(clean < 0, std[0], std[1]) * torch.randn_like(clean)
    noised = process.pairs(clean)
    assert noised.time.min() >= 0
    assert noised.time.max() <= 1
    inside = (noised.time > 0.02) & (noised.time < 0.98)  # where no conversion is singular
    noisy, time, target = noised.noisy[inside], noised.time[inside], noised.target[inside]
    recovered = process.convert(target, noisy, time, process.predicts, "clean")
    torch.testing.assert_close(recovered, clean[inside], atol=1e-5, rtol=1e-5)
    best = field_of(process, ONE)(noisy, time)
    error = (best - target).square().mean()
    for other in (best + 0.1, best - 0.1, 0.9 * best, 1.1 * best, 0.5 * (best + target.mean())):
        assert (other - target).square().mean() > error


def test_edm_keeps_inputs_and_targets_of_unit_size() -> None:
    process = EDM(spread=0.4)
    clean = 0.4 * torch.randn(200_000, 1)
    for value in (0.01, 0.3, 0.6, 0.9):
        time = torch.full((len(clean),), value)
        noisy = process.at(clean, torch.randn_like(clean), time)
        assert process.scaled(noisy, time).std().item() == pytest.approx(1.0, rel=0.02)
        # what the network must say so that clean is meant
        zero, one = (process.meant(torch.full_like(noisy, x), noisy, time) for x in (0.0, 1.0))
        raw = (clean - zero) / (one - zero)
        assert raw.std().item() == pytest.approx(1.0, rel=0.02)
        assert ((one - zero).square()[0, 0] * process.weight(time)[0]).item() == pytest.approx(1.0)
    sigma = process.levels(process.draw(torch.empty(100_000)))[1].log()
    assert sigma.mean().item() == pytest.approx(-1.2, abs=0.02)
    assert sigma.std().item() == pytest.approx(1.2, abs=0.02)


def test_flow_on_a_grid_trains_where_it_is_sampled() -> None:
    time = Flow(grid=4).draw(torch.empty(50_000))
    values, counts = time.unique(return_counts=True)
    torch.testing.assert_close(values, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert (counts / 50_000 - 0.2).abs().max() < 0.01
    assert Flow().draw(torch.empty(50_000)).unique().numel() > 49_000


def test_flow_steps_are_euler_steps() -> None:
    field = lambda noisy, time: torch.sin(3 * noisy) - time[:, None]  # noqa: E731
    noisy = noise = torch.randn(50, 2)
    for i in range(8):
        noisy = noisy + field(noisy, torch.full((50,), i / 8)) / 8
    torch.testing.assert_close(Flow().sample(field, (50, 2), 8, noise=noise), noisy)


# -- guidance ---------------------------------------------

GAUSSIAN = (double([1.0]), double([[0.2]]), double([[0.5]]))


@every
def test_a_linear_weight_shifts_a_gaussian_by_its_variance(name: str) -> None:
    """N(m, s^2) exp(c x) is N(m + c s^2, s^2). The weight's expectation given noisy is exp(c clean + ...)."""
    process, c, std = PROCESSES[name](), 1.6, 0.5

    def guide(noisy: Tensor, clean: Tensor, time: float) -> Tensor:
        alpha, sigma = process.levels(torch.tensor(time))
        slope = alpha * std**2 / ((alpha * std).square() + sigma.square())  # d clean / d noisy
        return process.tilt(c * slope * torch.ones_like(noisy), time)

    made = process.sample(field_of(process, GAUSSIAN), (20_000, 1), 120, guide=guide)
    assert made.mean().item() == pytest.approx(0.2 + c * std**2, abs=0.015)
    assert made.std().item() == pytest.approx(std, abs=0.015)


def test_a_constant_push_on_a_flow() -> None:
    """d delta / dt = A(t) delta + c with A = (log spread(t))': delta(1) = s c integral of dt / spread(t)."""
    c, s = 0.7, 0.5
    t = torch.linspace(0, 1, 100_001)
    spread = ((1 - t).square() + (t * s).square()).sqrt()
    expected = s * c * torch.trapezoid(1 / spread, t)
    flow, noise = Flow(), torch.randn(100, 1)
    field = field_of(flow, GAUSSIAN)
    plain, pushed = (
        flow.sample(field, (100, 1), 1_000, noise=noise, guide=guide)
        for guide in (None, lambda noisy, clean, time: torch.full_like(noisy, c))
    )
    torch.testing.assert_close(pushed - plain, expected.expand(100, 1), atol=2e-3, rtol=0)


@every
def test_a_guide_sees_what_the_network_predicts(name: str) -> None:
    process, seen = PROCESSES[name](), []

    def guide(noisy: Tensor, clean: Tensor, time: float) -> Tensor:
        expected = clean_of(process, GAUSSIAN, noisy, torch.full((len(noisy),), time))
        torch.testing.assert_close(clean, expected, atol=1e-6, rtol=1e-6)
        seen.append(time)
        return torch.zeros_like(noisy)

    noise = torch.randn(10, 1)
    field = field_of(process, GAUSSIAN)
    unmoved = process.sample(field, (10, 1), 20, noise=noise, guide=guide)
    assert seen == process.times(20)[:-1]
    torch.testing.assert_close(unmoved, process.sample(field, (10, 1), 20, noise=noise))


# -- beginnings, chains, bounds ---------------------------------------------


@every
def test_beginning_late_keeps_what_is_not_lost(name: str) -> None:
    """From the left mode, brought to a time where modes are apart, samples stay left; from time 0 both are found."""
    process = PROCESSES[name]()
    field = field_of(process, ONE)
    init = torch.full((4_000, 1), -0.6)
    late = next(t for t in process.times(120) if process.levels(torch.tensor(t))[1] < 0.1)
    steps = 5 if name == "diffusion" else 100
    kept = process.sample(field, init.shape, steps, init=init, start_time=late)
    assert (kept < 0).double().mean() > 0.999
    assert kept.std() > 0.03, "but they are drawn anew nearby"
    check(process.sample(field, init.shape, 120, init=init), ONE)
    with pytest.raises(ActrixError, match="begin late"):
        process.sample(field, init.shape, 10, start_time=0.5)


@every
def test_a_chain_holds_every_step(name: str) -> None:
    process = PROCESSES[name]()
    noisy, times = torch.randn(50, 1), process.times(20)
    chain = process.solve(field_of(process, ONE), noisy, times)
    assert len(chain) == len(times) == 21
    assert chain[0] is noisy
    middle = process.solve(field_of(process, ONE), chain[7], times[7:])
    torch.testing.assert_close(middle[-1], chain[-1])


def test_predicted_samples_are_clipped() -> None:
    seen = []
    wild = (torch.ones(1), torch.tensor([[3.0]]), torch.tensor([[0.1]]))
    for process in (Diffusion(20), EDM(), Flow()):
        guide = lambda noisy, clean, time: seen.append(clean) or torch.zeros_like(clean)  # noqa: E731
        made = process.sample(field_of(process, wild), (50, 1), 20, clip=1.0, guide=guide)
        torch.testing.assert_close(made, torch.ones(50, 1), atol=0.01, rtol=0)
    assert torch.cat(seen).max() == 1


def test_more_steps_than_the_process_has_are_refused() -> None:
    with pytest.raises(ActrixError, match="cannot take 11 steps where the process has 10") as caught:
        Diffusion(10).times(11)
    assert caught.value.misuse
    assert Diffusion(10).times(5) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_times_have_features_that_tell_them_apart() -> None:
    clock = Sinusoidal(16)
    features = clock(torch.linspace(0, 1, 101))
    assert features.shape == (101, 16)
    torch.testing.assert_close(features.square().sum(-1), torch.full((101,), 8.0))
    assert torch.pdist(features).min() > 0.3, "also at steps of a hundredth"
    torch.testing.assert_close(features[:, 8], torch.linspace(0, 1, 101).sin())
