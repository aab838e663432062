"""Actors against closed forms and torch.distributions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch import distributions as D

from actrix.actors.autoregressive import Autoregressive
from actrix.actors.categorical import Categorical, choose, expect, expect_sampled, forbid
from actrix.actors.deterministic import Deterministic
from actrix.actors.gaussian import Gaussian, SquashedGaussian
from actrix.actors.greedy import EpsilonGreedy
from actrix.actors.optimised import Optimised, ascend
from actrix.actors.stochastic import stochastic
from actrix.actors.temperature import Temperature
from actrix.critics.values import DiscreteQ, QEnsemble, Value
from actrix.errors import ActrixError
from actrix.nets.encoder import Encoder
from actrix.spec import Box, Choices, Part, Spec, vector_spec


def choices(*sizes: int, space: str = "multidiscrete") -> Spec:
    return vector_spec(3, Choices(sizes, space, (0,) * len(sizes)))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# -- squashed Gaussian ---------------------------------------------


def squashed(size: int = 1) -> SquashedGaussian:
    return SquashedGaussian(vector_spec(3, size), (8,)).double()


def test_squashed_density_integrates_to_one() -> None:
    """Quadrature over u = atanh(a), where the integrand is smooth: da = (1 - a^2) du."""
    actor = squashed()
    with torch.no_grad():
        actor.net.layers[-1].bias[1] -= 1.0  # narrow enough that nothing lies outside the quadrature
    obs = torch.randn(4, 3, dtype=torch.float64)
    u = torch.linspace(-7, 7, 20_001, dtype=torch.float64)
    a = torch.tanh(u)
    for row in obs:
        density = actor.log_prob(row.expand(len(a), 3), a[:, None]).exp() * (1 - a.square())
        assert abs(torch.trapezoid(density, u).item() - 1) < 1e-6


def test_squashed_density_matches_torch() -> None:
    actor = squashed(3)
    obs = torch.randn(64, 3, dtype=torch.float64)
    mean, log_std = actor.distribution(obs)
    reference = D.Independent(D.TransformedDistribution(D.Normal(mean, log_std.exp()), D.TanhTransform()), 1)
    action, logp = actor.sample(obs)
    torch.testing.assert_close(logp, reference.log_prob(action), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(actor.log_prob(obs, action), logp, rtol=1e-6, atol=1e-6)
    acted = actor.act(obs)
    assert acted.logp is not None
    torch.testing.assert_close(actor.log_prob(obs, acted.action), acted.logp, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(actor.act(obs, "mean").action, torch.tanh(mean))


def test_squashed_density_is_finite_at_the_edge_in_float32() -> None:
    actor = SquashedGaussian(vector_spec(3, 1), (8,))
    with torch.no_grad():
        actor.net.layers[-1].bias.copy_(torch.tensor([50.0, 2.0]))  # tanh saturates
    obs = torch.randn(256, 3, requires_grad=True)
    action, logp = actor.sample(obs)
    assert (action == 1).any()
    assert logp.isfinite().all()
    logp.sum().backward()
    assert obs.grad is not None
    assert obs.grad.isfinite().all()
    assert actor.log_prob(obs, torch.tensor([[1.0]]).expand(256, 1)).isfinite().all()


# -- Gaussian ---------------------------------------------


def test_gaussian_density_and_entropy_match_torch() -> None:
    actor = Gaussian(vector_spec(3, 4), (8,), log_std=-0.3)
    obs = torch.randn(5, 7, 3)
    reference = D.Independent(D.Normal(actor.net(obs), actor.log_std.exp().expand(5, 7, 4)), 1)
    action = torch.randn(5, 7, 4)
    logp, entropy = actor.evaluate(obs, action)
    torch.testing.assert_close(logp, reference.log_prob(action), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy, reference.entropy(), rtol=1e-5, atol=1e-5)
    acted = actor.act(obs)
    torch.testing.assert_close(actor.log_prob(obs, acted.action), acted.logp, rtol=1e-5, atol=1e-5)


def test_policies_begin_near_zero_and_uniform() -> None:
    """Orthogonal initialisation with a small head: the first policy has hardly an opinion."""
    obs = torch.randn(100, 3)
    assert Gaussian(vector_spec(3, 2), (64, 64)).act(obs, "mean").action.abs().max() < 0.1
    assert (Categorical(choices(5), (64, 64)).logps(obs)[0].exp() - 0.2).abs().max() < 0.02


# -- categorical ---------------------------------------------


def sharpen(actor: Categorical) -> Categorical:
    with torch.no_grad():
        actor.net.layers[-1].weight.mul_(100)
    return actor


def test_categorical_matches_torch() -> None:
    actor = sharpen(Categorical(choices(5, space="discrete"), (8,)))
    obs, action = torch.randn(40, 3), torch.randint(5, (40, 1))
    reference = D.Categorical(logits=actor.net(obs))
    logp, entropy = actor.evaluate(obs, action)
    torch.testing.assert_close(logp, reference.log_prob(action[:, 0]))
    torch.testing.assert_close(entropy, reference.entropy())
    acted = actor.act(obs)
    torch.testing.assert_close(acted.logp, reference.log_prob(acted.action[:, 0]))
    assert torch.equal(actor.act(obs, "mean").action[:, 0], reference.probs.argmax(-1))


def test_choose_draws_with_the_right_frequencies() -> None:
    p = torch.tensor([0.5, 0.25, 0.2, 0.05, 0.0])
    n = 40_000
    counts = torch.bincount(choose(p.log().expand(n, 5)), minlength=5)
    assert counts[4] == 0
    chi = ((counts - n * p)[:4].square() / (n * p[:4])).sum()
    assert chi < 16.27  # 99.9 % of chi-square with 3 degrees of freedom


def test_joint_choices_multiply() -> None:
    """Over all combinations of a joint action, probabilities sum to one and give the joint entropy."""
    actor = sharpen(Categorical(choices(2, 3, 4), (8,)))
    obs = torch.randn(6, 3)
    every = torch.tensor(list(itertools.product(range(2), range(3), range(4))))
    logp, entropy = actor.evaluate(obs[:, None].expand(-1, 24, -1), every.expand(6, 24, 3))
    torch.testing.assert_close(logp.exp().sum(1), torch.ones(6))
    torch.testing.assert_close(entropy[:, 0], -(logp.exp() * logp).sum(1))
    acted = actor.act(obs)
    assert acted.action.shape == (6, 3)
    torch.testing.assert_close(actor.log_prob(obs, acted.action), acted.logp)


def test_masks() -> None:
    """What is forbidden is never drawn, has no probability, and leaves entropy and gradients finite."""
    actor = sharpen(Categorical(choices(3, 4), (8,)))
    obs = torch.randn(500, 3)
    mask = torch.rand(500, 7) < 0.5
    mask[0] = False  # all forbidden: left free
    free = mask.clone()
    for part in free.split((3, 4), -1):
        part |= ~part.any(-1, keepdim=True)
    for mode in ("sample", "mean"):
        acted = actor.act(obs, mode, mask)
        assert free[:, :3].gather(1, acted.action[:, :1]).all()
        assert free[:, 3:].gather(1, acted.action[:, 1:]).all()
    logp, entropy = actor.evaluate(obs, acted.action, mask)
    assert torch.equal(logp, acted.logp)
    for (part, legal), other in zip(zip(actor.logps(obs, mask), free.split((3, 4), -1)), actor.logps(obs)):
        assert (part.exp()[~legal] == 0).all()
        renormalised = D.Categorical(probs=other.exp() * legal)
        torch.testing.assert_close(part[legal], renormalised.logits[legal], rtol=1e-4, atol=1e-4)
        entropy = entropy - renormalised.entropy()
    assert entropy.abs().max() < 1e-4
    logp, entropy = actor.evaluate(obs, acted.action, mask)
    (logp + entropy).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in actor.net.parameters())


def test_expect_ignores_what_is_forbidden() -> None:
    logp = torch.log_softmax(forbid(torch.zeros(4), torch.tensor([True, True, False, False])), -1)
    assert expect(logp, torch.tensor([1.0, 3.0, torch.inf, torch.nan])).item() == pytest.approx(2.0)
    assert -expect(logp, logp).item() == pytest.approx(math.log(2))


def test_sampled_expectation_is_unbiased_and_so_is_its_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([0.3, -0.8, 1.1, 0.0], requires_grad=True)
    mask = torch.tensor([True, True, True, False])

    def loss(estimate: Callable[[Tensor, Tensor], Tensor], rows: int) -> Tensor:
        logp = torch.log_softmax(forbid(logits.expand(rows, 4), mask), -1)
        return estimate(logp, 0.7 * logp + torch.tensor([1.0, -2.0, 0.5, 9.0]))  # a value that depends on the policy

    n = 40_000
    exact = loss(expect, 1)
    drawn = loss(expect_sampled, n)
    assert drawn.mean().item() == pytest.approx(exact.item(), abs=5 * drawn.std().item() / n**0.5)
    assert drawn.std().item() > 0.5
    [wanted] = torch.autograd.grad(exact.sum(), logits)
    [found] = torch.autograd.grad(drawn.mean(), logits)
    torch.testing.assert_close(found, wanted, atol=0.03, rtol=0)
    assert wanted.abs().max() > 0.3


def test_stochastic_fits_the_space() -> None:
    assert isinstance(stochastic(choices(2, 2), (8,)), Categorical)
    assert isinstance(stochastic(vector_spec(3, Box(2, (2,), None, None)), (8,), -1.0), Gaussian)


# -- deterministic and greedy ---------------------------------------------


def test_deterministic_explores_around_its_mean_inside_the_box() -> None:
    actor = Deterministic(vector_spec(3, 2), (8,), noise=0.3)
    obs = torch.randn(1, 3).expand(20_000, 3)
    mean, action = actor.act(obs, "mean").action, actor.act(obs).action
    assert action.abs().max() <= 1
    assert (action - mean).std().item() == pytest.approx(0.3, rel=0.03)
    actor.noise = 5.0
    assert actor.act(obs).action.abs().max() == 1


def test_epsilon_greedy_schedule_frequencies_and_masks() -> None:
    actor = EpsilonGreedy(DiscreteQ(choices(4, space="discrete"), (8,)), start=1.0, end=0.2, updates=4)
    seen = []
    for _ in range(6):
        seen.append(round(actor.epsilon().item(), 6))
        actor.advance()
    assert seen == [1.0, 0.8, 0.6, 0.4, 0.2, 0.2]
    obs = torch.randn(1, 3).expand(20_000, 3)
    best = actor.act(obs, "mean").action[0, 0]
    share = (actor.act(obs).action == best).double().mean().item()
    assert share == pytest.approx(0.8 + 0.2 / 4, abs=0.015)
    mask = torch.ones(len(obs), 4, dtype=torch.bool)
    mask[:, best] = False
    assert (actor.act(obs, "sample", mask).action != best).all()
    second = actor.critic(obs[:1]).members[0, 0].argsort(descending=True)[1]
    assert (actor.act(obs, "mean", mask).action == second).all()
    assert "count" in actor.state_dict()  # a resumed run goes on exploring where it was


# -- what every actor can do ---------------------------------------------


@pytest.mark.parametrize("kind", ["squashed", "gaussian", "categorical", "deterministic", "greedy"])
def test_imitation_draws_the_policy_to_the_action(kind: str) -> None:
    if kind in ("categorical", "greedy"):
        spec, action = choices(4, space="discrete"), torch.randint(4, (32, 1))
    else:
        spec, action = vector_spec(3, 2), torch.rand(32, 2) * 1.6 - 0.8
    actor = {
        "squashed": lambda: SquashedGaussian(spec, (32,)),
        "gaussian": lambda: Gaussian(spec, (32,)),
        "categorical": lambda: Categorical(spec, (32,)),
        "deterministic": lambda: Deterministic(spec, (32,)),
        "greedy": lambda: EpsilonGreedy(DiscreteQ(spec, (32,)), 0.1, 0.1, 1),
    }[kind]()
    obs = torch.randn(32, 3)
    optimiser = torch.optim.Adam(actor.parameters(), 1e-2)
    first = actor.imitate(obs, action).item()
    for _ in range(60):
        optimiser.zero_grad()
        actor.imitate(obs, action, torch.ones(32)).backward()
        optimiser.step()
    assert actor.imitate(obs, action).item() < first - 0.2 * abs(first)
    assert actor.imitate(obs, action, torch.zeros(32)).item() == 0


def test_temperature_rises_while_entropy_is_below_its_target() -> None:
    temperature = Temperature(0.5, target_entropy=1.0)
    assert temperature().item() == pytest.approx(0.5)
    for entropy, sign in ((0.2, -1.0), (1.7, 1.0)):
        loss = temperature.loss(torch.full((8,), -entropy))
        (slope,) = torch.autograd.grad(loss, temperature.log_temperature)
        assert slope.item() == pytest.approx(entropy - 1.0)
        assert math.copysign(1.0, slope.item()) == sign
    loss = temperature.loss(torch.full((2,), -0.5), torch.tensor([0.0, 3.0]))
    (slope,) = torch.autograd.grad(loss, temperature.log_temperature)
    assert slope.item() == pytest.approx(0.5 - 1.5)


def test_images_keep_their_leading_dimensions() -> None:
    """[B, T, D] observations with an image part give [B, T, size] features: rollouts need it."""
    parts = Part("image", 0, 300, (10, 10, 3), True), Part("speed", 300, 302, (2,))
    encoder = Encoder(Spec(parts, Choices((3,), "discrete", (0,))), features=16)
    obs = torch.rand(4, 5, 302) * 255
    got = encoder(obs)
    assert got.shape == (4, 5, 18)
    torch.testing.assert_close(got[2, 3], encoder(obs[2, 3:4])[0], rtol=1e-4, atol=1e-4)


# -- autoregressive ---------------------------------------------


def centres(bins: int) -> Tensor:
    """All pairs of bin centres [bins^2, 2]."""
    one = (torch.arange(bins, dtype=torch.float64) + 0.5) * 2 / bins - 1
    return torch.cartesian_prod(one, one)


def test_autoregressive_densities_integrate_to_one_and_belong_to_the_samples() -> None:
    actor = Autoregressive(vector_spec(3, 2), (16,), bins=5).double()
    with torch.no_grad():
        for p in actor.parameters():
            p.mul_(3)
    grid = centres(5)
    obs = torch.randn(1, 3).double()
    mass = actor.log_prob(obs.expand(25, -1), grid).exp() * (2 / 5) ** 2
    assert mass.sum().item() == pytest.approx(1.0, abs=1e-12)
    # the second number depends on the first
    table = mass.reshape(5, 5)
    assert (table / table.sum(1, keepdim=True)).std(0).max() > 0.01
    n = 40_000
    with torch.no_grad():
        action, logp = actor.sample(obs.expand(n, -1))
    torch.testing.assert_close(logp, actor.log_prob(obs.expand(n, -1), action))
    cell = actor.bin(action)
    seen = torch.bincount(cell[:, 0] * 5 + cell[:, 1], minlength=25) / n
    assert (seen - mass.detach()).abs().max() < 0.012
    within = (action + 1) / (2 / 5) - cell
    assert abs(within.mean().item() - 0.5) < 0.01
    best = actor.act(obs, "mean").action
    first = table.sum(1).argmax()
    torch.testing.assert_close(best, grid[first * 5 + table[first].argmax()][None])
    same = actor.candidates(obs, 7, "mean")
    assert torch.equal(same, actor.candidates(obs, 7, "mean"))
    fixed = actor.candidates(obs, 2_000, "mean")[0]
    share = torch.bincount(actor.bin(fixed)[:, 0], minlength=5) / 2_000
    torch.testing.assert_close(share, table.sum(1).detach().to(share.dtype), atol=0.01, rtol=0)


def test_autoregressive_learns_what_depends_and_has_two_modes() -> None:
    """Both numbers up, or both down: a choice of each by itself would go one up and one down half of the time."""
    actor = Autoregressive(vector_spec(1, 2), (32,))
    optimiser = torch.optim.Adam(actor.parameters(), 1e-2)
    side = torch.where(torch.rand(512, 1) < 0.5, -0.6, 0.6)
    data = (side + 0.1 * torch.randn(512, 2)).clamp(-1, 1)
    obs = torch.zeros(512, 1)
    for _ in range(300):
        optimiser.zero_grad()
        actor.imitate(obs, data).backward()
        optimiser.step()
    with torch.no_grad():
        drawn = actor.candidates(obs[:2], 2_000)[0]
    up = drawn > 0
    assert (up[:, 0] != up[:, 1]).float().mean() < 0.03
    assert up[:, 0].float().mean().item() == pytest.approx((side > 0).float().mean().item(), abs=0.06)
    assert (drawn.abs() - 0.6).abs().mean() < 0.15
    weighted = actor.imitate(obs, data, (side[:, 0] > 0).float()) / (side > 0).float().mean()
    torch.testing.assert_close(weighted, actor.imitate(obs[side[:, 0] > 0], data[side[:, 0] > 0]))
    with pytest.raises(ActrixError, match="boxes with bounds"):
        Autoregressive(choices(3), (4,))


def test_a_gaussian_proposes_what_it_would_do() -> None:
    actor = Gaussian(vector_spec(3, 2), (8,), log_std=-1.5, bounded=True)
    obs = torch.randn(2, 3)
    for mode in ("sample", "mean"):
        found = actor.candidates(obs, 4_000, mode)
        torch.testing.assert_close(found.mean(1), actor(obs), atol=0.02, rtol=0)
        torch.testing.assert_close(found.std(1), torch.full((2, 2), math.exp(-1.5)), atol=0.02, rtol=0)
    assert torch.equal(found, actor.candidates(obs, 4_000, "mean"))


# -- optimised ---------------------------------------------


class Bowl(QEnsemble):
    """Q(s, a) = -|a - s|^2 in both members; the second is lower by 1."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.weight = torch.nn.Parameter(torch.ones(()))

    def frozen(self, obs: Tensor, action: Tensor) -> Value:
        value = -(action - obs[:, None]).square().sum(-1)
        return Value(torch.stack((value, value - 1.0)))


def test_ascent_never_loses_and_finds_the_maximum() -> None:
    best = torch.tensor([0.3, -0.5])
    value = lambda a: -(a - best).square().sum(-1)  # noqa: E731
    start = torch.rand(4, 6, 2) * 2 - 1
    before = value(start)
    for steps in (1, 3, 10):
        for size in (0.1, 0.4, 3.0):  # the last overshoots, from bound to bound
            action, found = ascend(value, start, steps, size)
            torch.testing.assert_close(found, value(action))
            assert (found >= before).all(), "of every particle"
            assert (action.abs() <= 1).all()
            if size < 1:
                assert (found > before).all()
                closed = best + (start - best) * (1 - 2 * size) ** steps  # gradient descent on a square
                torch.testing.assert_close(action, closed, atol=1e-5, rtol=1e-4)
    action, found = ascend(value, start, 0, 0.1)
    assert torch.equal(action, start)
    torch.testing.assert_close(found, before)


def test_optimised_ranks_climbs_and_leaves_the_critic_alone() -> None:
    critic, base = Bowl(), Gaussian(vector_spec(2, 2), (8,), bounded=True)
    obs = torch.rand(5, 2) * 1.6 - 0.8
    actor = Optimised(base, critic, proposals=64, keep=5, ascent=0)
    with torch.no_grad():
        torch.manual_seed(1)
        _, value = actor.improve(obs)
        torch.manual_seed(1)
        drawn = base.candidates(obs, 64)
    all_values = -(drawn - obs[:, None]).square().sum(-1) - 0.5
    torch.testing.assert_close(value, all_values.topk(5, -1).values)
    given = -torch.ones(5, 2)
    held, _ = actor.improve(obs, given=given)
    assert torch.equal(held[:, -1], given)
    assert not (held[:, :-1] == given[:, None]).all(-1).any()
    actor.ascent, actor.step = 30, 0.2
    torch.testing.assert_close(actor.act(obs, "mean").action, obs, atol=1e-3, rtol=0)
    torch.testing.assert_close(actor.exploit(obs)[0].action, obs, atol=1e-3, rtol=0)
    assert torch.equal(actor.act(obs, "mean").action, actor.act(obs, "mean").action)
    assert critic.weight.grad is None
    assert {id(p) for p in actor.parameters()} == {id(p) for p in base.parameters()}
    # of particles of values 0 and log 3 at temperature 1, the second is drawn three times as often; at 1/2 nine times
    for temperature, share in ((1.0, 0.75), (0.5, 0.9)):
        actor.temperature = temperature
        picked = actor.draw(torch.tensor([[[0.0], [1.0]]]), torch.tensor([[0.0, math.log(3.0)]]), 20_000)
        assert picked.mean().item() == pytest.approx(share, abs=0.015)
