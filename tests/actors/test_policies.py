"""Policies as rows of a matrix: what a batch computes is what each of them computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from actrix.actors.deterministic import Deterministic
from actrix.actors.population import Climbers, Policies, ascent
from actrix.critics.values import QEnsemble
from actrix.data.archive import Archive
from actrix.optim import Adam, Optimiser
from actrix.spec import Spec, vector_spec

SPEC = vector_spec(5, 2)
RATE = 2.0**-8  # a number that float32 has


def alone(policies: Policies, row: Tensor, spec: Spec = SPEC, hidden: tuple[int, ...] = (7, 6)) -> Deterministic:
    """The policy of one row as an actor of its own."""
    actor = Deterministic(spec, hidden).to(row.dtype)
    with torch.no_grad():
        for layer, (weight, bias) in zip(actor.net.layers, policies.layers(row[None])):
            layer.weight.copy_(weight[0])  # type: ignore[operator, union-attr]
            layer.bias.copy_(bias[0, 0])  # type: ignore[operator, union-attr]
    return actor


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-14), (torch.float32, 2e-6)])
def test_a_batch_of_policies_is_each_policy(dtype: torch.dtype, near: float) -> None:
    policies = Policies(SPEC, (7, 6))
    flat = policies.initial(9).to(dtype) + 0.1 * torch.randn(9, policies.size, dtype=dtype)
    own, shared = torch.randn(9, 4, 5, dtype=dtype), torch.randn(11, 5, dtype=dtype)
    for p in range(9):
        actor = alone(policies, flat[p])
        torch.testing.assert_close(policies(flat, own)[p], actor(own[p]), rtol=near, atol=near)
        torch.testing.assert_close(policies(flat, shared)[p], actor(shared), rtol=near, atol=near)
        assert torch.equal(policies.specialised(actor), flat[p : p + 1])


def test_the_same_batch_has_the_same_bits() -> None:
    policies = Policies(SPEC, (7, 6))
    flat, obs = policies.initial(33), torch.randn(33, 1, 5)
    assert torch.equal(policies(flat, obs), policies(flat.clone(), obs.clone()))


def test_an_actor_specialised_to_a_context_acts_as_with_it() -> None:
    policies = Policies(SPEC, (7, 6))
    actor = Deterministic(SPEC.with_context(3), (7, 6)).double()
    context, obs = torch.randn(4, 3, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    found = policies(policies.specialised(actor, context), obs)
    for p in range(4):
        expected = actor(torch.cat((obs, context[p].expand(6, 3)), 1))
        torch.testing.assert_close(found[p], expected, rtol=1e-12, atol=1e-12)


def test_initial_policies_keep_the_variance_of_their_inputs() -> None:
    policies = Policies(SPEC, (50, 40))
    for weight, bias in policies.layers(policies.initial(200)):
        inputs = weight.shape[1]
        assert weight.var().item() == pytest.approx(1 / inputs, rel=0.02)
        assert weight.abs().max().item() <= (3 / inputs) ** 0.5
        assert (bias == 0).all()


@pytest.mark.parametrize("conditioned", [False, True])
def test_climbing_together_is_climbing_alone_with_an_adam_each(conditioned: bool) -> None:
    """Five steps of one optimiser on the matrix, against torch's Adam on every policy by itself; then once more from
    other parents, with nothing left of the first time."""
    policies = Policies(SPEC, (7, 6))
    climbers = Climbers(policies, 4, 3).double()
    critic = QEnsemble(SPEC.with_context(3) if conditioned else SPEC, (8,), members=2).double()
    optimiser = Optimiser({"climbers": ([climbers.flat], Adam(RATE))}).double()
    for p in critic.parameters():
        p.requires_grad_(False)
    for _ in range(2):
        archive = Archive(16, policies.size, 3).double()
        archive.add(policies.initial(40).double(), torch.randn(40).double(), torch.rand(40, 3).double())
        climbers.start(archive)
        optimiser.reset("climbers")
        context = climbers.descriptor if conditioned else None
        parents = climbers.flat.detach().clone()
        batches = [torch.randn(10, 5, dtype=torch.float64) for _ in range(5)]
        for obs in batches:
            optimiser.step({"climbers": ascent(policies, climbers.flat, critic, obs, context)})
        for p in range(4):
            cell = int(torch.nonzero((archive.genotype == parents[p]).all(1))[0, 0])
            actor = alone(policies, parents[p])
            adam = torch.optim.Adam(actor.parameters(), RATE)
            for obs in batches:
                rows = torch.cat((obs, archive.descriptor[cell].expand(10, 3)), 1) if conditioned else obs
                adam.zero_grad()
                (-critic(rows, actor(obs)).members[0].mean()).backward()
                adam.step()
            expected = policies.specialised(actor)[0]
            torch.testing.assert_close(climbers.flat[p].detach(), expected, rtol=1e-9, atol=1e-10)
            assert not torch.equal(expected, parents[p])


def test_the_first_critic_alone_says_what_it_says_among_others() -> None:
    critic = QEnsemble(SPEC, (8, 8), members=3)
    obs, action = torch.randn(6, 5), torch.randn(6, 2)
    found = critic.frozen(obs, action, which=slice(2)).members
    assert found.shape == (2, 6)
    torch.testing.assert_close(found, critic(obs, action).members[:2])
