"""An actor whose proposals are edited, against closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Normal, TanhTransform, TransformedDistribution

from actrix.actors.edited import Edited
from actrix.actors.gaussian import Gaussian, SquashedGaussian
from actrix.critics.values import QEnsemble, Value, drawn
from actrix.spec import vector_spec

SPEC = vector_spec(3, 2)


class Known(nn.Module):
    """Member i says -|action - peak_i|^2."""

    def __init__(self, peaks: list[list[float]]) -> None:
        super().__init__()
        self.peaks = torch.tensor(peaks)  # [E, A]

    def forward(self, obs: Tensor, action: Tensor, which: Any = None) -> Value:
        peaks = self.peaks if which is None else self.peaks[which]
        return Value(-(action[None] - peaks[:, None, None]).square().sum(-1))


def edited(peaks: list[list[float]], **settings: Any) -> Edited:
    base = Gaussian(SPEC, (8,), log_std=-3.0)
    editor = SquashedGaussian(SPEC.with_context(2), (8,))
    if settings.pop("bare", False):
        editor = None  # type: ignore[assignment]
    return Edited(base, editor, Known(peaks), members=len(peaks), **{"subset": len(peaks), **settings})  # type: ignore[arg-type]


def test_some_members_say_what_they_say_among_all() -> None:
    critic = QEnsemble(SPEC, (8,), 5, layer_norm=True)
    obs, action = torch.randn(7, 3), torch.randn(7, 4, 2)
    every = critic(obs, action).members
    pick = torch.tensor([3, 0])
    torch.testing.assert_close(critic(obs, action, pick).members, every[pick])
    torch.testing.assert_close(critic.frozen(obs, action, slice(2)).members, every[:2])


def test_members_are_drawn_without_return_and_evenly() -> None:
    torch.manual_seed(0)
    found = torch.stack([drawn(5, 2) for _ in range(4_000)])
    assert (found[:, 0] != found[:, 1]).all()
    shares = torch.bincount(found.flatten(), minlength=5) / found.numel()
    torch.testing.assert_close(shares, torch.full((5,), 0.2), atol=0.015, rtol=0)
    assert sorted(drawn(3, 8).tolist()) == [0, 1, 2]


def test_density_is_that_of_the_edit_and_not_of_its_unscaled_form() -> None:
    torch.manual_seed(0)
    actor = edited([[0.0, 0.0]], scale=0.3)
    obs, action = torch.randn(6, 3), 0.2 * torch.randn(6, 2)
    moved, logp = actor.edit(obs, action)
    assert actor.editor is not None
    mean, log_std = actor.editor.distribution(torch.cat((obs, action), -1))
    law = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform(), AffineTransform(0.0, 0.3)])
    torch.testing.assert_close(logp, law.log_prob(moved - action).sum(-1), rtol=1e-3, atol=1e-3)
    assert ((moved - action).abs() <= 0.3 + 1e-6).all()


def test_an_edit_depends_on_the_action_that_it_edits_and_stays_in_the_box() -> None:
    torch.manual_seed(0)
    actor = edited([[0.0, 0.0]], scale=1.0)
    obs, one, other = torch.zeros(1, 3), torch.full((1, 2), 0.9), torch.full((1, 2), -0.9)
    to_one, to_other = (actor.edit(obs, a, "mean")[0] - a for a in (one, other))
    assert not torch.allclose(to_one, to_other)
    samples = torch.cat([actor.edit(obs, one)[0] for _ in range(50)])
    assert samples.max() == 1.0


def test_the_best_of_all_candidates_is_taken_edited_or_not() -> None:
    torch.manual_seed(0)
    obs = torch.randn(40, 3)
    for peak, edits_win in (([0.0, 5.0], True), ([0.15, 0.0], False)):
        actor = edited([peak], scale=0.4, proposals=6, edits=3)
        if edits_win:  # an editor that goes up by all it may
            assert actor.editor is not None
            with torch.no_grad():
                actor.editor.net.layers[-1].weight.zero_()  # type: ignore[union-attr]
                actor.editor.net.layers[-1].bias.copy_(torch.tensor([0.0, 9.0, -9.0, -9.0]))  # type: ignore[union-attr]
        state = torch.random.get_rng_state()
        chosen = actor.decide(obs)
        torch.random.set_rng_state(state)
        found = actor.candidates(obs, 6)
        assert found.shape == (40, 9, 2)
        score = -(found - torch.tensor(peak)).square().sum(-1)
        best = score.argmax(-1)
        torch.testing.assert_close(chosen, found[torch.arange(40), best])
        if edits_win:
            assert (best >= 6).all(), "no proposal of the base goes that far"
        else:
            assert 0 < (best >= 6).float().mean() < 1


def test_it_looks_at_the_least_of_the_members_that_are_asked() -> None:
    torch.manual_seed(0)
    obs = torch.zeros(200, 3)
    both = edited([[0.5, 0.0], [-0.5, 0.0]], scale=1.0, proposals=32, edits=32)
    assert both.decide(obs)[:, 0].abs().max() < 0.2, "the compromise"
    one = edited([[0.5, 0.0], [-0.5, 0.0]], scale=1.0, proposals=32, edits=32, subset=1)
    sides = torch.stack([one.decide(obs[:1])[0, 0] for _ in range(60)])
    assert (sides > 0.1).any()
    assert (sides < -0.1).any()
    assert (one.decide(obs[:1], "mean")[0, 0] > 0.1).all(), "the first member, where nothing is drawn"


def test_without_editor_it_is_the_best_of_n() -> None:
    torch.manual_seed(0)
    actor = edited([[0.3, 0.3]], proposals=5, bare=True)
    obs = torch.randn(9, 3)
    found = actor.slow.copy.candidates(obs, 5, "mean")
    best = (found - 0.3).square().sum(-1).argmin(-1)
    torch.testing.assert_close(actor.act(obs, "mean").action, found[torch.arange(9), best])


@pytest.mark.parametrize("live", [False, True])
def test_the_average_acts_and_the_base_itself_makes_targets(live: bool) -> None:
    actor = edited([[0.0, 0.0]], bare=True)
    obs = torch.randn(4, 3)
    before = actor.decide(obs, "mean", live)
    with torch.no_grad():
        for p in actor.base.parameters():
            p.add_(0.5)
    assert torch.equal(actor.decide(obs, "mean", live), before) != live
