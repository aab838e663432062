"""Tabular teams: the gradient theorem against differentiation, and where ascent ends."""

from __future__ import annotations

import pytest
import torch

from actrix.claims.teams import PARENTS, TableTeam


def team(parents: tuple[tuple[int, ...], ...], starts: int = 4, options: int = 3) -> TableTeam:
    generator = torch.Generator().manual_seed(0)
    payoff = torch.randn((options,) * len(parents), dtype=torch.float64, generator=generator)
    return TableTeam(payoff, parents, starts, generator)


@pytest.mark.parametrize(
    "parents", [PARENTS["complete"](3), PARENTS["empty"](3), ((), (0,), (0,)), ((), (), (0, 1), (1,))]
)
def test_the_gradient_theorem(parents: tuple[tuple[int, ...], ...]) -> None:
    found = team(parents)
    joint = found.joint()
    torch.testing.assert_close(joint.flatten(1).sum(1), torch.ones(4, dtype=torch.float64))
    for logits in found.logits:
        logits.requires_grad_()
    for mine, truth in zip(found.gradient(), torch.autograd.grad(found.value().sum(), found.logits)):
        torch.testing.assert_close(mine.detach(), truth)


def test_children_follow_their_parents() -> None:
    """In a joint distribution of ((), (0,)), agent 1's choice given agent 0's is that row of its table."""
    found = team(((), (0,)))
    joint = found.joint()
    torch.testing.assert_close(joint / joint.sum(-1, keepdim=True), found.logits[1].softmax(-1))


def test_ascent_of_two_ends_in_an_equilibrium_and_alone_at_the_best() -> None:
    """One agent: the best option. Two that do not talk: nobody gains by changing alone."""
    one = team(((),), starts=20)
    assert (one.ascend(400, 0.3, True) > one.payoff.max() - 1e-3).all()
    two = team(((), ()), starts=20)
    value = two.ascend(800, 0.3, True)
    choice = [logits.argmax(-1) for logits in two.logits]
    assert (value - two.payoff[choice[0], choice[1]]).abs().max() < 1e-3
    assert (value > two.payoff[:, choice[1]].amax(0) - 1e-3).all()
    assert (value > two.payoff[choice[0]].amax(-1) - 1e-3).all()
